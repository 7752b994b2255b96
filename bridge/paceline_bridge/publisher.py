"""The publishing half of a link, with confirms, and the dead letter queue.

What RabbitMQ does not take is settled by itself, and whoever published it is told why (``NotTaken``): its queue is
gone or full, or it is such that RabbitMQ closes the channel or the connection over it, as over one that is larger
than its max_message_size. In the last case RabbitMQ does not say which one it was. So the channel, or the connection,
is opened anew, and all that was not confirmed is published again, **one at a time**: the one that is alone when that
is closed again is the one that is refused. What is published meanwhile waits behind it.

What all else waits for, as a channel or the confirm of the one that is alone, has to come within ``ANSWER_LIMIT_S``, or
the link ends. A confirm that nothing waits behind may take long: ``answers.py`` says for how long. Any other end of the
channel or the connection ends the link.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pika
import pika.exceptions
import pika.spec

from paceline_bridge.reasons import reason_of
from paceline_bridge.texts import said

FORBIDDEN_CODE = 403
CHANNEL_CODES = frozenset((311, FORBIDDEN_CODE, 406))
"""content-too-large, access-refused and precondition-failed: RabbitMQ closes a channel with these over a message that
it refuses."""
CONNECTION_CODES = frozenset((501, 502, 503, 505, 540, 541))
"""frame-error, syntax-error, command-invalid, unexpected-frame, not-implemented and internal-error: the same, of a
connection. Others say that the operator closes it."""
ANSWER_LIMIT_S = 30.0
HEADER_OVERHEAD_BYTES = 8 + 12
"""Of a frame, and of the header frame of a message, beside its properties."""

_logger = logging.getLogger("paceline.bridge")


class Cause(Enum):
    """Why a message was not taken."""

    UNROUTABLE = "its queue does not exist"
    REJECTED = "its queue takes no more; one that is full, with reject-publish, does that"
    CLOSED = "RabbitMQ closes what publishes it"
    FORBIDDEN = "this user may not publish"


@dataclass(frozen=True, slots=True)
class NotTaken:
    """``detail``: for a person."""

    cause: Cause
    detail: str


@dataclass(slots=True)
class _Publish:
    """One message to publish, and whom to tell. ``message_id``: as it travels; what a message that RabbitMQ returns is
    known by, with its queue and body, since a producer may have given it to several."""

    queue: str
    body: bytes
    properties: Mapping[str, Any]
    then: Callable[[], None] | None
    if_refused: Callable[[NotTaken], None] | None
    mandatory: bool
    message_id: bytes
    is_returned: bool = False


class Publisher:
    """It runs in the Link's thread, and ends with the Link."""

    def __init__(
        self,
        dead_letter: str,
        on_ready: Callable[[], None],
        fail: Callable[[str], None],
        reconnect: Callable[[], None],
    ) -> None:
        """``on_ready()`` is called once the dead letter queue exists; ``fail(reason)`` ends the link; ``reconnect()``
        has :meth:`open` called with another connection."""
        self._dead_letter = dead_letter
        self._on_ready = on_ready
        self._fail = fail
        self._reconnect = reconnect
        self._connection: Any = None
        self._channel: Any = None
        self._published = 0  # on this channel: RabbitMQ's confirms count by it
        self._unconfirmed: dict[int, _Publish] = {}
        self._suspects: deque[_Publish] = deque()  # to be published one at a time
        self._is_alone = False  # one of them is published, and nothing else
        self._is_waiting = True  # for that, or for a channel that confirms: what is published waits, too
        self._waiting: deque[_Publish] = deque()  # published while there is no channel, or while suspects are tried
        self._has_dead_letters = False
        self._making: dict[str, list[tuple[Callable[[], None], Callable[[str], None]]]] = {}  # queue -> whom to tell
        self._awaited: tuple[Any, object] | None = None  # the loop, and in it the end of the wait for an answer
        self.is_blocked = False  # RabbitMQ takes no publishes, and said so
        self.is_over = False  # the link has ended: nothing is published or confirmed any more

    def open(self, connection: Any) -> None:
        """Open the channel on an established connection."""
        self._connection = connection
        self.is_blocked = False
        self._open_channel()
        for queue in self._making:  # by the connection before, which can't tell any more what became of it
            self._make(queue)

    def _open_channel(self) -> None:
        self._await()
        self._connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel, self._published = channel, 0
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._begin())

    def _begin(self) -> None:
        if self._has_dead_letters:
            self._go_on()
        else:
            self._look_for_dead_letters()

    def _await(self) -> None:
        """All else waits for what RabbitMQ says next, or for the end of what begins here."""
        self._has_answered()
        loop = self._connection.ioloop
        self._awaited = loop, loop.call_later(ANSWER_LIMIT_S, self._unanswered)

    def _has_answered(self) -> None:
        if self._awaited is not None:
            loop, timer = self._awaited
            loop.remove_timeout(timer)
            self._awaited = None

    def _unanswered(self) -> None:
        self._awaited = None
        if self.is_blocked:
            self._await()
        elif not self.is_over:
            what = "the confirm of a message" if self._is_alone else "the channel that publishes"
            self._fail(f"RabbitMQ owes {what} for {ANSWER_LIMIT_S:.0f} s, and all replies wait for it")

    @property
    def is_ready(self) -> bool:
        """Whether messages may be consumed: what has to be published for them will be."""
        return self._has_dead_letters

    @property
    def unconfirmed(self) -> int:
        return len(self._unconfirmed) + len(self._suspects) + len(self._waiting)

    def _is_open(self) -> bool:
        return self._channel is not None and bool(self._channel.is_open)

    # --- what RabbitMQ closes ---

    def _closed(self, channel: Any, error: Exception) -> None:
        if channel is self._channel and self._connection.is_open and not self.is_over:
            if self._try_again(error, CHANNEL_CODES):
                self._open_channel()
            else:
                self._fail(f"RabbitMQ closed the channel that publishes: {reason_of(error)}")

    def connection_closed(self, error: Exception) -> bool:
        """The connection was closed. True if it is opened anew, False if that ends the link."""
        if self.is_over or not self._try_again(error, CONNECTION_CODES):
            return False
        self._reconnect()
        return True

    def _try_again(self, error: Exception, codes: frozenset[int]) -> bool:
        """Whether RabbitMQ has closed the channel or the connection over one of the messages that are not confirmed.
        Then they are sorted: into the one that is refused, and those that are to be published again."""
        is_refusal = isinstance(error, pika.exceptions.ChannelClosedByBroker | pika.exceptions.ConnectionClosedByBroker)
        if not is_refusal or getattr(error, "reply_code", 0) not in codes or not self._unconfirmed:
            return False
        published = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        self._is_waiting = True
        self._has_answered()
        if getattr(error, "reply_code", 0) == FORBIDDEN_CODE:
            # All go through the same exchange, which its permission is for.
            self._is_alone = False
            detail = f"{reason_of(error)}; give the user of the URL the permission to write to the exchange amq.default"
            for item in published:
                self._refuse(item, NotTaken(Cause.FORBIDDEN, detail))
        elif self._is_alone:
            self._is_alone = False
            [alone] = published
            self._refuse(alone, NotTaken(Cause.CLOSED, reason_of(error)))
        else:
            _logger.debug(
                "RabbitMQ refuses one of %d messages (%s); they are published one at a time",
                len(published),
                reason_of(error),
            )
            self._suspects.extend(published)
        return True

    def _go_on(self) -> None:
        """Publish the next suspect, and nothing else until it is confirmed; without suspects, all that waits."""
        if self._suspects:
            self._is_alone = self._is_waiting = True
            self._await()
            self._send(self._suspects.popleft())
            return
        self._has_answered()
        self._is_alone = self._is_waiting = False
        while self._waiting and self._is_open():
            self._send(self._waiting.popleft())

    # --- the dead letter queue ---

    def _look_for_dead_letters(self) -> None:
        """It must exist before the first message is consumed."""
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
        self._go_on()
        self._on_ready()

    def _no_dead_letters(self, error: Exception, *, declared: bool) -> None:
        if self._has_dead_letters or self.is_over or not self._connection.is_open:
            return
        if getattr(error, "reply_code", 0) == 404 and not declared:
            self._connection.channel(on_open_callback=lambda channel: self._find_dead_letters(channel, declare=True))
        else:
            self._fail(f"can't use the queue {self._dead_letter} for what is refused: {reason_of(error)}")

    def make(self, queue: str, then: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Make a durable queue, on a channel of its own. ``then()`` if there is one now, however it is."""
        asked = self._making.setdefault(queue, [])
        asked.append((then, failed))
        if len(asked) == 1:
            self._make(queue)

    def _make(self, queue: str) -> None:
        connection = self._connection

        def closed(_: Any, error: Exception) -> None:
            if self.is_over or not connection.is_open:
                return  # if another connection is opened, it begins anew
            found = self._making.pop(queue)
            is_there = (
                isinstance(error, pika.exceptions.ChannelClosedByClient) or getattr(error, "reply_code", 0) == 406
            )
            for then, failed in found:
                if is_there:
                    then()
                else:
                    failed(f"can't make the queue {queue}: {reason_of(error)}")

        def opened(channel: Any) -> None:
            channel.add_on_close_callback(closed)
            channel.queue_declare(queue, durable=True, callback=lambda _: channel.close())

        connection.channel(on_open_callback=opened)

    # --- messages ---

    def room_bytes(self) -> int:
        """How much the properties of a message may take."""
        return int(self._connection.params.frame_max) - HEADER_OVERHEAD_BYTES

    def publish(
        self,
        queue: str,
        body: bytes,
        properties: Mapping[str, Any],
        then: Callable[[], None] | None = None,
        if_refused: Callable[[NotTaken], None] | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        """Publish to a queue. ``then()`` is called once RabbitMQ has confirmed it, or instead ``if_refused(refusal)``
        if it is not taken. With ``mandatory`` a queue that does not exist is a refusal, and otherwise as good as any.
        On a link that is lost nothing happens, since RabbitMQ delivers the message in question again."""
        if self.is_over:
            return
        if mandatory and not properties.get("message_id"):
            # To know it by if it is returned. It stays in a dead letter: if that is moved back, the id makes its task.
            properties = {**properties, "message_id": str(uuid.uuid4())}
        message_id = _encoded(properties.get("message_id") or b"")
        item = _Publish(queue, body, properties, then, if_refused, mandatory, message_id)
        if self._is_waiting or not self._is_open():
            self._waiting.append(item)
        else:
            self._send(item)

    def _send(self, item: _Publish) -> None:
        item.is_returned = False  # it may have been sent before
        try:
            self._channel.basic_publish(
                "", item.queue, item.body, pika.BasicProperties(**item.properties), mandatory=item.mandatory
            )
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.ChannelWrongStateError):
            raise
        except Exception as error:  # noqa: BLE001 - of many kinds: it can't be written, and nothing of it is sent
            self._refuse(item, NotTaken(Cause.CLOSED, f"it can't be written: {said(error)}"))
            if self._is_alone:
                self._go_on()
            return
        self._published += 1
        self._unconfirmed[self._published] = item

    def _refuse(self, item: _Publish, refusal: NotTaken) -> None:
        if item.if_refused is not None:
            item.if_refused(refusal)

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        if self.is_over:  # RabbitMQ delivers again the messages that this was published for
            return
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        for tag in tags:
            item = self._unconfirmed.pop(tag, None)
            if item is None:
                continue
            if isinstance(method, pika.spec.Basic.Nack):
                self._refuse(item, NotTaken(Cause.REJECTED, Cause.REJECTED.value))
            elif item.is_returned:
                self._refuse(item, NotTaken(Cause.UNROUTABLE, Cause.UNROUTABLE.value))
            elif item.then is not None:
                item.then()
        if self._is_alone and not self._unconfirmed:
            self._go_on()

    def _returned(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """RabbitMQ returns a message that it could not route. This precedes the confirm of the same message."""
        returned = (_encoded(properties.message_id or b""), method.routing_key, body)
        for item in self._unconfirmed.values():
            if item.mandatory and not item.is_returned and (item.message_id, item.queue, item.body) == returned:
                item.is_returned = True
                return
        # Its confirm would have a message acknowledged that is nowhere.
        self._fail(
            f"RabbitMQ returned a message for {method.routing_key} that is none of those that wait for a confirm"
        )


def _encoded(text: str | bytes) -> bytes:
    """pika reads as str what is UTF-8, whatever it was written as."""
    return text.encode() if isinstance(text, str) else text
