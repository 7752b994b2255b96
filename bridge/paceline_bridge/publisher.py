"""What the bridge publishes: one channel with confirms, and the queue for what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pika
import pika.spec

from paceline_bridge.reasons import reason_of


class Publisher:
    """The half of a Link that publishes; used in its thread, and over when the link is."""

    def __init__(self, dead_letter: str, on_ready: Callable[[], None], fail: Callable[[str], None]) -> None:
        """``on_ready()`` once whatever is refused has a place to go; ``fail(reason)`` ends the link."""
        self._dead_letter = dead_letter
        self._on_ready = on_ready
        self._fail = fail
        self._connection: Any = None
        self._channel: Any = None
        self._published = 0
        self._unconfirmed: dict[int, Callable[[], None] | None] = {}
        self._if_returned: dict[str, tuple[int, Callable[[], None]]] = {}  # message id -> its number, what to do
        self._has_dead_letters = False
        self.is_over = False  # the link ends: nothing is published or confirmed any more

    def open(self, connection: Any) -> None:
        """Once, on a connection that stands."""
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

    # --- the queue for what is refused ---

    def _begin(self) -> None:
        """Whatever is refused must have a place to go before the first message comes."""
        self._connection.channel(on_open_callback=lambda channel: self._find_dead_letters(channel, declare=False))

    def _find_dead_letters(self, channel: Any, *, declare: bool) -> None:
        """As it is, whatever arguments it was made with; only if there is none it is made."""
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
        """Into the default exchange; ``then()`` once RabbitMQ has confirmed it. To a queue that is not there:
        ``if_returned`` instead; without that, confirmed too, unless it is the one for dead letters, without which the
        link ends. On a link that is lost it does nothing: the message that it is about comes again."""
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
        if self.is_over:  # what was published in this turn comes again
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
        """Comes before the confirm of the same message."""
        number, instead = self._if_returned.pop(properties.message_id, (0, None))
        if instead is not None:
            self._unconfirmed[number] = instead
        else:
            self._fail(f"the queue {method.routing_key} for what is refused is gone; the bridge makes it again")
