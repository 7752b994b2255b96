"""The publishing channel of the bridge, with confirms, and the dead letter queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pika
import pika.spec

from paceline_bridge.reasons import reason_of


class Publisher:
    """The publishing half of a Link. It runs in the Link's thread, and ends with the Link."""

    def __init__(self, dead_letter: str, on_ready: Callable[[], None], fail: Callable[[str], None]) -> None:
        """``on_ready()`` is called once the dead letter queue exists; ``fail(reason)`` ends the link."""
        self._dead_letter = dead_letter
        self._on_ready = on_ready
        self._fail = fail
        self._connection: Any = None
        self._channel: Any = None
        self._published = 0
        self._unconfirmed: dict[int, Callable[[], None] | None] = {}
        self._if_returned: dict[str, tuple[int, Callable[[], None]]] = {}  # message id -> its number, what to do
        self._has_dead_letters = False
        self.is_over = False  # the link has ended: nothing is published or confirmed any more

    def open(self, connection: Any) -> None:
        """Open the channel on an established connection. To be called once."""
        self._connection = connection
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _, error: self._closed(error))
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._begin())

    def _closed(self, error: Exception) -> None:
        if self._connection.is_open and not self.is_over:
            self._fail(f"RabbitMQ closed the channel that publishes: {reason_of(error)}")

    @property
    def is_ready(self) -> bool:
        return self._has_dead_letters and bool(self._channel.is_open)

    @property
    def unconfirmed(self) -> int:
        return len(self._unconfirmed)

    # --- the dead letter queue ---

    def _begin(self) -> None:
        """Look for the dead letter queue. It must exist before the first message is consumed."""
        self._connection.channel(on_open_callback=lambda channel: self._find_dead_letters(channel, declare=False))

    def _find_dead_letters(self, channel: Any, *, declare: bool) -> None:
        """Look for the queue passively, since it may exist with any arguments. With ``declare`` it is made."""
        channel.add_on_close_callback(lambda _, error: self._no_dead_letters(error, declared=declare))
        channel.queue_declare(
            self._dead_letter, durable=True, passive=not declare, callback=lambda _: self._dead_letters_found(channel)
        )

    def _dead_letters_found(self, channel: Any) -> None:
        self._has_dead_letters = True
        channel.close()
        self._on_ready()

    def _no_dead_letters(self, error: Exception, *, declared: bool) -> None:
        if self._has_dead_letters or self.is_over or not self._connection.is_open:
            return
        if getattr(error, "reply_code", 0) == 404 and not declared:
            self._connection.channel(on_open_callback=lambda channel: self._find_dead_letters(channel, declare=True))
        else:
            self._fail(f"can't use the queue {self._dead_letter} for what is refused: {reason_of(error)}")

    # --- messages ---

    def publish(
        self,
        queue: str,
        body: bytes,
        properties: Mapping[str, Any],
        then: Callable[[], None] | None,
        if_returned: Callable[[], None] | None = None,
    ) -> None:
        """Publish to a queue. ``then()`` is called once RabbitMQ has confirmed it.

        If the queue does not exist, ``if_returned()`` is called instead. Without ``if_returned`` the message counts as
        confirmed, unless it was for the dead letter queue: then the link ends. On a link that is lost nothing happens,
        since RabbitMQ delivers the message in question again."""
        if not self._channel.is_open or self.is_over:
            return
        self._published += 1
        self._unconfirmed[self._published] = then
        if if_returned is not None:
            message_id = f"paceline-{self._published}"
            self._if_returned[message_id] = self._published, if_returned
            properties = {**properties, "message_id": message_id}
        mandatory = if_returned is not None or queue == self._dead_letter
        self._channel.basic_publish("", queue, body, pika.BasicProperties(**properties), mandatory=mandatory)

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        if self.is_over:  # RabbitMQ delivers again the messages that this was published for
            return
        if isinstance(method, pika.spec.Basic.Nack):
            self._fail(
                "RabbitMQ refused a message that the bridge published; a full queue with reject-publish does that"
            )
            return
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            then = self._unconfirmed.pop(tag, None)
            self._if_returned.pop(f"paceline-{tag}", None)
            if then is not None:
                then()

    def _returned(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """RabbitMQ returns a message that it could not route. This precedes the confirm of the same message."""
        number, instead = self._if_returned.pop(properties.message_id, (0, None))
        if instead is not None:
            self._unconfirmed[number] = instead
        else:
            self._fail(f"the queue {method.routing_key} for what is refused is gone; the bridge makes it again")
