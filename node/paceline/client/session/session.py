"""The whole protocol brain of a client: which node to talk to, what to send, what became of each task.

Pure: no socket, clock, thread or global random source, so that a simulator can run it in virtual time. A shell
(``client.py``, or the simulator) keeps these rules:

- It calls a method with ``now`` (monotonic seconds), then does what :attr:`Session.outbox` holds, in order:
  ``(address, frame)`` sends on the connection to that address and opens one if there is none; ``(address, None)``
  closes that connection, with everything it may still deliver.
- It reports what happens: :meth:`received` for a frame, :meth:`opened` when a connection comes up, :meth:`lost` when
  one breaks or a frame could not be sent. It hands over frames that wait before it calls :meth:`tick`, at the latest
  at :meth:`next_deadline`.
- It takes what ended from :attr:`results` and :attr:`failed`, and clears these lists.

How a client follows the leader. It *seeks*: it says Hello to several nodes until one answers that it leads itself.
There it is *attached*, and a new epoch begins: Submits and Updates are numbered from 1. It says which accepted tasks it
waits for, and submits again, under the same ids, whatever was not accepted. A Redirect, a broken connection, a gap in
the Updates or an unanswered Ping ends the epoch, and it seeks again, on new connections. A connection is a stream: it
carries Hellos, then at most one epoch. Results may arrive twice; the second is ignored.

Batches form by themselves. A Submit leaves at once while fewer than ``WINDOW_SUBMITS`` are unaccepted; beyond that
calls pile up until an Update frees a place, or the batch is full. With many tasks outstanding the leader is busy, and
the window narrows to ``BUSY_SUBMITS``, and one more a millisecond: calls that come faster travel together. The Submit
that fills the window asks for prompt acceptance, so that places come free even if all its tasks are long.

A session for a relay (``relays``) passes on what others want, and has two more rules. :attr:`Session.accepted` names
the tasks that the cluster has accepted. And what a result's Update brought is acknowledged only once the shell has
called :meth:`release` for each of its results: until then the cluster keeps them, and gives them to whoever submits the
task again. Acknowledgements go in order, so one result that is held keeps the later ones, too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum

from paceline.client.cancels import Cancels
from paceline.client.session.candidates import Candidates, RandomSource
from paceline.client.session.ledger import Batch, CallLedger
from paceline.client.session.sampling import TRACES_LIMIT_TASKS
from paceline.errors import (
    FeatureLevelTooLow,
    IncompatibleVersion,
    NoLeader,
    NoNodeFound,
    QueueFull,
    RequestRefused,
    ResultUnknown,
    UnknownTask,
)
from paceline_protocol import codec
from paceline_protocol.errors import PayloadTooLarge, ProtocolError, VersionMismatch
from paceline_protocol.messages import (
    Admin,
    AdminReply,
    Call,
    Cancel,
    CancelReply,
    CancelState,
    ClientMessage,
    Failure,
    Hello,
    Message,
    Ping,
    Pong,
    Redirect,
    Refusal,
    Result,
    StatusReply,
    StatusRequest,
    Submit,
    TaskEnd,
    Trace,
    Update,
    Wait,
    Welcome,
)

WINDOW_SUBMITS = 8
BUSY_SUBMITS = 2
BUSY_FROM_TASKS = 16
BUSY_INTERVAL_S = 0.001
OUTSTANDING_LIMIT_TASKS = 200_000
UNACCEPTED_LIMIT_BYTES = 256 * 1024 * 1024
WAIT_LIMIT_IDS = 4096

PING_INTERVAL_S = 0.1
PING_ANSWER_LIMIT_S = 0.3
"""With the interval: a leader that is silent for 400 ms is given up. Counted from the unanswered Ping, not from the
last frame, so that a client that was itself stopped for a while does not blame the leader."""
ACK_DELAY_S = 0.05
RETRY_MIN_S = 0.05
RETRY_MAX_S = 1.0
REPAIR_AFTER_S = 1.0
"""Without an Update for this long, the oldest unaccepted Submit is sent again: its frame may have been dropped."""


class State(Enum):
    """IDLE: nobody wants anything. SEEKING: looking for the leader. ATTACHED: talking to it."""

    IDLE = "idle"
    SEEKING = "seeking"
    ATTACHED = "attached"


_ATTACHED = State.ATTACHED
"""A member of an Enum costs more to look up than a global, and the hot path looks twice per task."""


class Session:
    """One client's side of the protocol."""

    def __init__(
        self,
        client_id: bytes,
        addresses: Iterable[str],
        *,
        random: RandomSource,
        cluster_name: str = "",
        connect_timeout_s: float = 10.0,
        failover_timeout_s: float = 30.0,
        outstanding_limit_tasks: int = OUTSTANDING_LIMIT_TASKS,
        relays: bool = False,
    ) -> None:
        self.outbox: list[tuple[str, bytes | None]] = []
        self.results: list[Result] = []
        self.accepted: list[bytes] = []  # ids, for a relay; it clears the list as it does the two others
        self.failed: list[tuple[bytes, Exception]] = []
        self._cancels = Cancels()
        self.cancel_replies = self._cancels.replies
        self.status_replies: dict[int, bytes] = {}
        self.admin_replies: dict[int, tuple[bool, str]] = {}  # (done, what is the case or why it can't be)
        self.traces: deque[Trace] = deque(maxlen=TRACES_LIMIT_TASKS)  # of sampled calls, as the leader told them
        self.failure: Exception | None = None  # why the last search for a leader was given up
        self.payload_limit_bytes = codec.PAYLOAD_LIMIT_BYTES
        self.state = State.IDLE
        self.leader_address = ""  # where it is attached, "" otherwise
        self.malformed_frames = 0
        self._hello = codec.encode(Hello(client_id, cluster_name))
        self._cluster_name = cluster_name
        self._random = random
        self._connect_timeout_s = connect_timeout_s
        self._failover_timeout_s = failover_timeout_s
        self._outstanding_limit_tasks = outstanding_limit_tasks
        self._candidates = Candidates(addresses, random)
        self._ledger = CallLedger()
        self._connections: set[str] = set()
        self._statuses: dict[int, bytes] = {}  # unanswered: the question, packed
        self._admins: dict[int, tuple[int, str]] = {}  # unanswered
        self._requests = 0
        # Seeking.
        self._was_attached = False  # in this search's past: then the failover timeout counts, not the connect timeout
        self._answered = False  # some node answered during this search
        self._leader_proved = True  # the last leader did more than welcome
        self._seeking_since_s = 0.0
        self._next_round_s = 0.0
        self._not_before_s = 0.0
        # The epoch.
        self._sent_at_s = -math.inf  # the last Submit
        self._seq = 0
        self._seen = 0  # every Update up to this one is here
        self._ack = 0  # and up to this one it is acknowledged; less than `_seen` only while results are held
        self._relays = relays
        self._held: dict[int, int] = {}  # Update.update_seq, in order -> how many of its results are held
        self._held_in: dict[bytes, int] = {}  # id -> the Update that brought its result
        self._prompt = False  # the next Submit carries a call that asks for prompt acceptance
        self._quiet_since_s = 0.0  # the last frame, or when there began to be something to wait for
        self._pinged_at_s = math.inf  # the first Ping that nothing has answered
        self._next_ping_s = 0.0
        self._ack_due_s = math.inf
        self._repair_at_s = math.inf
        self._repair_delay_s = REPAIR_AFTER_S
        # NOT_READY.
        self._retry_at_s = math.inf
        self._retry_delay_s = RETRY_MIN_S
        self._refused_since_s = math.inf
        self._refused_detail = ""
        self._wait_again: list[bytes] = []

    # --- what the shell asks -------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        return self.state is State.ATTACHED

    @property
    def outstanding(self) -> int:
        """Tasks that have not ended."""
        return len(self._ledger)

    @property
    def has_room(self) -> bool:
        """False at a limit: then submit nothing before something ended or was accepted."""
        ledger = self._ledger
        return len(ledger.tasks) < self._outstanding_limit_tasks and ledger.unaccepted_bytes < UNACCEPTED_LIMIT_BYTES

    @property
    def queued(self) -> int:
        """Calls that wait to be sent."""
        return len(self._ledger.queue)

    @property
    def has_unaccepted(self) -> bool:
        return self._ledger.has_unaccepted

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._candidates.addresses

    @property
    def expects_answer(self) -> bool:
        return bool(self._ledger.tasks or self._cancels or self._statuses or self._admins)

    def is_accepted(self, task_id: bytes) -> bool:
        """True once the cluster has accepted the task, or it ended."""
        return self._ledger.is_accepted(task_id)

    # --- what the user wants -------------------------------------------------------------------------------------

    def connect(self, now: float) -> None:
        """Begin to look for the leader, if that is not under way."""
        if self.state is State.IDLE:
            self._was_attached = False
            self._leader_proved = True
            self._seek(now)

    def add_addresses(self, addresses: Iterable[str], now: float) -> None:
        """More places to look at, as discovery finds them."""
        self._candidates.add(addresses)
        if self.state is State.SEEKING:
            self._next_round_s = now
            self.tick(now)

    def submit(self, call: Call, now: float, *, prompt: bool = False) -> None:
        """Take over a call. The shell asks :attr:`has_room` first. ``prompt``: somebody waits until it is accepted."""
        ledger = self._ledger
        if not ledger.tasks:
            self._begin_waiting(now)
        if prompt:
            self._prompt = True
        if self.state is not _ATTACHED:
            ledger.add(call)
            self.connect(now)
        elif not ledger.queue and self._retry_at_s == math.inf and self._has_window(now):
            # With room in the window and nothing before it, the call would leave the queue as it enters it.
            self._seq += 1
            ledger.add_sent(self._seq, call)
            self._send_submit((call,), self._prompt, now)
            self._prompt = False
        else:
            ledger.add(call)
            if ledger.batch_is_full or self._has_window(now):
                self._send_queued(now)

    def press(self, task_id: bytes, now: float) -> None:
        """Somebody waits until this task is accepted: it does not wait for a batch to fill."""
        if self._ledger.is_queued(task_id):
            self.press_all(now)

    def press_all(self, now: float) -> None:
        """Somebody waits until everything is accepted."""
        if self.state is State.ATTACHED:
            self._send_queued(now, prompt=True)

    def ask_again(self, ids: Iterable[bytes], now: float) -> None:
        """Have the ends of these accepted tasks told here, if another session submitted the same ones since."""
        if self.state is _ATTACHED:
            accepted = set(self._ledger.accepted_ids())
            self._send_waits([*(task_id for task_id in ids if task_id in accepted), *self._wait_again])

    def look_up(self, task_id: bytes, now: float) -> None:
        """Have the end of this task told here if the cluster has it, and ResultUnknown otherwise."""
        if not self._ledger.tasks:
            self._begin_waiting(now)
        self._ledger.add_accepted(task_id)
        if self.state is _ATTACHED:
            self._send_waits([task_id, *self._wait_again])
        else:
            self.connect(now)

    def release(self, ids: Iterable[bytes], now: float) -> None:
        """The cluster may forget the results of these tasks. Ids of which no result is held are ignored: what came
        before the last change of leaders, the cluster keeps until its own limits drop it."""
        for task_id in ids:
            self._let_go(task_id)
        self._advance_ack(now)

    def cancel(self, ids: tuple[bytes, ...], now: float) -> int:
        """Ask the leader to cancel. Returns the key under which :attr:`cancel_replies` will hold the answer."""
        self._begin_waiting(now)
        self._requests += 1
        self._cancels.ask(self._requests, ids)
        if self.state is State.ATTACHED:
            self._send_queued(now)  # the leader has to know a task before it can cancel it
            self._send(Cancel(self._requests, ids))
        else:
            self.connect(now)
        return self._requests

    def status(self, now: float, about: tuple[tuple[str, str], ...] = ()) -> int:
        """Ask the leader, or while there is none any node. ``about``: what this client says of itself. Returns the key
        for :attr:`status_replies`."""
        self._begin_waiting(now)
        self._requests += 1
        request = StatusRequest(self._requests, about)
        self._statuses[self._requests] = frame = codec.encode(request)
        self.outbox.extend((address, frame) for address in sorted(self._connections))
        self.connect(now)
        return self._requests

    def admin(self, op: int, argument: str, now: float) -> int:
        """Ask the leader for a change of the cluster (AdminOp). Returns the key for :attr:`admin_replies`. If another
        leads meanwhile it is asked again, for what is done by then stays done."""
        self._begin_waiting(now)
        self._requests += 1
        self._admins[self._requests] = (op, argument)
        if self.state is State.ATTACHED:
            self._send(Admin(self._requests, op, argument))
        else:
            self.connect(now)
        return self._requests

    def forget_request(self, request: int) -> None:
        """Nobody waits for this answer any more."""
        self._cancels.forget(request)
        self._statuses.pop(request, None)
        self._admins.pop(request, None)
        self.status_replies.pop(request, None)
        self.admin_replies.pop(request, None)

    def close(self) -> None:
        """Drop every connection. What is outstanding stays with the shell, which fails it."""
        self.state = State.IDLE
        self.leader_address = ""
        self._close_connections(set())
        self._ledger.clear()
        self._cancels.clear()
        self._statuses.clear()
        self._admins.clear()
        self._refused_since_s = math.inf

    # --- what happens --------------------------------------------------------------------------------------------

    def opened(self, address: str, now: float) -> None:
        """A connection came up. Says Hello at once, since an earlier Hello may have had no connection to leave by."""
        if self.state is State.SEEKING and address in self._connections:
            self._greet(address)

    def lost(self, address: str, now: float) -> None:
        """A connection broke, or does not take a frame."""
        if self.state is State.ATTACHED and address == self.leader_address:
            self._seek(now)

    def received(self, address: str, frame: bytes, now: float) -> None:
        """A frame from the connection to this address."""
        if address not in self._connections:
            return
        try:
            cls, fields = codec.decode_fields(frame)
        except VersionMismatch as error:
            self._give_up(IncompatibleVersion(error.ours, error.theirs))
            return
        except ProtocolError:
            self.malformed_frames += 1
            return
        self._answered = True
        if self.state is _ATTACHED and address == self.leader_address:
            self._quiet_since_s = now
            self._pinged_at_s = math.inf
            if cls is Update:  # nearly every frame; its fields do without the object
                self._leader_proved = True
                self._update(now, *fields)
            else:
                self._from_leader(cls(*fields), now)
            return
        message = cls(*fields)
        if isinstance(message, Welcome):
            self._welcomed(address, message, now)
        elif isinstance(message, Redirect):
            self._follow(message, now)
        elif isinstance(message, StatusReply):
            self._status_came(message)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.state is State.SEEKING:
            if now >= self._give_up_at_s():
                self._give_up(self._no_leader(now))
            elif now >= self._next_round_s:
                self._greet_round(now)
        elif self.state is State.ATTACHED:
            if self.expects_answer and now >= self._pinged_at_s + PING_ANSWER_LIMIT_S:
                self._seek(now)
                return
            if now >= self._ping_due_s():
                self._ping(now)
            if now >= self._retry_at_s:
                self._retry(now)
            if now >= self._repair_at_s:
                self._repair(now)

    def next_deadline(self) -> float:
        """When :meth:`tick` has something to do; math.inf if nothing is due before the next event."""
        if self.state is State.SEEKING:
            return min(self._give_up_at_s(), self._next_round_s)
        if self.state is State.ATTACHED:
            silence_s = self._pinged_at_s + PING_ANSWER_LIMIT_S if self.expects_answer else math.inf
            return min(silence_s, self._ping_due_s(), self._retry_at_s, self._repair_at_s)
        return math.inf

    # --- seeking -------------------------------------------------------------------------------------------------

    def _seek(self, now: float) -> None:
        self.state = State.SEEKING
        self.leader_address = ""
        self.failure = None
        if self._leader_proved or not self.expects_answer:
            # Otherwise the time without a leader goes on: one that only welcomes and redirects is none.
            self._leader_proved = self._answered = False
            self._seeking_since_s = now
        # An epoch that ended as soon as it began must not make a busy loop of Hello, Welcome and Redirect.
        self._next_round_s = max(now, self._not_before_s)
        self._retry_at_s = self._repair_at_s = self._ack_due_s = math.inf
        self._ledger.requeue_sent()
        self._candidates.restart()
        self._close_connections(set())
        self.tick(now)

    def _greet_round(self, now: float) -> None:
        addresses = self._candidates.next_round()
        self._close_connections(set(addresses))
        for address in addresses:
            self._greet(address)
        self._next_round_s = now + self._candidates.round_interval_s()

    def _greet(self, address: str) -> None:
        self._connections.add(address)
        self.outbox.append((address, self._hello))
        self.outbox.extend((address, frame) for frame in self._statuses.values())

    def _welcomed(self, address: str, welcome: Welcome, now: float) -> None:
        if self.state is not State.SEEKING or (self._cluster_name and welcome.cluster_name != self._cluster_name):
            return
        self._candidates.learn(welcome.addresses)
        if not welcome.leader_id or not self._candidates.heard_of_leader(welcome.cluster_id, welcome.term):
            return
        if welcome.leader_id == welcome.node_id:
            self._attach(address, welcome, now)
        else:
            self._hear_of_leader(welcome.leader_address)

    def _follow(self, redirect: Redirect, now: float) -> None:
        if self._candidates.redirected(redirect.term, redirect.leader_address) and self.state is State.SEEKING:
            self._hear_of_leader(redirect.leader_address)

    def _hear_of_leader(self, address: str) -> None:
        self._candidates.leader_is_at(address)
        if address and address not in self._connections:
            self._greet(address)

    def _attach(self, address: str, welcome: Welcome, now: float) -> None:
        self.state = State.ATTACHED
        self.leader_address = address
        self.payload_limit_bytes = min(welcome.payload_limit_bytes, codec.PAYLOAD_LIMIT_MAX_BYTES)
        self._candidates.leader_is_at(address)
        self._was_attached = True
        self._not_before_s = now + self._candidates.round_interval_s()
        self._quiet_since_s = self._next_ping_s = now
        self._pinged_at_s = math.inf
        self._seq = self._seen = self._ack = 0
        self._held.clear()
        self._held_in.clear()
        self._repair_delay_s = REPAIR_AFTER_S
        self._close_connections({address})
        self._send_waits(self._ledger.accepted_ids())
        self._send_queued(now)
        for request, ids in self._cancels.open():
            self._send(Cancel(request, ids))
        for request, (op, argument) in self._admins.items():
            self._send(Admin(request, op, argument))

    def _give_up_at_s(self) -> float:
        timeout_s = self._failover_timeout_s if self._was_attached else self._connect_timeout_s
        return self._seeking_since_s + timeout_s

    def _no_leader(self, now: float) -> Exception:
        waited_s = now - self._seeking_since_s
        if self._answered:
            return NoLeader(waited_s, "nodes answer, but none of them leads")
        return NoNodeFound(self._candidates.addresses, waited_s)

    def _give_up(self, error: Exception) -> None:
        """Everything that is outstanding fails. The next use looks for a leader again."""
        self.failed.extend((task_id, error) for task_id in self._ledger.clear())
        self.close()
        self.failure = error

    def _close_connections(self, keep: set[str]) -> None:
        for address in sorted(self._connections - keep):
            self.outbox.append((address, None))
        self._connections &= keep

    # --- attached: sending ---------------------------------------------------------------------------------------

    def _send(self, message: ClientMessage) -> None:
        """Send to the leader. Every kind but Cancel, Admin and StatusRequest carries the acknowledgement."""
        self.outbox.append((self.leader_address, codec.encode(message)))
        if not isinstance(message, Cancel | Admin):
            self._ack_due_s = math.inf

    def _send_waits(self, ids: list[bytes]) -> None:
        self._wait_again.clear()
        for start in range(0, len(ids), WAIT_LIMIT_IDS):
            self._send(Wait(self._ack, tuple(ids[start : start + WAIT_LIMIT_IDS])))

    def _send_queued(self, now: float, *, prompt: bool = False) -> None:
        """Send all that is queued, unless the leader has just said that it is not ready."""
        if self._retry_at_s < math.inf:
            return
        ledger = self._ledger
        while calls := ledger.take():
            self._seq += 1
            ledger.record_sent(self._seq, calls)
            self._send_submit(calls, prompt or self._prompt, now)
        self._prompt = False

    def _has_window(self, now: float) -> bool:
        """Whether calls leave at once, or wait for a Submit that is under way."""
        unaccepted = len(self._ledger.sent)
        if unaccepted < BUSY_SUBMITS:
            return True
        busy = len(self._ledger.tasks) >= BUSY_FROM_TASKS and now < self._sent_at_s + BUSY_INTERVAL_S
        return unaccepted < WINDOW_SUBMITS and not busy

    def _send_submit(self, calls: Sequence[Call], prompt: bool, now: float) -> None:
        """The Submit that ``_seq`` numbers, as :meth:`_send` would send it."""
        self._sent_at_s = now
        unaccepted = len(self._ledger.sent)
        fills = unaccepted >= WINDOW_SUBMITS or (unaccepted == BUSY_SUBMITS and not self._has_window(now))
        fields = (self._seq, self._ack, codec.encode_calls(calls), prompt or fills)
        self.outbox.append((self.leader_address, codec.encode_fields(Submit, fields)))
        self._ack_due_s = math.inf
        if self._repair_at_s == math.inf:
            self._repair_at_s = now + self._repair_delay_s

    def _send_again(self, batch: Batch) -> None:
        """Under the same ids, and a new number: the leader takes what it does not have, and confirms all of it."""
        self._seq += 1
        self._ledger.renumber(batch, self._seq)
        self._send(Submit(self._seq, self._ack, codec.encode_calls(list(batch.calls.values())), True))

    def _repair(self, now: float) -> None:
        self._repair_at_s = math.inf
        oldest = next(iter(self._ledger.sent.values()), None)
        if oldest is not None:
            self._send_again(oldest)
            self._repair_delay_s *= 2  # so that a slow leader is not buried under what it has already
            self._repair_at_s = now + self._repair_delay_s

    def _begin_waiting(self, now: float) -> None:
        if not self.expects_answer:
            self._quiet_since_s = self._seeking_since_s = now
            self._pinged_at_s = math.inf

    def _ping_due_s(self) -> float:
        if not self.expects_answer:
            return self._ack_due_s
        return min(self._ack_due_s, max(self._quiet_since_s + PING_INTERVAL_S, self._next_ping_s))

    def _ping(self, now: float) -> None:
        self._pinged_at_s = min(self._pinged_at_s, now)
        self._next_ping_s = now + PING_INTERVAL_S
        self._send(Ping(self._ack))

    def _retry(self, now: float) -> None:
        self._retry_at_s = math.inf
        if now >= self._refused_since_s + self._failover_timeout_s:
            error = NoLeader(now - self._refused_since_s, self._refused_detail)
            self._refused_since_s = math.inf
            self.failed.extend((task_id, error) for task_id in self._ledger.clear(keep_accepted=True))
            self.failed.extend((task_id, error) for task_id in self._wait_again if self._ledger.end(task_id))
        else:
            self._send_waits(list(self._wait_again))
            self._send_queued(now)

    # --- attached: receiving -------------------------------------------------------------------------------------

    def _from_leader(self, message: Message, now: float) -> None:
        if isinstance(message, Pong):
            self._leader_proved = True
        elif isinstance(message, Redirect):
            self._candidates.redirected(message.term, message.leader_address)
            self._seek(now)
        elif isinstance(message, Welcome):
            # A second answer to a repeated Hello. It may tell that this node leads no more.
            if message.leader_id != message.node_id:
                self._candidates.redirected(message.term, message.leader_address)
                self._seek(now)
        elif isinstance(message, CancelReply):
            self._cancel_answered(message)
        elif isinstance(message, StatusReply):
            self._status_came(message)
        elif isinstance(message, AdminReply):
            if self._admins.pop(message.request, None) is not None:
                self.admin_replies[message.request] = (message.done, message.detail)
        elif isinstance(message, Trace):
            self.traces.append(message)
        elif isinstance(message, Failure):
            self._frame_refused(message, now)
        else:
            self.malformed_frames += 1

    def _cancel_answered(self, reply: CancelReply) -> None:
        if not self._cancels.answered(reply):
            return
        for task_id, state in reply.states:
            if state == CancelState.CANCELLED and task_id in self._ledger:
                self.results.append((task_id, TaskEnd.CANCELLED, b""))
                self._ledger.end(task_id)

    def _status_came(self, reply: StatusReply) -> None:
        if self._statuses.pop(reply.request, None) is not None:
            self.status_replies[reply.request] = reply.body

    def _update(
        self,
        now: float,
        update_seq: int,
        accepted: tuple[int, ...],
        refused: tuple[tuple[bytes, int, str], ...],
        results: tuple[Result, ...],
    ) -> None:
        """An Update, by its fields. Idempotent. What is reported is noted before it is forgotten, so that an interrupt
        loses nothing."""
        ledger = self._ledger
        tasks = ledger.tasks
        for result in results:
            if result[0] in tasks:
                self.results.append(result)
                if self._relays:
                    self._hold(result[0], update_seq)
                ledger.end(result[0])
        if self._cancels:
            self._cancels.ended(results)
        for task_id, code, detail in refused:
            self._refused(task_id, code, detail, now)
        sent = ledger.sent
        if update_seq <= self._seen + 1:  # `accepted` means all but what was refused before, which a gap may have held
            for seq in accepted:
                if seq in sent:  # not so if all its tasks ended
                    ids = ledger.accept(seq)
                    if self._relays:
                        self.accepted.extend(ids)
        if accepted or results:
            self._refused_since_s = math.inf
            self._retry_delay_s = RETRY_MIN_S
        self._repair_delay_s = REPAIR_AFTER_S
        self._repair_at_s = now + REPAIR_AFTER_S if sent else math.inf
        if update_seq == self._seen + 1:
            self._seen = update_seq
            self._advance_ack(now)
        elif update_seq > self._seen:
            # An Update was dropped on the way. Only a new epoch, with a Wait, brings back what it said.
            self._seek(now)
            return
        if ledger.queue and self._has_window(now):
            self._send_queued(now)

    def _hold(self, task_id: bytes, update_seq: int) -> None:
        """This Update brought its result. An earlier one may have, if the task was submitted again since."""
        self._let_go(task_id)
        self._held[update_seq] = self._held.get(update_seq, 0) + 1
        self._held_in[task_id] = update_seq

    def _let_go(self, task_id: bytes) -> None:
        seq = self._held_in.pop(task_id, 0)
        if seq:
            self._held[seq] -= 1
            if not self._held[seq]:
                del self._held[seq]

    def _advance_ack(self, now: float) -> None:
        """Acknowledge what is here and not held, a little later and with whatever is sent by then."""
        ack = next(iter(self._held)) - 1 if self._held else self._seen
        if ack > self._ack:
            self._ack = ack
            if self._ack_due_s == math.inf:
                self._ack_due_s = now + ACK_DELAY_S

    def _refused(self, task_id: bytes, code: int, detail: str, now: float) -> None:
        ledger = self._ledger
        if task_id not in ledger:
            return
        if code == Refusal.NOT_READY:
            if not ledger.requeue(task_id) and not ledger.is_queued(task_id):
                self._wait_again.append(task_id)
            self._back_off(detail, now)
            return
        call = ledger.refuse(task_id)
        self.failed.append((task_id, self._refusal_error(call, code, detail)))

    def _refusal_error(self, call: Call | None, code: int, detail: str) -> Exception:
        if code == Refusal.UNKNOWN_TASK:
            return UnknownTask(call[1] if call is not None else "", detail)
        if code == Refusal.QUEUE_FULL:
            return QueueFull(detail)
        if code == Refusal.PAYLOAD_TOO_LARGE:
            return PayloadTooLarge(len(call[3]) if call is not None else 0, self.payload_limit_bytes)
        if code == Refusal.UNKNOWN_ID:
            return ResultUnknown(detail)
        if code == Refusal.LEVEL_TOO_LOW:
            return FeatureLevelTooLow(detail)
        return RequestRefused(detail or f"a node refused the task with code {code}")

    def _frame_refused(self, failure: Failure, now: float) -> None:
        """The leader could not take a frame and can't tell which, so this concerns all that it has not accepted."""
        if failure.code == Refusal.NOT_READY:
            self._ledger.requeue_sent()
            self._back_off(failure.detail, now)
            return
        error = RequestRefused(failure.detail or f"a node refused a request with code {failure.code}")
        ended = self._ledger.clear(keep_accepted=True, keep_queued=True)
        self.failed.extend((task_id, error) for task_id in ended)

    def _back_off(self, detail: str, now: float) -> None:
        self._refused_since_s = min(self._refused_since_s, now)
        self._refused_detail = detail
        if self._retry_at_s == math.inf:
            self._retry_at_s = now + self._retry_delay_s * self._random.uniform(0.5, 1.0)
            self._retry_delay_s = min(self._retry_delay_s * 2, RETRY_MAX_S)
