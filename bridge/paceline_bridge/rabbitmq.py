"""RabbitMQ: two connections on one loop in one thread.

One connection consumes, with a channel for each queue, so that one that is missing does not close the others. The other
publishes, with confirms (``publisher.py``): an alarm blocks connections that publish, and consuming goes on.

A Link is used once. It runs until a connection or a consumer's channel is lost, then raises LinkLost; every delivery
tag is void by then, and RabbitMQ delivers again whatever was not acknowledged. Everything but :meth:`Link.call` and
:meth:`Link.wake` belongs to the thread of :meth:`Link.run`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop

from paceline.errors import ConfigError
from paceline_bridge.config import shown, spelled_out
from paceline_bridge.message import Message
from paceline_bridge.owed import Tag
from paceline_bridge.publisher import Publisher
from paceline_bridge.reasons import connect_reason_of, reason_of

HEARTBEAT_S = 60
BLOCKED_LIMIT_S = 300
CONNECT_LIMIT_S = 15
CLOSE_LIMIT_S = 3.0
GOODBYE_LIMIT_S = 1.0
QUEUE_RETRY_S = 5.0
"""Until a queue that is missing or forbidden is looked for again; with a third more or less, by chance."""
OPTIONAL_RETRY_S = 60.0
"""The same for one that need not be there."""

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

    def on_message(self, tag: Tag, message: Message) -> None: ...

    def on_wake(self) -> None:
        """wake() was called, once or more often, since the last time."""

    def on_blocked(self, blocked: bool) -> None:
        """RabbitMQ takes no publishes, or does again."""


class Link:
    """One life of the two connections. ``queues`` -> whether it is fine that the queue does not exist. ``publisher`` is
    what publishes."""

    def __init__(
        self, url: str, queues: Mapping[str, bool], dead_letter: str, prefetch: int, declare: bool, handler: Handler
    ) -> None:
        self._where = shown(url)
        self._queues = queues
        self._prefetch = prefetch
        self._declare = declare
        self._handler = handler
        self._parameters = parameters_of(url)
        self._is_tls = self._parameters.ssl_options is not None
        self._parameters.heartbeat = HEARTBEAT_S
        self._parameters.blocked_connection_timeout = BLOCKED_LIMIT_S
        self._parameters.stack_timeout = CONNECT_LIMIT_S
        self._parameters.client_properties = {"connection_name": "paceline bridge"}
        self._loop: Any = IOLoop()
        self._consuming: Any = None  # connections
        self._publishing: Any = None
        self.publisher = Publisher(dead_letter, self._both_open, self.fail)
        self._channels: dict[int, Any] = {}  # of consumers, by number
        self._consumers: dict[int, str] = {}  # channel number -> consumer tag, while it consumes
        self._served: set[int] = set()  # channels that consume or did
        self._unsettled: dict[int, int] = {}  # channel number -> deliveries not acknowledged or given back
        self._unanswered: dict[int, int] = {}  # channel number -> questions whether acknowledgements were taken
        self._complaints: dict[str, str] = {}  # queue -> what was logged about it
        self._error: str | None = None
        self._closing = False
        self._woken = False

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
        """Returns after close(). Raises LinkLost."""
        self._consuming = self._connect(self._both_open)
        self._publishing = self._connect(self._open_publisher)
        try:
            self._loop.start()
        except pika.exceptions.AMQPError as error:  # of a channel that was lost in the same turn of the loop
            raise LinkLost(self._error or f"the connection to {self._where} was lost: {reason_of(error)}") from error
        finally:
            self._say_goodbye()
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
        except pika.exceptions.AMQPError as error:
            _logger.debug("no goodbye from %s: %s", self._where, error)

    def discard(self) -> None:
        """Instead of run()."""
        self._loop.close()

    def _connect(self, on_open: Callable[[], None]) -> Any:
        return pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda _: on_open(),
            on_open_error_callback=lambda _, error: self.fail(
                f"can't connect to {self._where}: "
                f"{connect_reason_of(error, tls=self._is_tls, vhost=self._parameters.virtual_host)}"
            ),
            on_close_callback=lambda _, error: self._closed(error),
            custom_ioloop=self._loop,
        )

    def fail(self, reason: str) -> None:
        """End the link. What was not acknowledged goes back to RabbitMQ."""
        if self._error is None and not self._closing:
            self._error = reason
            self.publisher.is_over = True
        self._loop.stop()

    def _closed(self, error: Exception) -> None:
        if self._closing:
            if self._consuming.is_closed and self._publishing.is_closed:
                self._loop.stop()
        else:
            self.fail(f"the connection to {self._where} was lost: {reason_of(error)}")

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
        if not self.publisher.is_ready or not self._consuming.is_open or self._channels:
            return
        self._handler.on_ready()
        for queue in self._queues:
            self._open_channel(queue, declare=False)

    def _open_channel(self, queue: str, *, declare: bool) -> None:
        if self._consuming.is_open and not self._closing:
            self._consuming.channel(on_open_callback=lambda channel: self._channel_opened(channel, queue, declare))

    def _channel_opened(self, channel: Any, queue: str, declare: bool) -> None:
        number = channel.channel_number
        self._channels[number] = channel
        channel.add_on_close_callback(lambda _, error: self._channel_closed(number, queue, error, declare))
        channel.add_on_cancel_callback(lambda _: self._cancelled(number, queue))
        channel.queue_declare(
            queue, passive=not declare, durable=True, callback=lambda _: self._queue_found(channel, queue)
        )

    def _queue_found(self, channel: Any, queue: str) -> None:
        number = channel.channel_number

        def deliver(_: Any, method: Any, properties: Any, body: bytes) -> None:
            if self._error is not None:
                return  # the link is over
            self._unsettled[number] = self._unsettled.get(number, 0) + 1
            self._handler.on_message(
                (number, method.delivery_tag), _message(queue, properties, body, method.redelivered)
            )

        def consuming(frame: Any) -> None:
            self._consumers[number] = frame.method.consumer_tag
            self._served.add(number)
            self._complaints.pop(queue, None)
            _logger.info("consuming %s at %s", queue, self._where)

        # For each consumer, and not for the channel: quorum queues refuse a global one.
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.basic_consume(queue, deliver, callback=consuming)

    def _channel_closed(self, number: int, queue: str, error: Exception, declared: bool) -> None:
        self._channels.pop(number, None)
        if not self._consuming.is_open or self._closing:
            return
        if isinstance(error, pika.exceptions.ChannelClosedByClient):  # nothing is owed any more
            self._served.discard(number)
            return
        if number in self._served:  # what it has delivered can't be acknowledged any more
            self.fail(f"RabbitMQ closed the channel that consumes {queue}: {reason_of(error)}")
            return
        code = getattr(error, "reply_code", 0)
        if code == 404 and self._declare and not declared and not self._queues[queue]:
            self._open_channel(queue, declare=True)
            return
        if code != 404 or not self._queues[queue]:
            advice = "; it is looked for again, or made at once by a bridge with --declare" if code == 404 else ""
            self._complain(queue, f"can't consume {queue} at {self._where}: {reason_of(error)}{advice}")
        self._retry(queue)

    def _cancelled(self, number: int, queue: str) -> None:
        """RabbitMQ took the consumer away, as when the queue is deleted. What it has delivered can be acknowledged."""
        if self._consumers.pop(number, None) is not None:
            self._complain(queue, f"RabbitMQ ended the consumer of {queue}, as when the queue is deleted; trying again")
            self._retry(queue)
            self._leave(number)

    def _leave(self, number: int) -> None:
        """Close a channel whose consumer is gone, once RabbitMQ has taken the acknowledgement of its last delivery."""
        channel = self._open(number)
        if channel is None or not self._is_done_with(number):
            return

        def taken() -> None:
            if channel.is_open and self._is_done_with(number):
                channel.close()

        self._ask_if_taken(channel, taken)

    def _is_done_with(self, number: int) -> bool:
        return number not in self._consumers and not self._unsettled.get(number) and not self._unanswered.get(number)

    def _complain(self, queue: str, text: str) -> None:
        if self._complaints.get(queue) != text:
            self._complaints[queue] = text
            _logger.warning("%s", text)

    def _retry(self, queue: str) -> None:
        interval_s = OPTIONAL_RETRY_S if self._queues[queue] else QUEUE_RETRY_S
        delay_s = interval_s * random.uniform(2 / 3, 4 / 3)
        self._loop.call_later(delay_s, lambda: self._open_channel(queue, declare=False))

    def _open(self, number: int) -> Any:
        """The consumer's channel of this number, None if it is not there any more."""
        channel = self._channels.get(number)
        return channel if channel is not None and channel.is_open else None

    def ack(self, tag: Tag) -> None:
        channel = self._open(tag[0])
        if channel is not None and self._error is None:
            channel.basic_ack(tag[1])
            self._settled(tag[0])

    def give_back(self, tag: Tag) -> None:
        """Have it delivered again, to whoever consumes the queue."""
        channel = self._open(tag[0])
        if channel is not None and self._error is None:
            channel.basic_nack(tag[1], requeue=True)
            self._settled(tag[0])

    def _settled(self, number: int) -> None:
        self._unsettled[number] -= 1
        if number not in self._consumers:
            self._leave(number)

    def after_acks(self, then: Callable[[], None]) -> None:
        """``then()`` once RabbitMQ has taken the acknowledgements that were sent so far: a request on the same channel
        is answered after them, and the one that asks for what is the case already changes nothing."""
        channels = [channel for number in self._served if (channel := self._open(number)) is not None]
        if not channels:
            then()
            return
        left = len(channels)

        def taken() -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        for channel in channels:
            self._ask_if_taken(channel, taken)

    def _ask_if_taken(self, channel: Any, taken: Callable[[], None]) -> None:
        number = channel.channel_number
        self._unanswered[number] = self._unanswered.get(number, 0) + 1

        def answered(_: Any) -> None:
            self._unanswered[number] -= 1
            taken()
            if number not in self._consumers:
                self._leave(number)

        channel.basic_qos(prefetch_count=self._prefetch, callback=answered)

    def stop_consuming(self) -> None:
        """No more deliveries, after those that are on their way."""
        for number, consumer in self._consumers.items():
            channel = self._open(number)
            if channel is not None:
                channel.basic_cancel(consumer)
        self._consumers.clear()


def parameters_of(url: str) -> Any:
    """How pika reads a URL of RabbitMQ. Raises ConfigError."""
    try:
        return pika.URLParameters(spelled_out(url))
    except Exception as error:  # of any kind: the options of a URL are Python literals, and arguments of ssl
        raise ConfigError(
            f"{shown(url)} has an option that can't be used: {str(error) or type(error).__name__}"
        ) from error


def _message(queue: str, properties: Any, body: bytes, redelivered: bool) -> Message:
    return Message(
        queue,
        body,
        properties.headers or {},
        properties.content_type,
        properties.content_encoding,
        properties.message_id,
        properties.correlation_id,
        properties.reply_to,
        properties.priority,
        redelivered,
    )
