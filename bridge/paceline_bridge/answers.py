"""What the bridge publishes: replies to Celery callers, and dead letters. ``replies.py`` and ``dead_letters.py`` say
what is in them.

Each of them may be refused by RabbitMQ, for a reason of its own (``publisher.py``), and none ends the link:

- A final reply that RabbitMQ does not take as it is, as it is too large, becomes one that says so. If that is not taken
  either, or if the caller's queue is full, the caller has no reply; this is counted, and told in the log.
- A dead letter that RabbitMQ does not take as it is goes without the headers of its message.
- A message whose dead letter is not taken then either, or because the dead letter queue is full, is **held**, and so is
  one for which nothing can be published, as this user may not: it stays unacknowledged, and is tried again every few
  seconds. After ``HELD_LIMIT_S`` it goes back to its queue. So nothing is lost.
- What RabbitMQ neither confirms nor refuses, as the queue that it is for has lost its majority, is not published once
  more, which would make two of it. Its message goes back after the same time, and no answer counts for it any more.
- A refusal of a message that was acknowledged before its task had ended is for its caller alone.
- A message that was a dead letter again and again goes to a queue of its own kind, which ends its round.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from paceline_bridge import dead_letters, replies
from paceline_bridge.config import rounds_queue_of
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
    """A delivery for which something has to be published. ``publish(self)`` does it, once more if it was not taken.
    ``settle()`` acknowledges the delivery, unless that is done. ``what``: it, for a person. ``is_over``: nothing is
    owed any more, or the delivery went back."""

    delivery: Delivery
    settle: Callable[[], None]
    publish: Callable[[_Held], None]
    what: str
    since: float
    was_held: bool = False
    is_over: bool = False


class Answers:
    """Of one life."""

    def __init__(
        self,
        publisher: Publisher,
        dead_letter: str,
        counters: BridgeCounters,
        repeats: Repeats,
        fail: Callable[[str], None],
        patience: float = 1.0,
    ) -> None:
        """``patience``: as of the ledger."""
        self._held_limit_s = HELD_LIMIT_S * patience
        self._publisher = publisher
        self._dead_letter = dead_letter
        self._counters = counters
        self._repeats = repeats
        self._fail = fail
        self._limit_bytes = REPLY_LIMIT_BYTES  # less, once RabbitMQ has said so
        self._under_way: dict[int, _Held] = {}  # all that is not over, by identity, in order of ``since``
        self._held: deque[_Held] = deque()  # those of them that were not taken
        self._retry_at_s = 0.0
        self._probing = False

    # --- replies ---

    def started(self, reply: ReplyAddress) -> None:
        self._publisher.publish(reply.queue, replies.started(reply), _reply_properties(reply))

    def ended(
        self, delivery: Delivery, reply: ReplyAddress, outcome: tuple[int, bytes], settle: Callable[[], None]
    ) -> None:
        """The final reply. ``settle()`` is called once nothing more is owed."""
        self._begin(delivery, settle, partial(self._reply, reply, outcome), f"a reply for a caller at {reply.queue}")

    def _begin(
        self, delivery: Delivery, settle: Callable[[], None], publish: Callable[[_Held], None], what: str
    ) -> None:
        held = _Held(delivery, settle, publish, what, time.monotonic())
        self._under_way[id(held)] = held
        publish(held)

    def _settle(self, held: _Held) -> None:
        self._end(held)
        held.settle()

    def _end(self, held: _Held) -> None:
        held.is_over = True
        del self._under_way[id(held)]

    def _publish(
        self,
        held: _Held,
        queue: str,
        body: bytes,
        properties: dict[str, Any],
        then: Callable[[], None],
        if_refused: Callable[[NotTaken], None],
        *,
        mandatory: bool = False,
    ) -> None:
        """Publish what is owed for a delivery, whose answer counts unless that went back meanwhile."""

        def taken() -> None:
            if not held.is_over:
                then()

        def not_taken(refusal: NotTaken) -> None:
            if not held.is_over:
                if_refused(refusal)

        self._publisher.publish(queue, body, properties, taken, not_taken, mandatory=mandatory)

    def _reply(self, reply: ReplyAddress, outcome: tuple[int, bytes], held: _Held) -> None:
        body = self._body(reply, outcome, held.delivery.protocol)
        if len(body) > self._limit_bytes:
            self._too_large(reply, len(body), held)
            return

        def refused(refusal: NotTaken) -> None:
            if refusal.cause is Cause.CLOSED:
                if limit := re.search(r"max size (\d+)", refusal.detail):
                    self._limit_bytes = min(self._limit_bytes, int(limit[1]))
                self._too_large(reply, len(body), held, f"; RabbitMQ says: {refusal.detail}")
            else:
                self._undelivered(held, refusal)

        self._publish(held, reply.queue, body, _reply_properties(reply), partial(self._replied, held), refused)

    def _body(self, reply: ReplyAddress, outcome: tuple[int, bytes], protocol: str) -> bytes:
        try:
            return replies.ended(reply, *outcome, time.time())
        except Exception as error:
            text = "the reply for a task can't be written; please report this"
            if (line := self._repeats.line("writing", text, time.monotonic())) is not None:
                _logger.exception("%s", line)
            refused = Refused(protocol, "bridge", f"writing the reply failed: {type(error).__name__}", reply)
            return replies.refused(reply, refused, time.time())

    def _too_large(self, reply: ReplyAddress, size: int, held: _Held, why: str = "") -> None:
        """Tell the caller that its result can't be sent."""
        detail = f"the task has ended, and its reply takes {size} bytes{why}"
        refused = Refused(held.delivery.protocol, "too-large", detail, reply)
        self._publish(
            held,
            reply.queue,
            replies.refused(reply, refused, time.time()),
            _reply_properties(reply),
            partial(self._replied, held),
            partial(self._undelivered, held),
        )

    def _replied(self, held: _Held) -> None:
        self._counters.count("replied", held.delivery.protocol)
        if held.was_held:
            self._goes_on()
        self._settle(held)

    def _undelivered(self, held: _Held, refusal: NotTaken) -> None:
        """A reply was not taken. If no other would be, it waits; else it is its caller's queue."""
        if refusal.cause is Cause.FORBIDDEN:
            self._hold(held, refusal.detail)
            return
        if held.was_held:
            self._goes_on()
        self._drop(held, refusal.detail)

    def _drop(self, held: _Held, why: str) -> None:
        self._counters.count("undelivered", held.delivery.protocol)
        self._tell("reply", f"{held.what} is dropped: {why}")
        self._settle(held)

    # --- refusals ---

    def refuse(self, refused: Refused, delivery: Delivery, settle: Callable[[], None]) -> None:
        """Reply to the caller, or put the message into the dead letter queue. ``settle()`` is called once RabbitMQ has
        confirmed that."""
        queue = delivery.message.queue
        self._counters.count("refused", refused.protocol)
        text = f"refused a message of {queue} ({refused.reason}): {refused.detail}"
        if (line := self._repeats.line(f"{refused.reason} of {queue}", text, time.monotonic())) is not None:
            _logger.info("%s", line)
        publish = partial(self._bury, refused) if refused.reply is None else partial(self._decline, refused)
        self._begin(delivery, settle, publish, f"a refused message of {queue}")

    def _decline(self, refused: Refused, held: _Held) -> None:
        reply = refused.reply
        assert reply is not None

        def not_taken(refusal: NotTaken) -> None:
            if refusal.cause is Cause.FORBIDDEN:
                self._hold(held, refusal.detail)
            else:
                self._bury(refused, held)

        # Celery names a queue for replies whatever its backend is. If that queue does not exist, nobody waits.
        self._publish(
            held,
            reply.queue,
            replies.refused(reply, refused, time.time()),
            _reply_properties(reply),
            partial(self._replied, held),
            not_taken,
            mandatory=True,
        )

    def _bury(self, refused: Refused, held: _Held, *, bare: bool = False) -> None:
        """Put a message into the dead letter queue, ``bare``: without its headers. One that has been there again and
        again goes to another queue, from which nobody sends it back. Of one that was acknowledged before there is
        nothing to put there."""
        if held.is_over:
            return
        if held.delivery.acked:
            self._drop(held, "it was acknowledged before, and no caller takes the reply")
            return
        message = held.delivery.message
        properties = dead_letters.properties_of(message, refused, self._publisher.room_bytes(), bare=bare)
        goes_round = dead_letters.rounds_of(message) >= dead_letters.ROUNDS_LIMIT
        queue = rounds_queue_of(self._dead_letter) if goes_round else self._dead_letter
        if goes_round:
            self._tell(
                f"rounds of {message.queue}",
                f"{held.what} was a dead letter {dead_letters.ROUNDS_LIMIT} times and goes to {queue}: does a bridge "
                f"consume {self._dead_letter}, whose dead letters come to {message.queue}? Give one another "
                "--dead-letter",
            )

        def taken() -> None:
            self._counters.count("dead_lettered", refused.protocol)
            self._goes_on()
            self._settle(held)

        def not_taken(refusal: NotTaken) -> None:
            if refusal.cause is Cause.UNROUTABLE and goes_round:
                self._publisher.make(queue, partial(self._bury, refused, held, bare=bare), partial(self._hold, held))
            elif refusal.cause is Cause.UNROUTABLE:
                self._fail(f"the queue {queue} for what is refused is gone; the bridge makes it again")
            elif refusal.cause is Cause.CLOSED and not bare:
                self._bury(refused, held, bare=True)
            else:
                self._hold(held, f"the dead letter queue {queue} does not take it: {refusal.detail}")

        self._publish(held, queue, message.body, properties, taken, not_taken, mandatory=True)

    # --- what is held ---

    def _goes_on(self) -> None:
        """Something was taken that had not been, or that is as what had not been, or was refused for itself: so others
        will be."""
        self._probing = False
        self._retry_at_s = 0.0

    def _hold(self, held: _Held, why: str) -> None:
        if held.is_over:
            return
        self._held.append(held)
        self._probing = False
        self._retry_at_s = time.monotonic() + HELD_RETRY_S
        if not held.was_held:
            held.was_held = True
            self._tell("held", f"{held.what} waits at the bridge: {why}")

    @property
    def held(self) -> int:
        """How many messages wait until what they need can be published."""
        return len(self._held)

    def tick(self, now: float) -> list[tuple[Delivery, Callable[[], None]]]:
        """Try what is held again: one of them, the probe, and all once it was taken. Returns those that are to go back
        to their queues, with what settles them."""
        over = list(takewhile(lambda held: now >= held.since + self._held_limit_s, self._under_way.values()))
        if over:
            waiting = {id(held) for held in self._held}
            for held in over:
                self._give_up(held, is_refused=id(held) in waiting)
            self._held = deque(held for held in self._held if not held.is_over)
        if self._held and not self._probing and now >= self._retry_at_s:
            count = 1 if self._retry_at_s else len(self._held)
            self._probing = count == 1
            for _ in range(count):
                held = self._held.popleft()
                held.publish(held)
        return [(held.delivery, held.settle) for held in over if not held.delivery.acked]

    def _give_up(self, held: _Held, *, is_refused: bool) -> None:
        """``is_refused``: RabbitMQ has said why it does not take it, and that was told."""
        limit_s = self._held_limit_s
        if held.delivery.acked:
            self._drop(held, f"it could not be published for {limit_s:.0f} s")
            return
        if not is_refused:
            self._probing = False  # it may be that
            back = f"the message goes back to {held.delivery.message.queue}"
            self._tell("unconfirmed", f"RabbitMQ has not confirmed {held.what} for {limit_s:.0f} s; {back}")
        self._end(held)

    def _tell(self, key: str, text: str) -> None:
        """Log it, but not once for each message."""
        line = self._repeats.line(key, text, time.monotonic())
        if line is not None:
            _logger.warning("%s", line)


def _reply_properties(reply: ReplyAddress) -> dict[str, Any]:
    return {
        "correlation_id": reply.correlation_id,
        "content_type": "application/x-msgpack" if reply.is_msgpack else "application/json",
        "content_encoding": "binary" if reply.is_msgpack else "utf-8",
        "delivery_mode": 1,
    }
