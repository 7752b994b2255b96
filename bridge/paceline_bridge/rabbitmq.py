"""RabbitMQ: two connections on one loop in one thread.

One connection consumes, with a channel for each queue, so that one that is missing does not close the others, and one
more, on which it finds out about one queue after another: of those that need not be there, whether they are, and of
each, whether it goes with its last consumer (``auto_delete.py``). The other publishes, with confirms
(``publisher.py``): an alarm blocks connections that publish, and consuming goes on.

A Link is used once. It runs until a connection or a consumer's channel is lost, then raises LinkLost; every delivery
tag is void by then, and RabbitMQ delivers again whatever was not acknowledged. Everything but :meth:`Link.call` and
:meth:`Link.wake` belongs to the thread of :meth:`Link.run`.
"""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop

from paceline_bridge import auto_delete
from paceline_bridge.amqp_url import parameters_of
from paceline_bridge.config import shown
from paceline_bridge.consumer import Consumer
from paceline_bridge.frames import LenientConnection
from paceline_bridge.message import Message
from paceline_bridge.owed import Tag
from paceline_bridge.publisher import Publisher
from paceline_bridge.reasons import connect_reason_of, consumer_reason_of, reason_of

HEARTBEAT_S = 60
BLOCKED_LIMIT_S = 300
CONNECT_LIMIT_S = 15
CLOSE_LIMIT_S = 3.0
GOODBYE_LIMIT_S = 1.0
QUEUE_RETRY_S = 5.0
"""Until a queue that is missing or forbidden is looked for again; with a third more or less, by chance."""
OPTIONAL_RETRY_S = 60.0
"""The same for one that need not be there."""
NO_THREAD = "can't start new thread"
"""What Python says then: pika has a thread look up each address."""
NO_STREAMS = (
    "; the bridge consumes no streams, of which it would skip what is there already: bind a quorum queue instead"
)

_logger = logging.getLogger("paceline.bridge")
# What happens is told here, in one line each; pika would tell it in ten.
logging.getLogger("pika").addHandler(logging.NullHandler())
logging.getLogger("pika").propagate = False


class LinkLost(Exception):
    """RabbitMQ can't be reached, or is not there any more; the message says why, and holds no password."""


class Handler(Protocol):
    """Who uses the link. All of it is called in the thread of run()."""

    def on_ready(self) -> None:
        """Both connections stand."""

    def on_message(self, tag: Tag, message: Message) -> None:
        """A delivery. What this raises ends the link."""

    def on_wake(self) -> None:
        """wake() was called, once or more often, since the last time."""

    def on_blocked(self, blocked: bool) -> None:
        """RabbitMQ takes no publishes, or does again."""


class Link:
    """One life of the two connections. ``queues`` -> whether it is fine that the queue does not exist. ``prefetch``: of
    each queue, in messages; ``prefetch_bytes``: of all together. ``known_auto_delete``: the queues of which it is known
    whether RabbitMQ deletes them with their last consumer, kept by links one after another. ``publisher`` is what
    publishes."""

    def __init__(
        self,
        url: str,
        queues: Mapping[str, bool],
        dead_letter: str,
        prefetch: int,
        prefetch_bytes: int,
        declare: bool,
        handler: Handler,
        known_auto_delete: dict[str, bool] | None = None,
    ) -> None:
        self._auto_delete = {} if known_auto_delete is None else known_auto_delete
        self._where = shown(url)
        self._queues = queues
        self._prefetch = prefetch
        self._prefetch_bytes = prefetch_bytes
        self._declare = declare
        self._handler = handler
        self._parameters = parameters_of(
            url,
            heartbeat=HEARTBEAT_S,
            blocked_connection_timeout=BLOCKED_LIMIT_S,
            stack_timeout=CONNECT_LIMIT_S,
            client_properties={"connection_name": "paceline bridge"},
        )
        self._is_tls = self._parameters.ssl_options is not None
        self._loop: Any = IOLoop()
        self._consuming: Any = None  # connections
        self._publishing: Any = None
        self.publisher = Publisher(dead_letter, self._both_open, self.fail, self._open_publishing)
        self._consumers: dict[int, Consumer] = {}  # by the number of their channel
        self._unknown: deque[Consumer] = deque()  # of queues of which is to be asked whether they are auto-delete
        self._unseen: deque[str] = deque()  # queues that need not be there, to be looked for
        self._asking: Consumer | str | None = None  # of those: what is asked, or looked for, now
        self._complaints: dict[str, str] = {}  # queue -> what was logged about it
        self.consumer_timeout_s = math.inf  # what RabbitMQ has closed a channel for, if it has
        self._error: str | None = None
        self._is_stopping = False  # nothing is consumed any more
        self._closing = False
        self._woken = False
        self._is_ready = False

    # --- from any thread -----------------------------------------------------------------------------------------

    def call(self, function: Callable[[], None]) -> None:
        """Run it in the thread of the loop."""
        self._loop.add_callback_threadsafe(function)

    def wake(self) -> None:
        """Have on_wake called soon."""
        if not self._woken:
            self._woken = True
            self._loop.add_callback_threadsafe(self._on_wake)

    def _on_wake(self) -> None:
        self._woken = False
        self._handler.on_wake()

    # --- the life of a link --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Returns after close(). Raises LinkLost, or OSError if this process may open no more files."""
        self._consuming = self._connect(self._both_open)
        self._open_publishing()
        try:
            self._loop.start()
        except pika.exceptions.AMQPError as error:  # of a channel that was lost in the same turn of the loop
            raise LinkLost(self._error or f"the connection to {self._where} was lost: {reason_of(error)}") from error
        except RuntimeError as error:
            if str(error) != NO_THREAD:
                raise
            raise LinkLost(f"can't connect to {self._where}: {error}; raise the limit (`ulimit -u`)") from error
        finally:
            self._say_goodbye()
            # pika takes a loop that could not be started, as without a descriptor for it, for one that runs.
            self._loop._poller._running = False
            self._loop.close()
        if self._error is not None:
            raise LinkLost(self._error)

    def _say_goodbye(self) -> None:
        """Close what is still open, so that RabbitMQ takes back what was delivered now, and not when it misses us."""
        if not (self._consuming.is_open or self._publishing.is_open):
            return
        try:
            self.close(GOODBYE_LIMIT_S)
            self._loop.start()
        except (pika.exceptions.AMQPError, OSError) as error:
            _logger.debug("no goodbye from %s: %s", self._where, error)

    def discard(self) -> None:
        """Instead of run()."""
        self._loop.close()

    def _open_publishing(self) -> None:
        self._publishing = self._connect(self._open_publisher)

    def _connect(self, on_open: Callable[[], None]) -> Any:
        return LenientConnection(
            self._parameters,
            self._no_channels,
            on_open_callback=lambda _: on_open(),
            on_open_error_callback=lambda _, error: self.fail(
                f"can't connect to {self._where}: "
                f"{connect_reason_of(error, tls=self._is_tls, vhost=self._parameters.virtual_host)}"
            ),
            on_close_callback=self._closed,
            custom_ioloop=self._loop,
        )

    def _no_channels(self, limit: int) -> None:
        there = {consumer.queue for consumer in self._consumers.values()}
        count = sum(queue in there or not is_optional for queue, is_optional in self._queues.items())
        self.fail(
            f"{self._where} allows {limit} channels on a connection (channel_max), and each of {count} "
            "queues takes one, and one more asks about them; allow more there, or start several bridges with fewer "
            "queues each"
        )

    def fail(self, reason: str) -> None:
        """End the link. What was not acknowledged goes back to RabbitMQ."""
        if self._error is None and not self._closing:
            self._error = reason
            self.publisher.is_over = True
        self._loop.stop()

    def _closed(self, connection: Any, error: Exception) -> None:
        if self._closing:
            if self._consuming.is_closed and self._publishing.is_closed:
                self._loop.stop()
        elif connection is self._consuming or not self.publisher.connection_closed(error):
            self.fail(f"the connection to {self._where} was lost: {connection.defect or reason_of(error)}")

    def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Let run() return, once RabbitMQ has said goodbye, or soon if it does not."""
        self._closing = self.publisher.is_over = True
        for connection in (self._consuming, self._publishing):
            if connection.is_open:
                connection.close()
                self._loop.call_later(limit_s, self._loop.stop)
        if not (self._consuming.is_closing or self._publishing.is_closing):
            self._loop.stop()  # there is nobody to say goodbye to

    def call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, function)

    # --- publishing ----------------------------------------------------------------------------------------------

    def _open_publisher(self) -> None:
        self._publishing.add_on_connection_blocked_callback(lambda *_: self._handler.on_blocked(True))
        self._publishing.add_on_connection_unblocked_callback(lambda *_: self._handler.on_blocked(False))
        self.publisher.open(self._publishing)

    # --- consuming -----------------------------------------------------------------------------------------------

    def _both_open(self) -> None:
        if not self.publisher.is_ready or not self._consuming.is_open or self._is_ready:
            return
        self._is_ready = True
        self._handler.on_ready()
        for queue in self._queues:
            self._look_for(queue)

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
        if self._asking is not None or not self._consuming.is_open or self._closing:
            return
        if self._unknown:
            self._asking = consumer = self._unknown.popleft()
            auto_delete.ask(self._consuming, consumer.queue, lambda answer: self._start_known(consumer, answer))
        elif self._unseen:
            self._asking = queue = self._unseen.popleft()
            self._open_channel(queue, declare=False)

    def _answered(self, asked: Consumer | str) -> None:
        if self._asking == asked:
            self._asking = None
            self._loop.call_later(0, self._ask_next)  # when the number of a channel that was closed is free again

    def _open_channel(self, queue: str, *, declare: bool) -> None:
        if self._consuming.is_open and not self._closing:
            self._consuming.channel(on_open_callback=lambda channel: self._channel_opened(channel, queue, declare))

    def _channel_opened(self, channel: Any, queue: str, declare: bool) -> None:
        consumer = Consumer(channel, queue, self._prefetch, self._share_bytes, self._deliver)
        self._consumers[consumer.number] = consumer
        channel.add_on_close_callback(lambda _, error: self._channel_closed(consumer, error, declare))
        channel.add_on_cancel_callback(lambda _: self._cancelled(consumer))
        channel.queue_declare(
            queue, passive=not declare, durable=True, callback=lambda _: self._queue_found(consumer, made=declare)
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
        """``is_auto_delete``: None if it may be deleted, too, as one that expires, or if this user may not ask; then it
        is treated as if it were, and not warned of."""
        self._answered(consumer)
        if not consumer.is_open or self._closing:
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

    def _share_bytes(self) -> int:
        """Of one queue, so that one with large messages holds up no other."""
        return self._prefetch_bytes // max(1, sum(consumer.is_wanted for consumer in self._consumers.values()))

    @property
    def held_bytes(self) -> int:
        """What the deliveries that are not acknowledged weigh."""
        return sum(consumer.held_bytes for consumer in self._consumers.values())

    def _deliver(self, consumer: Consumer, delivery_tag: int, message: Message) -> None:
        if self._error is not None:
            return  # the link is over
        self._handler.on_message((consumer.number, delivery_tag), message)

    def _channel_closed(self, consumer: Consumer, error: Exception, declared: bool) -> None:
        self._consumers.pop(consumer.number, None)
        if not self._consuming.is_open or self._closing:
            return
        queue = consumer.queue
        self._answered(queue)
        if isinstance(error, pika.exceptions.ChannelClosedByClient):  # nothing is owed any more
            return
        if consumer.has_served:  # what it has delivered can't be acknowledged any more
            reason, self.consumer_timeout_s = consumer_reason_of(error)
            self.fail(f"RabbitMQ closed the channel that consumes {queue}: {reason}")
            return
        code = getattr(error, "reply_code", 0)
        if code == 404:
            self._auto_delete.pop(queue, None)  # the next one of its name may be another
        if code == 404 and self._declare and not declared and not self._queues[queue]:
            self._loop.call_later(0, lambda: self._open_channel(queue, declare=True))
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
        self._loop.call_later(delay_s, lambda: self._look_for(queue))

    def _consumer_of(self, tag: Tag) -> Consumer | None:
        """Who delivered it; None if its channel is not there any more."""
        consumer = self._consumers.get(tag[0])
        return consumer if consumer is not None and consumer.is_open and self._error is None else None

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
        if self._error is not None:
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

    def stop_consuming(self) -> None:
        """No more deliveries, also of queues that are not consumed yet: what came would only go back."""
        self._is_stopping = True
        for consumer in self._consumers.values():
            consumer.stop()
