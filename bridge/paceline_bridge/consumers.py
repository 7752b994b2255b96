"""The consuming half of a link: a channel for each queue, so that one that is missing does not close the others, and
one more, on which it finds out about one queue after another: of those that need not be there, whether they are, and
of each, whether it goes with its last consumer (``auto_delete.py``).

It ends with the link. Every delivery tag is void by then, and RabbitMQ delivers again whatever was not acknowledged.
"""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import pika.exceptions

from paceline_bridge import auto_delete
from paceline_bridge.consumer import Consumer
from paceline_bridge.intake import Share
from paceline_bridge.message import Message
from paceline_bridge.owed import Tag
from paceline_bridge.reasons import consumer_reason_of, reason_of

ANSWER_LIMIT_S = 30.0
"""A queue of which RabbitMQ says nothing for so long keeps no other waiting, and is named."""
QUEUE_RETRY_S = 5.0
"""Until a queue that is missing or forbidden is looked for again; with a third more or less, by chance."""
OPTIONAL_RETRY_S = 60.0
"""The same for one that need not be there."""
NO_STREAMS = (
    "; the bridge consumes no streams, of which it would skip what is there already: bind a quorum queue instead"
)

_logger = logging.getLogger("paceline.bridge")


class Consumers:
    """Those of one link, in its thread. ``queues`` -> whether it is fine that the queue does not exist. ``prefetch``:
    of each queue, in messages; ``prefetch_bytes``: of all together. ``where``: at which RabbitMQ, for a log."""

    def __init__(
        self,
        queues: Mapping[str, bool],
        prefetch: int,
        prefetch_bytes: int,
        declare: bool,
        where: str,
        on_message: Callable[[Tag, Message], None],
        fail: Callable[[str], None],
        known_auto_delete: dict[str, bool],
    ) -> None:
        """``fail(reason)`` ends the link. ``known_auto_delete``: the queues of which it is known whether RabbitMQ
        deletes them with their last consumer, kept by links one after another."""
        self._queues = queues
        self._prefetch = prefetch
        self._share = Share(prefetch_bytes)
        self._declare = declare
        self._where = where
        self._on_message = on_message
        self._fail = fail
        self._auto_delete = known_auto_delete
        self._connection: Any = None
        self._count = 0  # of consumers that there were
        self._consumers: dict[int, Consumer] = {}  # by their numbers
        self._unknown: deque[Consumer] = deque()  # of queues of which is to be asked whether they are auto-delete
        self._unseen: deque[str] = deque()  # queues that need not be there, to be looked for
        self._asking: Consumer | str | None = None  # of those: what is asked, or looked for, now
        self._complaints: dict[str, str] = {}  # queue -> what was logged about it
        self._is_stopping = False  # nothing is consumed any more
        self.consumer_timeout_s = math.inf  # what RabbitMQ has closed a channel for, if it has
        self.is_over = False  # the link has ended: nothing is delivered or acknowledged any more

    def open(self, connection: Any) -> None:
        """Consume by an established connection."""
        self._connection = connection
        for queue in self._queues:
            self._look_for(queue)

    @property
    def needed_channels(self) -> int:
        """For the queues that are there or have to be."""
        there = {consumer.queue for consumer in self._consumers.values()}
        return sum(queue in there or not is_optional for queue, is_optional in self._queues.items())

    # --- finding queues ------------------------------------------------------------------------------------------

    def _look_for(self, queue: str) -> None:
        if self._is_stopping:
            return
        if self._queues[queue]:
            self._unseen.append(queue)
            self._ask_next()
        else:
            self._open_channel(queue, declare=False)

    def _ask_next(self) -> None:
        """Those that are there come first: they are to be consumed."""
        if self._asking is not None or not self._connection.is_open or self.is_over:
            return
        if self._unknown:
            self._asking = consumer = self._unknown.popleft()
            auto_delete.ask(self._connection, consumer.queue, lambda answer: self._start_known(consumer, answer))
            self._connection.ioloop.call_later(ANSWER_LIMIT_S, lambda: self._start_known(consumer, None))
        elif self._unseen:
            self._asking = queue = self._unseen.popleft()
            self._open_channel(queue, declare=False)
            self._connection.ioloop.call_later(ANSWER_LIMIT_S, lambda: self._answered(queue))

    def _answered(self, asked: Consumer | str) -> None:
        if self._asking == asked:
            self._asking = None
            # When the number of a channel that was closed is free again.
            self._connection.ioloop.call_later(0, self._ask_next)

    def _open_channel(self, queue: str, *, declare: bool) -> None:
        if self._connection.is_open and not self.is_over:
            self._connection.channel(on_open_callback=lambda channel: self._channel_opened(channel, queue, declare))

    def _channel_opened(self, channel: Any, queue: str, declare: bool) -> None:
        self._count += 1
        consumer = Consumer(self._count, channel, queue, self._prefetch, self._share, self._deliver)
        self._consumers[consumer.number] = consumer
        channel.add_on_close_callback(lambda _, error: self._channel_closed(consumer, error, declare))
        channel.add_on_cancel_callback(lambda _: self._cancelled(consumer))
        channel.queue_declare(
            queue, passive=not declare, durable=True, callback=lambda _: self._queue_found(consumer, made=declare)
        )
        self._look_later(consumer)

    def _look_later(self, consumer: Consumer) -> None:
        self._connection.ioloop.call_later(ANSWER_LIMIT_S, lambda: self._look_if_served(consumer))

    def _look_if_served(self, consumer: Consumer) -> None:
        if consumer in self._unknown:  # others are asked about first
            self._look_later(consumer)
        elif consumer.is_open and not (consumer.has_served or self._is_stopping):
            silence = f"RabbitMQ has said nothing of {consumer.queue} at {self._where} for {ANSWER_LIMIT_S:.0f} s"
            self._complain(
                consumer.queue, f"{silence}, and it is not consumed; others are, and it is once there is an answer"
            )

    def _queue_found(self, consumer: Consumer, *, made: bool) -> None:
        queue = consumer.queue
        if made:
            _logger.info(
                "made the queue %s, durable and without arguments; whoever declares it otherwise is refused (406) and "
                "has to make it first",
                queue,
            )
        if queue in self._auto_delete:
            self._start(consumer)
        else:
            self._unknown.append(consumer)
        self._answered(queue)
        self._ask_next()

    def _start_known(self, consumer: Consumer, is_auto_delete: bool | None) -> None:
        """``is_auto_delete``: None if it may be deleted, too, as one that expires, or if this user may not ask, or if
        there is no answer; then it is treated as if it were, and not warned of. Only the first answer counts."""
        self._answered(consumer)
        if not consumer.is_open or self.is_over or consumer.is_wanted or consumer.has_served:
            return
        queue = consumer.queue
        self._auto_delete[queue] = is_auto_delete is not False
        if is_auto_delete:
            _logger.warning(
                "%s is an auto-delete queue: RabbitMQ deletes it, and what waits in it, with its last consumer, as "
                "when this bridge stops or loses its connection; make it without auto_delete, or run two bridges",
                queue,
            )
        self._start(consumer)

    def _start(self, consumer: Consumer) -> None:
        if self._is_stopping:
            return
        queue = consumer.queue

        def consuming() -> None:
            self._complaints.pop(queue, None)
            _logger.info("consuming %s at %s", queue, self._where)

        consumer.start(consuming, always=self._auto_delete[queue])

    def _channel_closed(self, consumer: Consumer, error: Exception, declared: bool) -> None:
        self._consumers.pop(consumer.number, None)
        if not self._connection.is_open or self.is_over:
            return
        queue = consumer.queue
        self._answered(queue)
        if isinstance(error, pika.exceptions.ChannelClosedByClient):  # nothing is owed any more
            return
        code = getattr(error, "reply_code", 0)
        if consumer.has_served and code == 404:
            if not consumer.lost_its_queue():
                return  # it is looked for already
        elif consumer.has_served:  # what it has delivered can't be acknowledged any more
            reason, self.consumer_timeout_s = consumer_reason_of(error)
            self._fail(f"RabbitMQ closed the channel that consumes {queue}: {reason}")
            return
        consumer.ended()  # one that RabbitMQ has refused, too, has no part of the bytes
        if code == 404:
            self._auto_delete.pop(queue, None)  # the next one of its name may be another
        if code == 404 and self._declare and not declared and not self._queues[queue]:
            self._connection.ioloop.call_later(0, lambda: self._open_channel(queue, declare=True))
            return
        if code != 404 or not self._queues[queue]:
            advice = "; it is looked for again, or made at once by a bridge with --declare" if code == 404 else ""
            advice = NO_STREAMS if "stream_queue" in reason_of(error) else advice
            self._complain(queue, f"can't consume {queue} at {self._where}: {reason_of(error)}{advice}")
        self._retry(queue)

    def _cancelled(self, consumer: Consumer) -> None:
        """RabbitMQ took the consumer away, as when the queue is deleted. What it has delivered can be acknowledged."""
        if consumer.ended():
            queue = consumer.queue
            self._auto_delete.pop(queue, None)
            self._complain(queue, f"RabbitMQ ended the consumer of {queue}, as when the queue is deleted; trying again")
            self._retry(queue)
            consumer.leave()

    def _complain(self, queue: str, text: str) -> None:
        if self._complaints.get(queue) != text:
            self._complaints[queue] = text
            _logger.warning("%s", text)

    def _retry(self, queue: str) -> None:
        interval_s = OPTIONAL_RETRY_S if self._queues[queue] else QUEUE_RETRY_S
        delay_s = interval_s * random.uniform(2 / 3, 4 / 3)  # noqa: S311 - a pause is no secret
        self._connection.ioloop.call_later(delay_s, lambda: self._look_for(queue))

    # --- deliveries ----------------------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """What the deliveries that are not acknowledged weigh."""
        return sum(consumer.held_bytes for consumer in self._consumers.values())

    def _deliver(self, consumer: Consumer, delivery_tag: int, message: Message) -> None:
        if not self.is_over:
            self._on_message((consumer.number, delivery_tag), message)

    def _consumer_of(self, tag: Tag) -> Consumer | None:
        """Who delivered it; None if its channel is not there any more."""
        consumer = self._consumers.get(tag[0])
        return consumer if consumer is not None and consumer.is_open and not self.is_over else None

    def heavier(self, tag: Tag, by_bytes: int) -> None:
        """A delivery takes so much more, now that it was read."""
        consumer = self._consumer_of(tag)
        if consumer is not None:
            consumer.heavier(tag[1], by_bytes)

    def weight_of(self, tag: Tag) -> int:
        """What a delivery counts for, in bytes."""
        consumer = self._consumer_of(tag)
        return consumer.weight_of(tag[1]) if consumer is not None else 0

    def ack(self, tag: Tag) -> None:
        consumer = self._consumer_of(tag)
        if consumer is not None:
            consumer.ack(tag[1])

    def give_back(self, tag: Tag) -> None:
        """Have it delivered again, to whoever consumes the queue."""
        consumer = self._consumer_of(tag)
        if consumer is not None:
            consumer.give_back(tag[1])

    def after_acks(self, then: Callable[[], None]) -> None:
        """``then()`` once RabbitMQ has taken the acknowledgements that were sent so far. Never if the link is lost
        before: nobody knows which of them it has."""
        if self.is_over:
            return
        consumers = [consumer for consumer in self._consumers.values() if consumer.has_served and consumer.is_open]
        if not consumers:
            then()
            return
        left = len(consumers)

        def taken() -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        for consumer in consumers:
            consumer.ask_if_taken(taken)

    def stop(self) -> None:
        """No more deliveries, also of queues that are not consumed yet: what came would only go back."""
        self._is_stopping = True
        for consumer in self._consumers.values():
            consumer.stop()
