"""One life of the bridge: a client of the cluster, a link to RabbitMQ, and what is under way between them.

All of it happens in one thread, that of Link.run(). ``deliveries.py`` decides what is owed for each message and when it
is acknowledged; this module does it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from paceline.client.relay import ACCEPTED, REFUSED, Relay
from paceline.errors import (
    ClientClosed,
    IncompatibleVersion,
    NoLeader,
    NoNodeFound,
    QueueFull,
    ResultUnknown,
    UnknownTask,
)
from paceline_bridge import replies
from paceline_bridge.config import BridgeConfig
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.deliveries import Ledger
from paceline_bridge.mapping import interpret
from paceline_bridge.message import Message, Refused, TaskCall
from paceline_bridge.owed import Delivery, OwedTask, Tag
from paceline_bridge.rabbitmq import Link
from paceline_bridge.troubles import Failures
from paceline_bridge.watch import Watch
from paceline_bridge.window import Window
from paceline_protocol.errors import PayloadError, PayloadTooLarge, ProtocolError
from paceline_protocol.messages import TaskEnd
from paceline_protocol.moments import datetime_of

TICK_S = 0.1
STOP_LIMIT_S = 5.0
FULL_PAUSE_S = 0.5
ASK_INTERVAL_S = 30.0
REPLY_LIMIT_BYTES = 15 << 20  # RabbitMQ 4 closes the channel on a message of more than 16 MiB
DETAIL_LIMIT_CHARS = 1000

CLUSTER_GONE = (NoLeader, NoNodeFound, ClientClosed, IncompatibleVersion)
"""What a client of the cluster raises when it can't reach the cluster."""
MakeRelay = Callable[[Callable[[], object]], Relay]
"""A client of the cluster, given what to call when it has news."""
_logger = logging.getLogger("paceline.bridge")


class Life:
    """A relay and a link, and what is under way between them."""

    def __init__(
        self,
        config: BridgeConfig,
        url: str,
        make_relay: MakeRelay,
        counters: BridgeCounters,
        watch: Watch,
        failures: Failures,
    ) -> None:
        self._config = config
        self._watch = watch
        self._counters = counters
        self._ledger = Ledger(retained_limit=config.prefetch // 2)
        self._window = Window()
        self._link = Link(url, _queues(config), config.dead_letter, config.prefetch, config.declare, self)
        self._relay = make_relay(self._link.wake)
        self._ended: list[bytes] = []  # tasks to release once RabbitMQ has the acknowledgements of their deliveries
        self._releasing = False
        self._ask_at_s = time.monotonic() + ASK_INTERVAL_S
        self._not_before_s = 0.0  # nothing is submitted until then, since the cluster is full
        self._is_full = False
        self._failures = failures
        self._stop_by_s: float | None = None
        self._is_seeking = True
        self.was_ready = False
        self._ready_at_s = 0.0

    def run(self) -> None:
        """Run until :meth:`stop`. Raises LinkLost, or one of CLUSTER_GONE."""
        try:
            try:
                self._relay.connect()
                self._is_seeking = False
            except BaseException:
                self._link.discard()
                raise
            self._link.run()
        finally:
            self._relay.close()

    def carry(self, owed: list[OwedTask]) -> None:
        """Before run(): take over the replies that the last life owed."""
        self._ledger.carry(owed)

    def owed(self) -> list[OwedTask]:
        """After run(): the tasks whose replies are owed though their deliveries are acknowledged."""
        return self._ledger.owed()

    def ready_for_s(self) -> float:
        """How long RabbitMQ and the cluster were both there."""
        return time.monotonic() - self._ready_at_s if self.was_ready else 0.0

    def stop(self) -> None:
        if self._is_seeking:
            self._relay.close()  # the life has not begun, and would search for the cluster for as long as it takes
        self._link.call(self._begin_stop)

    def _begin_stop(self) -> None:
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + STOP_LIMIT_S
            if not self.was_ready:
                self._link.close()
                return
            self._counters.state = "stopping"
            self._link.stop_consuming()

    # --- from RabbitMQ -------------------------------------------------------------------------------------------

    def on_ready(self) -> None:
        self.was_ready = True
        self._ready_at_s = self._counters.turned_at = time.monotonic()
        self._counters.connected = True
        self._counters.state = "running"
        _logger.info("connected to RabbitMQ and to the cluster")
        self._tick()

    def on_blocked(self, blocked: bool) -> None:
        self._counters.blocked = blocked
        if blocked:
            _logger.warning("RabbitMQ takes no messages (short of memory or disk?); replies wait")
        else:
            _logger.warning("RabbitMQ takes messages again")

    def on_message(self, tag: Tag, message: Message) -> None:
        config, wall_s = self._config, time.time()
        found: TaskCall | Refused
        try:
            found = interpret(message, config.queues.get(message.queue, ""), config.tasks, wall_s, _fresh_id)
        except Exception as error:
            _logger.error("a message of %s can't be read", message.queue, exc_info=True)
            found = Refused("plain", "bad-body", f"reading it failed: {type(error).__name__}")
        if isinstance(found, TaskCall) and found.is_late and not self._may_be_known(found, message):
            found = Refused(found.protocol, "expired", _expired_at(found.options["expires"]), found.reply)
        delivery = Delivery(tag, message, found.reply, found.protocol)
        self._ledger.delivered()
        if isinstance(found, Refused):
            self._refuse(found, delivery, partial(self._ack, delivery))
        else:
            now = time.monotonic()
            if self._ledger.add(found, delivery, now, now + found.options.get("not_before", 0.0) / 1e3 - wall_s):
                self._settle(found.task_id, delivery)
            else:
                self._submit_waiting()

    def _may_be_known(self, call: TaskCall, message: Message) -> bool:
        """Whether the cluster may have the task of a message that is late, from an earlier delivery. The message is
        submitted then: a task that the cluster has is told how it ends, and a new one ends as EXPIRED, without having
        started."""
        return message.redelivered or call.task_id in self._ledger.entries

    def _submit_waiting(self) -> None:
        if self._stop_by_s is not None or (self._not_before_s and time.monotonic() < self._not_before_s):
            return
        while self._relay.has_room and (call := self._ledger.take(self._window.size)) is not None:
            self._submit(call)

    def _submit(self, call: TaskCall) -> None:
        try:
            self._relay.submit(call.task_id, call.name, call.priority, call.args, call.kwargs, call.options)
        except PayloadTooLarge as error:
            self._refuse_call(call, "too-large", str(error))
        except (PayloadError, ProtocolError, ValueError, TypeError, AttributeError) as error:
            # The last three: a value whose type can be packed, and which is not what its type says.
            self._refuse_call(call, "arguments", str(error) or type(error).__name__)
        except ClientClosed as error:
            self._link.fail(str(error))
        else:
            self._counters.count("submitted", call.protocol)

    # --- from the cluster ----------------------------------------------------------------------------------------

    def on_wake(self) -> None:
        now = time.monotonic()
        for task_id, state, payload in self._relay.take():
            if state == ACCEPTED:
                self._is_full = False
                for delivery in self._ledger.accept(task_id, now):
                    self._settle(task_id, delivery)
            elif state == REFUSED:
                assert isinstance(payload, Exception)
                self._refused_by_cluster(task_id, payload)
            else:
                assert isinstance(payload, bytes)
                self._tell_failure(task_id, state, payload)
                deliveries = self._ledger.end(task_id, self._outcome(task_id, state, payload))
                self._ended.append(task_id)
                for delivery in deliveries:
                    self._settle(task_id, delivery)
        for delivery in self._ledger.take_surplus():
            self._ack(delivery)
        self._submit_waiting()

    def _outcome(self, task_id: bytes, state: int, payload: bytes) -> tuple[int, bytes] | Refused:
        """How a task ended. One that expired at the cluster is refused as one that is late when it is delivered: what
        is not acknowledged yet is a reply that says so, or a dead letter."""
        entry = self._ledger.entries.get(task_id)
        if state != TaskEnd.EXPIRED or entry is None:
            return state, payload
        return Refused(entry.call.protocol, "expired", replies.summary(state, payload))

    def _tell_failure(self, task_id: bytes, state: int, payload: bytes) -> None:
        """Log the failure of a task, unless a caller waits for its reply."""
        entry = self._ledger.entries.get(task_id)
        if state == TaskEnd.SUCCEEDED or entry is None or entry.outcome is not None or entry.call.reply is not None:
            return
        text = self._failures.note(entry.call.name, replies.summary(state, payload), time.monotonic())
        if text is not None:
            _logger.warning("%s", text)

    def _refused_by_cluster(self, task_id: bytes, error: Exception) -> None:
        entry = self._ledger.entries.get(task_id)
        if isinstance(error, CLUSTER_GONE):
            self._link.fail(str(error))
        elif entry is None:
            return
        elif isinstance(error, QueueFull):
            if not self._is_full:
                self._is_full = True
                _logger.warning("the cluster is full, so messages wait at RabbitMQ: %s", error)
            self._not_before_s = time.monotonic() + FULL_PAUSE_S
            self._ledger.put_back(task_id)
        elif isinstance(error, ResultUnknown):
            # The task ended in an earlier life, whose acknowledgement RabbitMQ did not receive. Only a reply is owed.
            for delivery in list(entry.deliveries):
                if delivery.reply is None:
                    self._settled(task_id, delivery)
            self._refuse_call(entry.call, "cluster", str(error))
        else:
            reason = "unknown-task" if isinstance(error, UnknownTask) else "cluster"
            reason = "too-large" if isinstance(error, PayloadTooLarge) else reason
            self._refuse_call(entry.call, reason, str(error))

    # --- settling ------------------------------------------------------------------------------------------------

    def _settle(self, task_id: bytes, delivery: Delivery) -> None:
        """Settle a delivery whose task is accepted or has ended: send its reply or put it into the dead letter queue if
        that is owed, and acknowledge it."""
        settled = partial(self._settled, task_id, delivery)
        outcome = self._ledger.entries[task_id].outcome
        if isinstance(outcome, Refused):
            self._refuse(replace(outcome, protocol=delivery.protocol, reply=delivery.reply), delivery, settled)
            return
        if delivery.reply is None:
            settled()
            return
        assert outcome is not None
        reply = delivery.reply

        def confirmed() -> None:
            self._counters.count("replied", delivery.protocol)
            settled()

        body = replies.ended(reply, *outcome, time.time())
        if len(body) > REPLY_LIMIT_BYTES:
            too_large = Refused(delivery.protocol, "too-large", f"as JSON the result takes {len(body)} bytes", reply)
            body = replies.refused(reply, too_large, time.time())
        self._link.publisher.publish(reply.queue, body, _reply_properties(reply.correlation_id), confirmed)

    def _settled(self, task_id: bytes, delivery: Delivery) -> None:
        self._ack(delivery)
        self._ledger.settle(task_id, delivery)

    def _refuse_call(self, call: TaskCall, reason: str, detail: str) -> None:
        """The cluster refuses a call. The refusal is kept as an outcome is, until every delivery is settled."""
        for delivery in self._ledger.end(call.task_id, Refused(call.protocol, reason, detail, task=call.name)):
            self._settle(call.task_id, delivery)

    def _refuse(self, refused: Refused, delivery: Delivery, then: Callable[[], None]) -> None:
        """Reply to the caller, or put the message into the dead letter queue. ``then()`` is called once RabbitMQ has
        confirmed that."""
        self._counters.count("refused", refused.protocol)
        _logger.info("refused a message of %s (%s): %s", delivery.message.queue, refused.reason, refused.detail)

        def confirmed() -> None:
            self._counters.count("replied" if refused.reply else "dead_lettered", refused.protocol)
            then()

        def to_dead_letters() -> None:
            message = delivery.message
            self._link.publisher.publish(
                self._config.dead_letter, message.body, _dead_properties(message, refused), confirmed
            )

        if refused.reply is not None:
            # Celery names a queue for replies whatever its backend is. If that queue does not exist, nobody waits.
            body = replies.refused(refused.reply, refused, time.time())
            properties = _reply_properties(refused.reply.correlation_id)
            self._link.publisher.publish(refused.reply.queue, body, properties, confirmed, to_dead_letters)
        else:
            to_dead_letters()

    def _ack(self, delivery: Delivery) -> None:
        if not delivery.acked:
            self._link.ack(delivery.tag)
            self._counters.count("acked", delivery.protocol)
            self._ledger.acked(delivery)

    # --- periodically --------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        if self._not_before_s and now >= self._not_before_s:
            self._not_before_s = 0.0
        self._ledger.come_due(now)
        self._window.adjust(now, self._ledger.outstanding, self._watch.status)
        self._submit_waiting()
        for reply in self._ledger.due_started(now):
            self._link.publisher.publish(
                reply.queue, replies.started(reply), _reply_properties(reply.correlation_id), None
            )
        for delivery in [*self._ledger.long_running(now), *self._ledger.take_surplus()]:
            self._ack(delivery)
        for delivery in self._ledger.give_back(now):
            self._link.give_back(delivery.tag)
        if now >= self._ask_at_s:
            self._ask_at_s = now + ASK_INTERVAL_S
            self._relay.ask_again(self._ledger.accepted_before(now - ASK_INTERVAL_S))
        self._release()
        counters, ledger = self._counters, self._ledger
        counters.turned_at = now
        counters.unacked, counters.outstanding, counters.window = ledger.unacked, ledger.outstanding, self._window.size
        counters.delayed = ledger.delayed
        if self._stop_by_s is not None and (now >= self._stop_by_s or self._is_idle()):
            _logger.info("stopping; %d deliveries go back to RabbitMQ", counters.unacked)
            self._link.close()
            return
        self._link.call_later(TICK_S, self._tick)

    def _release(self) -> None:
        """Release the results of the tasks whose acknowledgements RabbitMQ has received."""
        ready = [task_id for task_id in self._ended if task_id not in self._ledger.entries]
        if not ready or self._releasing:
            return
        self._releasing = True
        self._ended = [task_id for task_id in self._ended if task_id in self._ledger.entries]

        def taken() -> None:
            self._releasing = False
            self._relay.release(ready)

        self._link.after_acks(taken)

    def _is_idle(self) -> bool:
        return not (self._ledger.unaccepted or self._link.publisher.unconfirmed)


def _queues(config: BridgeConfig) -> dict[str, bool]:
    """The queues to consume, and whether each may be missing: dramatiq puts delayed messages and retries of queue Q
    into Q.DQ, which exists only if Q is dramatiq's."""
    queues = dict.fromkeys(config.queues, False)
    for name in config.queues:
        if not name.endswith(".DQ") and f"{name}.DQ" not in queues:
            queues[f"{name}.DQ"] = True
    return queues


def _expired_at(expires_ms: int) -> str:
    return f"it expired at {datetime_of(expires_ms).isoformat(sep=' ', timespec='milliseconds')}"


def _fresh_id() -> bytes:
    return os.urandom(16)


def _reply_properties(correlation_id: str) -> dict[str, Any]:
    return {
        "correlation_id": correlation_id,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 1,
    }


def _dead_properties(message: Message, refused: Refused) -> dict[str, Any]:
    """The properties of a dead letter: those of the message, with the reason added. Persistent, without expiration."""
    marks = {
        "x-paceline-reason": refused.reason,
        "x-paceline-detail": refused.detail[:DETAIL_LIMIT_CHARS],
        "x-paceline-queue": message.queue,
    }
    return {
        "headers": {**message.headers, **marks},
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "message_id": message.message_id,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "priority": message.priority,
        "delivery_mode": 2,
    }
