"""One attachment to a leader, from its Welcome until it is lost. Made anew for each, as a leader is for each term.

In an epoch Submits and Updates are numbered from 1. First the client names the accepted tasks that it
waits for, submits again, under the same ids, the calls that are not accepted, and repeats its requests. The epoch ends
when the leader says that it does not lead any more, or is silent for too long, when an Update is missing, or when the
connection breaks. The session then searches for the next leader.

Pure: the caller passes the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from paceline.client.session.ledger import CallLedger
from paceline.client.session.output import Output
from paceline.client.session.receipts import Receipts
from paceline.client.session.refusals import Unready, refusal_error
from paceline.client.session.requests import RULES, Reply, Request, Requests
from paceline.client.session.silence import Silence
from paceline.client.session.submits import Submits
from paceline.errors import FeatureLevelTooLow, NotAllowed, RequestRefused
from paceline_protocol import codec
from paceline_protocol.limits import ANNOUNCED_BYTES, MAX_REQUEST_TASKS
from paceline_protocol.messages import Message
from paceline_protocol.messages.client import (
    CancelReply,
    CancelState,
    Coming,
    Failure,
    Ping,
    Pong,
    Postponed,
    Read,
    Redirect,
    Refusal,
    Wait,
    Welcome,
)
from paceline_protocol.messages.records import Call, Result
from paceline_protocol.messages.trace import Trace


class Epoch:
    """The conversation of a client with the leader at ``address``. ``proved``: that leader has done more than welcome
    the client."""

    def __init__(
        self,
        address: str,
        now: float,
        *,
        link_bytes_per_s: float,
        ledger: CallLedger,
        requests: Requests,
        output: Output,
        unready: Unready,
        payload_limit_bytes: int,
        relays: bool,
    ) -> None:
        self.address = address
        self.proved = False
        self.silence = Silence(now, link_bytes_per_s)
        self.receipts = Receipts()
        self._ledger = ledger
        self._requests = requests
        self._output = output
        self._unready = unready
        self._payload_limit_bytes = payload_limit_bytes
        self._relays = relays
        self._submits = Submits(ledger, output, self.receipts, self._put)
        self._retry_at_s = math.inf  # after a pause that the leader asked for; nothing is submitted before
        self._wait_again: list[bytes] = []  # accepted tasks of which the leader was not ready to tell

    # --- what is due ---------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Send the leader what is outstanding. What takes long on a slow link goes behind a Ping, so that the leader
        proves itself before that."""
        if self._ledger.unaccepted_bytes >= ANNOUNCED_BYTES:
            self._ping(now)
        self._send_waits(self._ledger.accepted_ids(), now)
        self.read(self._ledger.read_ids(), now)
        self.send_queued(now)
        for request in (*self._requests.to_send(of_any_node=False), *self._requests.second_answered()):
            self._send_request(request, now)

    def tick(self, now: float, expects_answer: bool) -> bool:
        """Do what is due. False: the leader has been silent for too long, and the epoch is over."""
        if expects_answer and now >= self.silence.limit_s:
            return False
        if now >= self._say_something_at_s(expects_answer):
            self._ping(now)
        if now >= self._retry_at_s:
            self._retry(now)
        if now >= self._submits.repair_at_s:
            if self.silence.limit_s == math.inf:
                self._submits.repair(now)
            else:  # a Ping behind it is not answered either
                self._submits.postpone_repair(now)
        return True

    def next_deadline(self, expects_answer: bool) -> float:
        """When :meth:`tick` has something to do."""
        silence_s = self.silence.limit_s if expects_answer else math.inf
        # By twos: compiled, that is a comparison.
        own_s = min(self._say_something_at_s(expects_answer), self._retry_at_s)
        answers_s = min(silence_s, self._submits.repair_at_s)
        return min(answers_s, own_s)

    def _say_something_at_s(self, expects_answer: bool) -> float:
        ack_due_s = self.receipts.ack_due_s
        return min(ack_due_s, self.silence.ping_due_s) if expects_answer else ack_due_s

    def _retry(self, now: float) -> None:
        self._retry_at_s = math.inf
        error = self._unready.give_up(now)
        if error is None:
            self._send_waits(list(self._wait_again), now)
            self.send_queued(now)
        else:
            failed = self._output.failed
            failed.extend([(task_id, error) for task_id in self._ledger.unaccepted_ids()])
            failed.extend([(task_id, error) for task_id in self._wait_again if task_id in self._ledger])
            self._ledger.clear(keep_accepted=True)
            for task_id in self._wait_again:
                self._ledger.end(task_id)

    # --- sending -------------------------------------------------------------------------------------------------

    def submit(self, call: Call, now: float) -> None:
        """Send a call, or queue it behind those that are under way."""
        ledger, submits = self._ledger, self._submits
        if not ledger.queue and self._retry_at_s == math.inf and submits.has_window(now):
            submits.send_one(call, now)
            return
        ledger.add(call)
        if ledger.batch_is_full or submits.has_window(now):
            self.send_queued(now)

    def send_together(self, now: float) -> None:
        """Send what is queued, if it fills a Submit or the window has room; else with the next Update."""
        if self._ledger.batch_is_full or self._submits.has_window(now):
            self.send_queued(now)

    def send_queued(self, now: float, *, prompt: bool = False) -> None:
        """Send all that is queued, unless the leader has just said that it is not ready."""
        if self._retry_at_s == math.inf:
            self._submits.send_queued(now, prompt=prompt)

    def wait_for(self, ids: Iterable[bytes], now: float) -> None:
        """Have the leader report the ends of these tasks to this session."""
        self._send_waits([*ids, *self._wait_again], now)

    def read(self, ids: Sequence[bytes], now: float) -> None:
        """Have the leader tell how these tasks ended or end, which may be anybody's."""
        for start in range(0, len(ids), MAX_REQUEST_TASKS):
            frame = codec.encode(Read(self.receipts.ack, tuple(ids[start : start + MAX_REQUEST_TASKS])))
            self.receipts.acknowledged()
            self._put(frame, now)

    def ask(self, request: Request, now: float) -> None:
        """Send a new request."""
        if RULES[type(request)].behind_calls:
            self.send_queued(now)
        self._send_request(request, now)

    def _send_request(self, request: Request, now: float) -> None:
        self._put(codec.encode(request), now)

    def _send_waits(self, ids: list[bytes], now: float) -> None:
        self._wait_again.clear()
        for start in range(0, len(ids), MAX_REQUEST_TASKS):
            frame = codec.encode(Wait(self.receipts.ack, tuple(ids[start : start + MAX_REQUEST_TASKS])))
            self.receipts.acknowledged()
            self._put(frame, now)

    def _put(self, frame: bytes, now: float) -> None:
        """Send any frame but a Ping, which may have to follow it."""
        self._output.outbox.append((self.address, frame))
        if self.silence.sent(len(frame)):
            self._ping(now)

    def _ping(self, now: float) -> None:
        frame = codec.encode(Ping(self.receipts.ack))
        self._output.outbox.append((self.address, frame))
        self.receipts.acknowledged()
        self.silence.pinged(len(frame), now)

    # --- receiving -----------------------------------------------------------------------------------------------

    def on_update(
        self,
        now: float,
        update_seq: int,
        accepted: Sequence[int],
        refused: Sequence[tuple[bytes, int, str]],
        results: Sequence[Result],
    ) -> bool:
        """An Update, by its fields. Idempotent. False: an Update before it is missing, and the epoch is over; only a
        new epoch, which begins with a Wait, brings back what that Update said.

        Each end goes into the output before the ledger forgets the task, so that an interrupt loses nothing."""
        self.proved = True
        ledger, output = self._ledger, self._output
        tasks, sent = ledger.tasks, ledger.sent
        for result in results:
            if result[0] in tasks:
                output.results.append(result)
                if self._relays:
                    self.receipts.hold(result[0], update_seq)
                ledger.end(result[0])
        self._requests.note_results(results)
        for task_id, code, detail in refused:
            self._on_refused(task_id, code, detail, now)
        misses_one = self.receipts.misses_one_before(update_seq)
        if (
            not misses_one
        ):  # `accepted` means all tasks but those refused before, and the missing Update may have refused some
            for seq in accepted:
                if seq in sent:  # not so if all its tasks ended
                    ids = ledger.accept(seq)
                    if self._relays:
                        output.accepted.extend(ids)
        if accepted or results:
            self._unready.took_something()
        self._submits.answered(now)
        if misses_one:
            return False
        self.receipts.received(update_seq, now)
        self._use_window(now)
        return True

    def _use_window(self, now: float) -> None:
        """Calls that are under way may have been accepted, or have ended."""
        if self._ledger.queue and self._submits.has_window(now):
            self.send_queued(now)

    def _on_refused(self, task_id: bytes, code: int, detail: str, now: float) -> None:
        ledger = self._ledger
        if task_id not in ledger:
            return
        if code == Refusal.NOT_READY:
            if not ledger.requeue(task_id) and not ledger.is_queued(task_id):
                self._wait_again.append(task_id)
            self._back_off(detail, now)
            return
        if task_id in ledger.read_before:  # it may be the Read that went before the call: the next answer counts
            ledger.read_before.discard(task_id)
            if ledger.is_queued(task_id) or ledger.requeue(task_id):
                self.send_queued(now)
                return
        call = ledger.call_of(task_id)
        if code == Refusal.INPUT_OVER and call is not None:
            self._output.over.append((call, detail))
            ledger.end(task_id)
            return
        error = refusal_error(call, code, detail, self._payload_limit_bytes)
        self._output.failed.append((task_id, error))
        ledger.end(task_id)

    def on_message(self, message: Message, now: float) -> bool:
        """Any other message. False: the node does not lead any more, and the epoch is over."""
        if isinstance(message, Pong):
            self.proved = True
            self.silence.answered()
        elif isinstance(message, Redirect):
            return False
        elif isinstance(message, Welcome):
            return message.leader_id == message.node_id  # a second answer, to a repeated Hello
        elif isinstance(message, Reply):
            self._on_reply(message)
        elif isinstance(message, Trace):
            self._output.traces.append(message)
        elif isinstance(message, Failure):
            self._on_failure(message, now)
        elif isinstance(message, Coming):
            self.proved = True
            self.silence.coming(message.size)
        elif isinstance(message, Postponed):
            if self._relays:
                self._output.postponed.extend([each for each in message.tasks if each[0] in self._ledger])
        else:
            self._output.malformed_frames += 1
        self._use_window(now)
        return True

    def _on_reply(self, reply: Reply) -> None:
        if isinstance(reply, CancelReply):  # of tasks of its own the Update tells that, and how they came to it
            own = self._ledger
            states = [each for each in reply.states if each[1] != CancelState.CANCELLED or each[0] not in own]
            reply = reply._replace(states=tuple(states))
        self._requests.answered(reply)

    def _on_failure(self, failure: Failure, now: float) -> None:
        """The leader could not read a frame and can't tell which. So this concerns all calls that it has not accepted,
        all tasks that are read, and requests of which an older node knows nothing; and if a key does not allow
        something, whatever is to be cancelled."""
        if failure.code == Refusal.NOT_READY:
            self._ledger.requeue_sent()
            self._back_off(failure.detail, now)
            return
        if failure.code == Refusal.BAD_REQUEST:
            older = f"the leader can't read this request ({failure.detail}); upgrade paceline on all nodes"
            self._requests.not_read(FeatureLevelTooLow(older))
        kind = NotAllowed if failure.code == Refusal.FORBIDDEN else RequestRefused
        error = kind(failure.detail or f"a node refused a request with code {failure.code}")
        sent_ids = [task_id for task_id in self._ledger.unaccepted_ids() if not self._ledger.is_queued(task_id)]
        self._output.failed.extend([(task_id, error) for task_id in sent_ids])
        self._ledger.clear(keep_accepted=True, keep_queued=True)
        for task_id in self._ledger.read_ids():
            self._output.failed.append((task_id, error))
            self._ledger.end(task_id)
        if failure.code == Refusal.FORBIDDEN:
            self._requests.refuse_cancels(error)

    def _back_off(self, detail: str, now: float) -> None:
        self._unready.refused(detail, now)
        if self._retry_at_s == math.inf:
            self._retry_at_s = now + self._unready.next_pause_s()
