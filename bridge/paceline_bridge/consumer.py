"""One channel of a link that consumes one queue: its consumers, one after another, and what they have delivered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from paceline_bridge.frames import LenientProperties
from paceline_bridge.intake import Intake, Share, weight_of
from paceline_bridge.message import Message

NO_STREAM = {"x-priority": 0}
"""The default of classic and quorum queues, which streams refuse: a consumer of a stream would begin behind all that is
in it, and what it skips would never run. What a message says of itself is no sign of one."""


_OTHERS = ("timestamp", "type", "app_id")
"""Of the rest, RabbitMQ drops a dead letter when its ``expiration`` has passed, and refuses a ``user_id`` that is not
the bridge's."""


class Consumer:
    """Lives as long as its channel. Everything belongs to the thread of the link."""

    def __init__(
        self,
        number: int,
        channel: Any,
        queue: str,
        limit: int,
        share: Share,
        deliver: Callable[[Consumer, int, Message], None],
    ) -> None:
        """``number``: another one for each of a link, as a channel has the number of one that was closed.
        ``limit``: of messages that are not acknowledged; ``share``: of what they may weigh."""
        self.number = number
        self.channel = channel
        self.queue = queue
        self.has_served = False  # it consumes or did
        self._limit = limit
        self._share = share
        self._deliver = deliver
        self._tag: str | None = None  # of the consumer that there is, or that was asked for
        self._unanswered: deque[Callable[[], None]] = deque()  # whom to tell that acknowledgements were taken
        self._intake = Intake(limit)

    @property
    def is_open(self) -> bool:
        return bool(self.channel.is_open)

    @property
    def is_wanted(self) -> bool:
        """Whether it consumes, or will once there is room for more; not after its end."""
        return self.number in self._share

    @property
    def held_bytes(self) -> int:
        return self._intake.held_bytes

    # --- consuming ---

    def start(self, consuming: Callable[[], None], *, always: bool = False) -> None:
        """Begin. ``consuming()`` is called once RabbitMQ has agreed. ``always``: there is a consumer at every moment,
        since the queue would be deleted with the last one."""
        self._share.take(self.number)
        self._intake.least = int(always)
        self._begin(consuming)

    def _begin(self, consuming: Callable[[], None] | None = None) -> None:
        count = self._intake.begin(self._share.size_bytes)
        if not count:
            return

        def agreed(_: Any) -> None:
            self.has_served = True
            if consuming is not None:
                consuming()

        # For each consumer, and not for the channel: quorum queues refuse a global one.
        self.channel.basic_qos(prefetch_count=count)
        self._tag = self.channel.basic_consume(self.queue, self._came, callback=agreed, arguments=NO_STREAM)

    def _came(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        weight = weight_of(len(body), getattr(properties, "frame_bytes", 0))
        self._intake.came(method.delivery_tag, weight, is_late=method.consumer_tag != self._tag)
        if self.is_wanted:
            self._look_at_intake()
        self._deliver(self, method.delivery_tag, _message(self.queue, properties, body, method.redelivered))

    def _look_at_intake(self) -> None:
        """Begin another consumer if it is time for that."""
        if not self._intake.asked:
            self._begin()
        elif self._intake.is_to_change(self._share.size_bytes):
            before, self._tag = self._tag, None
            self._begin()  # before the other ends: with the last consumer the queue might be deleted
            self._cancel(before)

    def _cancel(self, tag: str | None) -> None:
        """Cancel a consumer, and take what is on its way all the same. pika would reject that, which a quorum queue
        counts as a delivery: after some it would drop the message."""
        if tag is not None:
            self.channel.basic_cancel(tag, callback=lambda _: None)
            self.channel._cancelled.discard(tag)

    def ended(self) -> bool:
        """RabbitMQ has ended the consumer. False if there was none, or if it had ended it before."""
        was_wanted = self.is_wanted
        self._share.leave(self.number)
        self._tag = None
        return was_wanted

    def stop(self) -> None:
        """No more deliveries. Those that are on their way go back."""
        self._share.leave(self.number)
        if self._tag is not None and self.is_open:
            self.channel.basic_cancel(self._tag)
            self._tag = None

    def heavier(self, delivery_tag: int, by_bytes: int) -> None:
        """A message that it has delivered takes so much more, now that it was read."""
        self._intake.heavier(delivery_tag, by_bytes)
        if self.is_wanted:
            self._look_at_intake()

    def weight_of(self, delivery_tag: int) -> int:
        return self._intake.weight_of(delivery_tag)

    # --- settling ---

    def ack(self, delivery_tag: int) -> None:
        self.channel.basic_ack(delivery_tag)
        self._settled(delivery_tag)

    def give_back(self, delivery_tag: int) -> None:
        self.channel.basic_nack(delivery_tag, requeue=True)
        self._settled(delivery_tag)

    def _settled(self, delivery_tag: int) -> None:
        self._intake.gone(delivery_tag)
        if not self.is_wanted:
            self.leave()
        else:
            self._look_at_intake()

    def ask_if_taken(self, taken: Callable[[], None]) -> None:
        """``taken()`` once RabbitMQ has taken the acknowledgements that were sent so far: a request on the same channel
        is answered after them, and this one concerns later consumers alone, each of which says it anew."""
        self._unanswered.append(taken)

        def answered(_: Any) -> None:
            self._unanswered.popleft()()
            if not self.is_wanted:
                self.leave()

        self.channel.basic_qos(prefetch_count=self._limit, callback=answered)

    def lost_its_queue(self) -> bool:
        """RabbitMQ has closed the channel, as the queue is not there any more. What was delivered of it is not either,
        and needs no acknowledgement. False as :meth:`ended`."""
        was_wanted = self.ended()
        while self._unanswered:
            self._unanswered.popleft()()
        return was_wanted

    def leave(self) -> None:
        """Close a channel whose consumer is gone, once RabbitMQ has taken the acknowledgement of its last delivery."""
        if not (self.is_open and self._is_done()):
            return

        def taken() -> None:
            if self.is_open and self._is_done():
                self.channel.close()

        self.ask_if_taken(taken)

    def _is_done(self) -> bool:
        return not (self.is_wanted or len(self._intake) or self._unanswered)


def _message(queue: str, properties: Any, body: bytes, redelivered: bool) -> Message:
    headers = properties.headers or {}
    return Message(
        queue,
        body,
        headers,
        _text(properties.content_type),
        _text(properties.content_encoding),
        _text(properties.message_id),
        _text(properties.correlation_id),
        _text(properties.reply_to),
        properties.priority,
        redelivered,
        properties.problem if isinstance(properties, LenientProperties) else "",
        {name: value for name in _OTHERS if (value := getattr(properties, name)) is not None},
    )


def _text(value: str | bytes | None) -> str | None:
    """What is not UTF-8 is bytes at pika. It stays what it is: ``dead_letters.py`` writes it as it came."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
