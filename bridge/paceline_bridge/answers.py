"""What the bridge publishes: replies to Celery callers, and dead letters. ``replies.py`` and ``dead_letters.py`` say
what is in them.

Each of them may be refused by RabbitMQ, for a reason of its own (``publisher.py``), and none ends the link:

- A final reply that RabbitMQ does not take as it is, as it is too large, becomes one that says so. If that is not taken
  either, or if the caller's queue is full, the caller has no reply; this is counted, and told in the log.
- A dead letter that RabbitMQ does not take as it is goes without the headers of its message. If that is not taken
  either, or if the dead letter queue is full, its message is **held**: it stays unacknowledged, and its dead letter is
  published again every few seconds. After ``HELD_LIMIT_S`` it goes back to its queue. So nothing is lost.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from paceline_bridge import dead_letters, replies
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.message import Refused, ReplyAddress
from paceline_bridge.owed import Delivery
from paceline_bridge.publisher import Cause, NotTaken, Publisher
from paceline_bridge.troubles import Repeats

REPLY_LIMIT_BYTES = 15 << 20  # RabbitMQ 4 closes the channel on a message of more than 16 MiB
HELD_RETRY_S = 5.0
HELD_LIMIT_S = 10 * 60.0
"""RabbitMQ gives up a consumer that keeps a delivery for 30 minutes."""

_logger = logging.getLogger("paceline.bridge")


@dataclass(slots=True)
class _Held:
    """A delivery whose dead letter was not taken. ``settle()`` acknowledges it, unless that is done."""

    delivery: Delivery
    refused: Refused
    settle: Callable[[], None]
    since: float


class Answers:
    """Of one life."""

    def __init__(
        self,
        publisher: Publisher,
        dead_letter: str,
        counters: BridgeCounters,
        repeats: Repeats,
        fail: Callable[[str], None],
    ) -> None:
        self._publisher = publisher
        self._dead_letter = dead_letter
        self._counters = counters
        self._repeats = repeats
        self._fail = fail
        self._limit_bytes = REPLY_LIMIT_BYTES  # less, once RabbitMQ has said so
        self._held: deque[_Held] = deque()
        self._retry_at_s = 0.0
        self._probing = False

    # --- replies ---

    def started(self, reply: ReplyAddress) -> None:
        self._publisher.publish(reply.queue, replies.started(reply), _reply_properties(reply))

    def ended(self, reply: ReplyAddress, outcome: tuple[int, bytes], protocol: str, settle: Callable[[], None]) -> None:
        """The final reply. ``settle()`` is called once nothing more is owed."""
        body = self._body(reply, outcome, protocol)
        if len(body) > self._limit_bytes:
            self._too_large(reply, len(body), protocol, settle)
            return

        def refused(refusal: NotTaken) -> None:
            if refusal.cause is Cause.CLOSED:
                if limit := re.search(r"max size (\d+)", refusal.detail):
                    self._limit_bytes = min(self._limit_bytes, int(limit[1]))
                self._too_large(reply, len(body), protocol, settle, f"; RabbitMQ says: {refusal.detail}")
            else:
                self._undelivered(reply, protocol, refusal.detail, settle)

        then = partial(self._replied, protocol, settle)
        self._publisher.publish(reply.queue, body, _reply_properties(reply), then, refused)

    def _body(self, reply: ReplyAddress, outcome: tuple[int, bytes], protocol: str) -> bytes:
        try:
            return replies.ended(reply, *outcome, time.time())
        except Exception as error:
            _logger.exception("the reply for a task can't be written; please report this")
            refused = Refused(protocol, "bridge", f"writing the reply failed: {type(error).__name__}", reply)
            return replies.refused(reply, refused, time.time())

    def _too_large(
        self, reply: ReplyAddress, size: int, protocol: str, settle: Callable[[], None], why: str = ""
    ) -> None:
        """Tell the caller that its result can't be sent."""
        refused = Refused(protocol, "too-large", f"the task has ended, and its reply takes {size} bytes{why}", reply)
        self._publisher.publish(
            reply.queue,
            replies.refused(reply, refused, time.time()),
            _reply_properties(reply),
            partial(self._replied, protocol, settle),
            lambda refusal: self._undelivered(reply, protocol, refusal.detail, settle),
        )

    def _replied(self, protocol: str, settle: Callable[[], None]) -> None:
        self._counters.count("replied", protocol)
        settle()

    def _undelivered(self, reply: ReplyAddress, protocol: str, why: str, settle: Callable[[], None]) -> None:
        self._counters.count("undelivered", protocol)
        self._tell("reply", f"a reply for a caller at {reply.queue[:100]!r} is dropped: {why}")
        settle()

    # --- refusals ---

    def refuse(self, refused: Refused, delivery: Delivery, settle: Callable[[], None]) -> None:
        """Reply to the caller, or put the message into the dead letter queue. ``settle()`` is called once RabbitMQ has
        confirmed that."""
        self._counters.count("refused", refused.protocol)
        _logger.info("refused a message of %s (%s): %s", delivery.message.queue, refused.reason, refused.detail)
        held = _Held(delivery, refused, settle, time.monotonic())
        reply = refused.reply
        if reply is None:
            self._bury(held)
            return
        # Celery names a queue for replies whatever its backend is. If that queue does not exist, nobody waits.
        self._publisher.publish(
            reply.queue,
            replies.refused(reply, refused, time.time()),
            _reply_properties(reply),
            partial(self._replied, refused.protocol, settle),
            lambda _: self._bury(held),
            mandatory=True,
        )

    def _bury(self, held: _Held, *, bare: bool = False) -> None:
        """Put a message into the dead letter queue, ``bare``: without its headers."""
        room = 0 if bare else self._publisher.room_bytes()
        properties = dead_letters.properties_of(held.delivery.message, held.refused, room)

        def taken() -> None:
            self._counters.count("dead_lettered", held.refused.protocol)
            self._probing = False
            self._retry_at_s = 0.0  # there is room for others
            held.settle()

        def refused(refusal: NotTaken) -> None:
            if refusal.cause is Cause.UNROUTABLE:
                self._fail(f"the queue {self._dead_letter} for what is refused is gone; the bridge makes it again")
            elif refusal.cause is Cause.CLOSED and not bare:
                self._bury(held, bare=True)
            else:
                self._hold(held, refusal.detail)

        body = held.delivery.message.body
        self._publisher.publish(self._dead_letter, body, properties, taken, refused, mandatory=True)

    def _hold(self, held: _Held, why: str) -> None:
        self._held.append(held)
        self._probing = False
        self._retry_at_s = time.monotonic() + HELD_RETRY_S
        self._tell(
            "held",
            f"the dead letter queue {self._dead_letter} does not take a refused message of "
            f"{held.delivery.message.queue}, which waits at the bridge: {why}",
        )

    @property
    def held(self) -> int:
        """How many refused messages wait for room in the dead letter queue."""
        return len(self._held)

    def tick(self, now: float) -> list[tuple[Delivery, Callable[[], None]]]:
        """Try what is held again: one of them, and all once it was taken. Returns those that are to go back to their
        queues, with what settles them."""
        over = [held for held in self._held if now >= held.since + HELD_LIMIT_S]
        if over:
            self._held = deque(held for held in self._held if now < held.since + HELD_LIMIT_S)
        if self._held and not self._probing and now >= self._retry_at_s:
            count = 1 if self._retry_at_s else len(self._held)
            self._probing = count == 1
            for _ in range(count):
                self._bury(self._held.popleft())
        return [(held.delivery, held.settle) for held in over]

    def _tell(self, key: str, text: str) -> None:
        """Log it, but not once for each message."""
        untold = self._repeats.note(key, time.monotonic())
        if untold is not None:
            _logger.warning("%s%s", text, f"; {untold} more like this since the last line" if untold else "")


def _reply_properties(reply: ReplyAddress) -> dict[str, Any]:
    return {
        "correlation_id": reply.correlation_id,
        "content_type": "application/x-msgpack" if reply.is_msgpack else "application/json",
        "content_encoding": "binary" if reply.is_msgpack else "utf-8",
        "delivery_mode": 1,
    }
