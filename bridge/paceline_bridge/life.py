"""One life of the bridge: a client of the cluster, a link to RabbitMQ, and what is under way between them.

All of it happens in one thread, that of Link.run(). ``deliveries.py`` decides what is owed for each message and when it
is acknowledged; this module does it.

The file is long, as it has each event of RabbitMQ, of the cluster and of the clock: what they change is under way in
one life, and their order is what nothing is lost by. Whatever can be decided without a link or a relay is elsewhere.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from paceline.client.relay import ACCEPTED, POSTPONED, Relay
from paceline.errors import (
    FeatureLevelTooLow,
    PacelineError,
    QueueFull,
    RequestRefused,
    ResultUnknown,
    UnknownTask,
)
from paceline_bridge import replies
from paceline_bridge.answers import Answers
from paceline_bridge.config import BridgeConfig, queues_of
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.deliveries import CALLERS_LIMIT, Ledger
from paceline_bridge.intake import OVERHEAD_BYTES
from paceline_bridge.mapping import interpret
from paceline_bridge.message import Message, Refused, TaskCall
from paceline_bridge.owed import Delivery, OwedTask, Tag
from paceline_bridge.rabbitmq import Link
from paceline_bridge.texts import said
from paceline_bridge.troubles import Troubles
from paceline_bridge.watch import Watch
from paceline_bridge.window import Window
from paceline_protocol.errors import LimitExceeded, LocalProtocolError, PayloadError, PayloadTooLarge
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.moments import datetime_of, shown

TICK_S = 0.1
STOP_LIMIT_S = 5.0
FULL_PAUSE_S = 0.5
ASK_INTERVAL_S = 30.0
CROWDED_INTERVAL_S = 1.0
"""While others wait for a place in the window, the cluster is asked so often which of the tasks there wait to be tried
again, and after so long at the earliest."""

OF_ONE_TASK = (
    UnknownTask,
    QueueFull,
    ResultUnknown,
    FeatureLevelTooLow,
    RequestRefused,
    PayloadError,
    LocalProtocolError,
    LimitExceeded,
)
"""What a client of the cluster says of one task. Whatever else it says is of no message the fault: the cluster is gone
or lets nobody in, or this process is short of something. That ends the life, and RabbitMQ delivers all again."""
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
        troubles: Troubles,
    ) -> None:
        self._config = config
        self._watch = watch
        self._counters = counters
        queues, prefetch_bytes = queues_of(config), config.prefetch_mib << 20
        # Half of what is a queue's own when all of them are consumed.
        retained_bytes = prefetch_bytes // len(queues) // 2
        self._ledger = Ledger(config.prefetch // 2, troubles.patience, retained_bytes=retained_bytes)
        self._window = Window()
        self._link = Link(
            url,
            queues,
            config.dead_letter,
            config.prefetch,
            prefetch_bytes,
            config.declare,
            self,
            troubles.auto_delete,
        )
        self._answers = Answers(
            self._link.publisher, config.dead_letter, counters, troubles.repeats, self._link.fail, troubles.patience
        )
        try:
            self._relay = make_relay(self._link.wake)
        except BaseException:
            self._link.discard()
            raise
        self._ended: list[bytes] = []  # tasks to release once RabbitMQ has the acknowledgements of their deliveries
        self._releasing = False
        self._ask_at_s = time.monotonic() + ASK_INTERVAL_S
        self._ask_crowd_at_s = 0.0
        self._not_before_s = 0.0  # nothing is submitted until then, since the cluster is full
        self._troubles = troubles
        self._stop_by_s: float | None = None
        self._is_seeking = True
        self.was_ready = False
        self._ready_at_s = 0.0

    def run(self) -> None:
        """Run until :meth:`stop`. Raises LinkLost, or what the client raises of the cluster or of this process."""
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
            self._troubles.note_timeout(self._link.consumers.consumer_timeout_s)

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
            self._link.consumers.stop()

    # --- from RabbitMQ -------------------------------------------------------------------------------------------

    def on_ready(self) -> None:
        self.was_ready = True
        self._ready_at_s = self._counters.turned_at = self._counters.cluster_heard_at = time.monotonic()
        self._counters.connected = True
        self._counters.state = "running"
        _logger.info("connected to RabbitMQ and to the cluster")
        if self._ledger.entries:  # as yet those that were carried
            self._relay.wait_for(list(self._ledger.entries))
        self._tick()

    def on_blocked(self, blocked: bool) -> None:
        self._counters.blocked = blocked
        if blocked:
            _logger.warning("RabbitMQ takes no messages (short of memory or disk?); replies wait")
        else:
            _logger.warning("RabbitMQ takes messages again")

    def on_message(self, tag: Tag, message: Message) -> None:
        try:
            self._take(tag, message)
        except Exception as error:  # noqa: BLE001 - it is logged
            # A defect of the bridge. It must not end the link, since RabbitMQ would deliver the same message again.
            self._has_failed(f"the bridge failed at a message of {message.queue}")
            refused = Refused("plain", "bridge", f"taking it failed: {type(error).__name__}: {said(error)}")
            delivery = Delivery(tag, message, None, "plain")
            self._answers.refuse(refused, delivery, partial(self._ack, delivery))

    def _take(self, tag: Tag, message: Message) -> None:
        config, wall_s = self._config, time.time()
        self._ledger.delivered()
        found: TaskCall | Refused
        try:
            found = interpret(message, config.queues.get(message.queue, ""), config.tasks, wall_s, _fresh_id)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._has_failed(f"the bridge failed to read a message of {message.queue}")
            found = Refused("plain", "bad-body", f"reading it failed: {type(error).__name__}")
        if isinstance(found, TaskCall) and found.is_late and not self._may_be_known(found, message):
            found = Refused(found.protocol, "expired", _expired_at(found.options["expires"]), found.reply)
        if isinstance(found, TaskCall):
            found = self._pack(found)
        if isinstance(found, TaskCall) and self._ledger.is_crowded(found):
            detail = f"{CALLERS_LIMIT} callers wait for its task already; give it an id of its own"
            found = Refused(found.protocol, "callers", detail, found.reply)
        delivery = Delivery(tag, message, found.reply, found.protocol)
        if isinstance(found, Refused):
            self._answers.refuse(found, delivery, partial(self._ack, delivery))
        else:
            if len(found.packed) > OVERHEAD_BYTES:
                self._link.consumers.heavier(tag, len(found.packed))
            delivery.weight_bytes = self._link.consumers.weight_of(tag)
            now = time.monotonic()
            # A plain message without an id is a task of its own.
            if (found.protocol != "plain" or message.message_id) and self._troubles.seen.note(found.task_id):
                self._is_known(delivery)
            if self._ledger.add(found, delivery, now, now + found.options.get("not_before", 0.0) / 1e3 - wall_s):
                self._settle(found.task_id, delivery)
            else:
                self._submit_waiting()

    def _has_failed(self, what: str) -> None:
        """A defect, of which the exception that is handled is the trace."""
        line = self._troubles.repeats.line(what, f"{what}; please report this", time.monotonic())
        if line is not None:
            _logger.exception("%s", line)

    def _pack(self, call: TaskCall) -> TaskCall | Refused:
        """The same call with its arguments as they travel. As objects they take many times as much, and they may wait
        here for long."""
        try:
            call.packed = self._relay.pack(call.args, call.kwargs)
        except PayloadTooLarge as error:
            return Refused(call.protocol, "too-large", str(error), call.reply)
        except Exception as error:  # noqa: BLE001 - of any kind: a value may be something else than its type says
            return Refused(call.protocol, "arguments", said(error), call.reply)
        call.args, call.kwargs = (), {}
        return call

    def _is_known(self, delivery: Delivery) -> None:
        """There was a message with the same id before. Unless it is the same one, which RabbitMQ delivers again, its
        producer may mean another task by it, which does not run."""
        message = delivery.message
        if message.redelivered or delivery.is_duplicate:
            return
        delivery.is_duplicate = True
        self._counters.count("duplicate", delivery.protocol)
        text = self._troubles.duplicate(message, time.monotonic())
        if text is not None:
            _logger.warning("%s", text)

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
            self._relay.submit_packed(call.task_id, call.name, call.priority, call.packed, call.options)
        except OF_ONE_TASK as error:
            self._refuse_call(call, "arguments", said(error))
        except Exception as error:  # noqa: BLE001 - it ends the life, with its text
            self._link.fail(_of_the_client(error))
        else:
            self._counters.count("submitted", call.protocol)

    # --- from the cluster ----------------------------------------------------------------------------------------

    def on_wake(self) -> None:
        for task_id, state, payload in self._relay.take():
            try:
                self._heard(task_id, state, payload)
            except Exception:  # noqa: BLE001 - it is logged
                # A defect of the bridge. The news of the other tasks would be lost with it.
                self._has_failed("the bridge failed at the news of a task")
        for delivery in self._ledger.take_surplus():
            self._ack(delivery)
        self._submit_waiting()

    def _heard(self, task_id: bytes, state: int, payload: object) -> None:
        if state == ACCEPTED:
            for delivery in self._ledger.accept(task_id, time.monotonic()):
                self._settle(task_id, delivery)
        elif state == POSTPONED and isinstance(payload, int):
            now = time.monotonic()
            self._ledger.postpone(task_id, now + payload / 1e3, now)
        elif isinstance(payload, Exception):
            self._refused_by_cluster(task_id, payload)
        elif isinstance(payload, bytes):
            self._tell_failure(task_id, state, payload)
            deliveries = self._ledger.end(task_id, self._outcome(task_id, state, payload))
            self._ended.append(task_id)
            for delivery in deliveries:
                self._settle(task_id, delivery)

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
        text = self._troubles.failures.note(entry.call.name, replies.summary(state, payload), time.monotonic())
        if text is not None:
            _logger.warning("%s", text)

    def _refused_by_cluster(self, task_id: bytes, error: Exception) -> None:
        entry = self._ledger.entries.get(task_id)
        if not isinstance(error, OF_ONE_TASK):
            self._link.fail(_of_the_client(error))
        elif entry is None:
            return
        elif isinstance(error, QueueFull):
            text = f"the cluster is full, so messages wait at RabbitMQ: {error}"
            if (line := self._troubles.repeats.line("full", text, time.monotonic())) is not None:
                _logger.warning("%s", line)
            self._not_before_s = time.monotonic() + FULL_PAUSE_S
            self._ledger.put_back(task_id)
        elif isinstance(error, ResultUnknown):
            # The task ended in an earlier life, whose acknowledgement RabbitMQ did not receive. Only a reply is owed.
            for delivery in list(entry.deliveries):
                if not delivery.acked:
                    self._is_known(delivery)
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
            refused = replace(outcome, protocol=delivery.protocol, reply=delivery.reply)
            self._answers.refuse(refused, delivery, settled)
        elif delivery.reply is None or outcome is None:
            settled()
        else:
            self._answers.ended(delivery, delivery.reply, outcome, settled)

    def _settled(self, task_id: bytes, delivery: Delivery) -> None:
        self._ack(delivery)
        self._ledger.settle(task_id, delivery)

    def _refuse_call(self, call: TaskCall, reason: str, detail: str) -> None:
        """The cluster refuses a call. The refusal is kept as an outcome is, until every delivery is settled."""
        self._troubles.seen.forget(call.task_id)
        for delivery in self._ledger.end(call.task_id, Refused(call.protocol, reason, detail, task=call.name)):
            self._settle(call.task_id, delivery)

    def _ack(self, delivery: Delivery) -> None:
        if not delivery.acked:
            self._link.consumers.ack(delivery.tag)
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
            self._answers.started(reply)
        for delivery in [*self._ledger.long_running(now), *self._ledger.take_surplus()]:
            self._ack(delivery)
        for delivery in self._ledger.give_back(now):
            self._link.consumers.give_back(delivery.tag)
        for delivery, settle in self._answers.tick(now):
            self._link.consumers.give_back(delivery.tag)
            self._ledger.acked(delivery)
            settle()
        self._ask(now)
        self._release()
        counters, ledger = self._counters, self._ledger
        counters.turned_at = now
        counters.unacked, counters.outstanding, counters.window = ledger.unacked, ledger.outstanding, self._window.size
        counters.delayed, counters.held = ledger.delayed, self._answers.held
        counters.unacked_bytes = self._link.consumers.held_bytes
        if self._stop_by_s is not None and (now >= self._stop_by_s or self._is_idle()):
            _logger.info("stopping; %d deliveries go back to RabbitMQ", counters.unacked)
            self._link.close()
            return
        self._link.call_later(TICK_S, self._tick)

    def _ask(self, now: float) -> None:
        """Ask for the tasks that have not ended for long: now and then for all, and more often for those whose places
        others wait for."""
        ledger = self._ledger
        if now >= self._ask_at_s:
            self._ask_at_s = now + ASK_INTERVAL_S
            self._relay.ask_again(ledger.accepted_before(now - ASK_INTERVAL_S))
        elif now >= self._ask_crowd_at_s and ledger.waiting and ledger.outstanding >= self._window.size:
            self._ask_crowd_at_s = now + CROWDED_INTERVAL_S
            self._relay.ask_again(ledger.accepted_before(now - CROWDED_INTERVAL_S, in_window=True))

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

        self._link.consumers.after_acks(taken)

    def _is_idle(self) -> bool:
        return not (self._ledger.unaccepted or self._link.publisher.unconfirmed)


def _of_the_client(error: Exception) -> str:
    """What ended the client, for a log. Its own errors are sentences."""
    text = said(error)
    return text if isinstance(error, PacelineError) else f"the client failed: {type(error).__name__}: {text}"


def _expired_at(expires_ms: int) -> str:
    return f"it expired at {shown(datetime_of(expires_ms))}"


def _fresh_id() -> bytes:
    return os.urandom(16)
