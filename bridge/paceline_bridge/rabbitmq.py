"""RabbitMQ: two connections on one loop in one thread.

One connection consumes (``consumers.py``). The other publishes, with confirms (``publisher.py``): an alarm blocks
connections that publish, and consuming goes on.

A Link is used once. It runs until a connection or a consumer's channel is lost, then raises LinkLost; every delivery
tag is void by then, and RabbitMQ delivers again whatever was not acknowledged. Everything but :meth:`Link.call` and
:meth:`Link.wake` belongs to the thread of :meth:`Link.run`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop

from paceline_bridge.amqp_url import parameters_of
from paceline_bridge.config import shown
from paceline_bridge.consumers import Consumers
from paceline_bridge.frames import LenientConnection
from paceline_bridge.message import Message
from paceline_bridge.owed import Tag
from paceline_bridge.publisher import Publisher
from paceline_bridge.reasons import connect_reason_of, reason_of

HEARTBEAT_S = 10
"""What pika makes of it: a RabbitMQ of which nothing is heard is taken for gone after 15 to 30 s."""
BLOCKED_LIMIT_S = 300
CONNECT_LIMIT_S = 15
CLOSE_LIMIT_S = 3.0
GOODBYE_LIMIT_S = 1.0
NO_THREAD = "can't start new thread"
"""What Python says then: pika has a thread look up each address."""

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
    """One life of the two connections, with what they are for: ``consumers`` and ``publisher``, which say what the
    parameters are."""

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
        self._where = shown(url)
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
        self.consumers = Consumers(
            queues,
            prefetch,
            prefetch_bytes,
            declare,
            self._where,
            handler.on_message,
            self.fail,
            {} if known_auto_delete is None else known_auto_delete,
        )
        self.publisher = Publisher(dead_letter, self._both_open, self.fail, self._open_publishing)
        self._error: str | None = None
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

    def _open_publisher(self) -> None:
        self._publishing.add_on_connection_blocked_callback(lambda *_: self._on_blocked(True))
        self._publishing.add_on_connection_unblocked_callback(lambda *_: self._on_blocked(False))
        self.publisher.open(self._publishing)

    def _on_blocked(self, blocked: bool) -> None:
        self.publisher.is_blocked = blocked
        self._handler.on_blocked(blocked)

    def _both_open(self) -> None:
        if not self.publisher.is_ready or not self._consuming.is_open or self._is_ready:
            return
        self._is_ready = True
        self._handler.on_ready()
        self.consumers.open(self._consuming)

    def _no_channels(self, limit: int) -> None:
        self.fail(
            f"{self._where} allows {limit} channels on a connection (channel_max), and each of "
            f"{self.consumers.needed_channels} queues takes one, and one more asks about them; allow more there, or "
            "start several bridges with fewer queues each"
        )

    def fail(self, reason: str) -> None:
        """End the link. What was not acknowledged goes back to RabbitMQ."""
        if self._error is None and not self._closing:
            self._error = reason
            self.consumers.is_over = self.publisher.is_over = True
        self._loop.stop()

    def _closed(self, connection: Any, error: Exception) -> None:
        if self._closing:
            if self._consuming.is_closed and self._publishing.is_closed:
                self._loop.stop()
        elif connection is self._consuming or not self.publisher.connection_closed(error):
            self.fail(f"the connection to {self._where} was lost: {connection.defect or reason_of(error)}")

    def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Let run() return, once RabbitMQ has said goodbye, or soon if it does not."""
        self._closing = self.consumers.is_over = self.publisher.is_over = True
        for connection in (self._consuming, self._publishing):
            if connection.is_open:
                connection.close()
                self._loop.call_later(limit_s, self._loop.stop)
        if not (self._consuming.is_closing or self._publishing.is_closing):
            self._loop.stop()  # there is nobody to say goodbye to

    def call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, function)
