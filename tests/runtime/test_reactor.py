"""Who may say what to a node: a frame of a kind that is not its sender's to send is counted, and dropped. And how much
a node hears at a time."""

from __future__ import annotations

import logging
from math import inf
from random import Random

import pytest

from modes import source_only
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline.runtime.children import causes, scaling
from paceline.runtime.children.lifetimes import LOOK_S, LifetimeLimits
from paceline.runtime.children.pool import ChildEnd
from paceline.runtime.children.worker_pool import SPARE_KEPT_S
from paceline.runtime.forbidden import MAY_SEND
from paceline.runtime.reactor import TURN_S, Reactor
from paceline.runtime.transport.memory_transport import MemoryEndpoint, MemoryNetwork
from paceline.runtime.transport.transport import BURST_MESSAGES, Received, Sent, Source
from paceline.security import KeyRole, Standing
from paceline_protocol.codec import decode, decode_defaults, encode, encode_defaults, encode_fields
from paceline_protocol.limits import (
    ANNOUNCED_BYTES,
    MAX_BATCH_FRAMES,
    MAX_BATCH_ITEMS,
    MAX_DEFAULTS_BYTES,
    MAX_STRING_CHARS,
)
from paceline_protocol.messages import Message, PeerMessage
from paceline_protocol.messages.children import (
    CleaningUp,
    Done,
    LoopBlocked,
    MetricsReply,
    MetricsRequest,
    Run,
    ServeAsync,
    StopAttempts,
    WorkerFailed,
    WorkerReady,
)
from paceline_protocol.messages.client import (
    Admin,
    AdminReply,
    Cancel,
    ClientMessage,
    ClientReply,
    Coming,
    Failure,
    Ping,
    Pong,
    Redirect,
    StatusReply,
    Update,
    WaitingReply,
)
from paceline_protocol.messages.membership import Envelope, PeerHello
from paceline_protocol.messages.message import Sender, sent_by
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.trace import Trace
from paceline_protocol.messages.work import Availability, Revoke
from paceline_protocol.option_types import ERRORS_CHARS
from paceline_protocol.packing import pack

NODE = "node:1"


class PlayedChildren:
    """Children that have neither processes nor a spare."""

    def __init__(self) -> None:
        self.killed: list[bytes] = []
        self.dismissed: list[bytes] = []
        self.memory: dict[bytes, int] = {}
        self.spares: list[tuple[bytes, tuple[str, ...]]] = []
        self.introduced: set[bytes] = set()
        self.more = 0
        self.size = 1
        self.kept_spare_at: list[float] = []

    def introduces_itself(self, worker_id: bytes) -> bool:
        if worker_id in self.introduced:
            return False
        self.introduced.add(worker_id)
        return True

    @property
    def has_spare(self) -> bool:
        return bool(self.spares)

    @property
    def worker_ids(self) -> tuple[bytes, ...]:
        return (b"worker", b"other")

    def renew_spare(self, now: float) -> frozenset[bytes]:
        return frozenset()

    def keep_spare(self, now: float) -> bool:
        self.kept_spare_at.append(now)
        return False

    def reap(self, fd: int) -> ChildEnd | None:
        return ChildEnd(b"worker", "killed by SIGKILL", causes.KILLED) if self.killed else None

    def respawn(self, now: float) -> None:
        pass

    def next_respawn(self, now: float) -> float:
        return inf

    def ready(self, worker_id: bytes, names: tuple[str, ...]) -> bool:
        return True

    def begun(self, worker_id: bytes) -> int | None:
        return 0

    def blamed(self, worker_id: bytes) -> int:
        return 0

    def have_more(self, count: int) -> bool:
        self.more += count
        return True

    def grow(self, count: int) -> None:
        self.size += count

    def let_go(self, worker_id: bytes) -> None:
        self.size -= 1

    def give_up_one(self) -> bool:
        is_any = self.size > len(self.introduced)
        self.size -= is_any
        return is_any

    def withhold(self, worker_id: bytes, through: int) -> None:
        pass

    def stop_task(self, worker_id: bytes, number: int) -> None:
        pass

    def kill(self, worker_id: bytes) -> None:
        self.killed.append(worker_id)

    def memory_bytes(self, worker_id: bytes) -> int:
        return self.memory.get(worker_id, 0)

    def replace(self, worker_id: bytes, now: float) -> tuple[bytes, tuple[str, ...]] | None:
        return self.spares.pop() if self.spares else None

    def dismiss(self, worker_id: bytes, now: float) -> None:
        self.dismissed.append(worker_id)

    def stand_in(self, worker_id: bytes, had_task: bool, now: float) -> tuple[bytes, tuple[str, ...]] | None:
        return None


class Rig:
    """One node that leads nothing, a worker, a web process, a client."""

    def __init__(self, *, async_slots: int = 1, most_workers: int = 1, **limits: int) -> None:
        """``most_workers``: that there may be, of which one is there. ``limits``: of the memory of workers."""
        self.now = 0.0
        self.passes_s = 0.0  # at each look at the clock
        self.children = PlayedChildren()
        self.network = MemoryNetwork()
        self.transport = self.network.node(NODE)
        core = NodeCore(
            Settings(cluster_name="test", expect=3, async_slots=async_slots),
            Identity("a", incarnation=1),
            address=NODE,
            spare_cluster_id="cluster-a",
            random=Random(1),
            now=0.0,
            durable_at_once=True,
            questions=QUESTIONS,
        )
        self.reactor = Reactor(
            core,
            self.transport,
            None,
            clock=self.clock,
            wall_clock=lambda: 1.7e9,
            children=self.children,
            metrics=lambda now: b"metrics",
            lifetime_limits=LifetimeLimits(**limits),
            scaling=scaling.Scaling(1, most_workers),
        )
        self.ends = {
            "worker": self.network.worker(NODE, b"worker"),
            "web": self.network.web(NODE, b"web"),
            "client": self.network.client(NODE, b"client"),
        }

    def clock(self) -> float:
        self.now += self.passes_s
        return self.now

    def say(self, sender: str, message: Message) -> list[Message]:
        """What the sender is answered."""
        return self.say_bytes(sender, encode(message))

    def say_bytes(self, sender: str, frame: bytes) -> list[Message]:
        end: MemoryEndpoint = self.ends[sender]
        end.send(frame)
        self.network.deliver_due()
        self.reactor.turn()
        self.network.deliver_due()
        return [decode(frame) for frame in end.receive()]


def test_the_web_process_is_told_what_the_metrics_are() -> None:
    rig = Rig()
    assert rig.say("web", MetricsRequest()) == [MetricsReply(b"metrics")]
    assert rig.reactor.counters.frames_unexpected == 0


def test_a_worker_is_not_told_before_it_is_ready_either_as_it_imports_what_users_wrote() -> None:
    rig = Rig()
    assert rig.say("worker", MetricsRequest()) == []
    assert rig.reactor.counters.frames_unexpected == 1
    rig.say("worker", WorkerReady(1, ("add",)))
    assert rig.say("worker", MetricsRequest()) == []
    assert rig.reactor.counters.frames_unexpected == 2


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("web", WorkerReady(1, ("add",))),
        ("web", Done(((b"i" * 16, 1, 1, b"", 1),))),
        ("web", WorkerFailed(1, "module", "error", "")),
        ("web", Trace(b"i" * 16, ())),
        ("web", Ping(0)),
        ("worker", Run(())),
        ("worker", Ping(0)),
        ("client", MetricsRequest()),
        ("client", WorkerReady(1, ("add",))),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_not_its_senders_to_say_is_counted_and_dropped(sender: str, message: Message) -> None:
    rig = Rig()
    assert rig.say(sender, message) == []
    assert rig.reactor.counters.frames_unexpected == 1
    assert rig.reactor.core.leader_link.slots.workers == {}


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (
            encode(Done(((b"i" * 16, 1, TaskEnd.CANCELLED, b"", 1),))),
            "it gave a task the end 3, which no worker can give",
        ),
        (encode(Done(((b"n" * 16, 1, TaskEnd.FAILED, b"", 1),))), "it answered for a task that it was not given"),
        (encode_fields(Done, (((b"i" * 16, 1, 77, b"", 1),),)), "it sent what is no frame"),
        (b"what a task has written into its worker's socket", "it sent what is no frame"),
        (encode(WorkerReady(1, ("forged",))), "it said once more whether it is ready"),
        (encode(WorkerFailed(1, "forged", "e" * 9_000, "\n" * 9_000)), "it said once more whether it is ready"),
    ],
)
def test_a_worker_that_answers_what_no_worker_can_is_killed_and_that_is_said_once(
    frame: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    rig.say("worker", WorkerReady(1, ("add",)))
    slots = rig.reactor.core.leader_link.slots
    slots.take([(b"i" * 16, 1, "add", b"", None)], 0.0)
    rig.reactor.core.leader_link.assign(0.0)
    with caplog.at_level(logging.ERROR, "paceline.node"):
        for _ in range(3):
            rig.say_bytes("worker", frame)
    assert rig.children.killed == [b"worker"]
    assert [why in record.getMessage() for record in caplog.records] == [True]
    assert not slots.held.unrecorded
    rig.reactor._children.ended(3, 0.0)
    ((lost,),) = [batch.items for batch in slots.held.unrecorded]
    assert (lost[0], lost[2]) == (b"i" * 16, TaskEnd.LOST)
    assert lost[3].decode().startswith(f"the worker was killed, as {why}")


def test_a_worker_that_is_blocked_by_what_a_task_has_left_is_killed_and_the_task_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.say("worker", WorkerReady(1, ("add",)))
    slots = rig.reactor.core.leader_link.slots
    slots.take([(b"i" * 16, 1, "add", b"", None)], 0.0)
    slots.assign(0.0)
    rig.say("worker", CleaningUp(((b"i" * 16, 1, TaskEnd.SUCCEEDED, b"", 1),)))
    assert [batch.items[0][2] for batch in slots.held.unrecorded] == [TaskEnd.SUCCEEDED]
    with caplog.at_level(logging.ERROR, "paceline.node"):
        for now in range(6):
            slots.review(float(now))
            rig.reactor.turn()
    assert rig.children.killed == [b"worker"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"worker {b'worker'.hex()} is killed, as what task add has left in its event loop")
    rig.reactor._children.ended(3, 0.0)
    ended = [batch.items[0][2] for batch in slots.held.unrecorded]
    assert ended == [TaskEnd.SUCCEEDED], "it is not lost with its worker"


def named(begin: str, count: int = 6_000) -> tuple[str, ...]:
    return tuple(f"{begin}{number}" for number in range(count))


def test_a_worker_with_which_a_node_would_run_too_many_names_is_killed_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As of a module that has changed on disk since the node began, or that names its tasks anew in each process."""
    rig = Rig()
    rig.ends["late"] = rig.network.worker(NODE, b"late")
    rig.say("worker", WorkerReady(1, named("old")))
    with caplog.at_level(logging.ERROR, "paceline.node"):
        rig.say("late", WorkerReady(2, named("new")))
    assert rig.children.killed == [b"late"]
    assert [record.getMessage() for record in caplog.records] == [
        f"worker {b'late'.hex()} is killed, as with its tasks there are 12000 names of tasks here, and a node runs at "
        "most 10000; if its modules have changed, restart the node; if not, start another node with some of them"
    ]
    assert list(rig.reactor.core.leader_link.slots.workers) == [b"worker"]


@pytest.mark.parametrize("packed", [b"\xc1", pack([["add", 4, {"unknown": 1}]], "x"), bytes(MAX_DEFAULTS_BYTES + 1)])
def test_a_worker_whose_announcement_can_not_be_read_is_killed(caplog: pytest.LogCaptureFixture, packed: bytes) -> None:
    rig = Rig()
    with caplog.at_level(logging.ERROR, "paceline.node"):
        rig.say("worker", WorkerReady(1, ("add",), packed))
    assert rig.children.killed == [b"worker"]
    assert "is killed, as what it says of its tasks can't be read: " in caplog.text
    assert list(rig.reactor.core.leader_link.slots.workers) == []


def test_what_a_worker_says_of_its_tasks_is_announced_and_past_the_limit_it_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def ready(count: int, prefix: str) -> WorkerReady:
        names = tuple(f"{prefix}{number}" for number in range(count))
        return WorkerReady(1, names, encode_defaults([(name, 4, {"retry_on": "E" * ERRORS_CHARS}) for name in names]))

    rig = Rig()
    rig.ends["late"] = rig.network.worker(NODE, b"late")
    slots = rig.reactor.core.leader_link.slots
    rig.say("worker", ready(5_000, "old"))
    assert len(decode_defaults(slots.defaults())) == 5_000
    with caplog.at_level(logging.ERROR, "paceline.node"):
        rig.say("late", ready(4_000, "new"))
    assert "with it the options of its node's tasks take 4704783 bytes, of 4194304" in caplog.text
    assert (rig.children.killed, list(slots.workers)) == ([b"late"], [b"worker"])
    assert len(decode_defaults(slots.defaults())) == 5_000


def test_a_spare_with_which_a_node_would_run_too_many_names_does_not_stand_in(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    rig.ends["other"] = rig.network.worker(NODE, b"other")
    for worker in ("worker", "other"):
        rig.say(worker, WorkerReady(1, named("old")))
    spare = (b"spare", named("new"))
    monkeypatch.setattr(rig.children, "stand_in", lambda *_: spare)
    rig.children.killed.append(b"worker")
    with caplog.at_level(logging.ERROR, "paceline.node"):
        rig.reactor._children.ended(3, 0.0)
    assert rig.children.killed == [b"worker", b"spare"]
    assert "there are 12000 names of tasks here" in caplog.text
    assert list(rig.reactor.core.leader_link.slots.workers) == [b"other"]


def test_a_worker_that_sends_what_can_not_be_read_is_killed_and_its_task_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.say("worker", WorkerReady(1, ("add",)))
    slots = rig.reactor.core.leader_link.slots
    slots.take([(b"i" * 16, 1, "add", b"", None)], 0.0)
    rig.reactor.core.leader_link.assign(0.0)
    rig.transport.faults[b"worker"] = "it sent half a frame"
    with caplog.at_level(logging.ERROR, "paceline.node"):
        rig.reactor.turn()
    assert (rig.children.killed, rig.transport.faults) == ([b"worker"], {})
    assert "as it sent half a frame" in caplog.text
    rig.reactor._children.ended(3, 0.0)
    ((lost,),) = [batch.items for batch in slots.held.unrecorded]
    assert (lost[2], lost[3].decode()) == (TaskEnd.LOST, "the worker was killed, as it sent half a frame")


def test_a_worker_is_told_that_it_runs_many_at_once_and_then_what_to_run_and_what_to_stop() -> None:
    rig = Rig(async_slots=3)
    rig.ends["other"] = rig.network.worker(NODE, b"other")
    rig.say("worker", WorkerReady(1, ("add", "nap"), async_names=("nap",)))
    link = rig.reactor.core.leader_link
    nap = (b"i" * 16, 1, "nap", b"", None)
    link.slots.take([nap], 0.0)
    rig.reactor.turn()
    assert rig.children.more == 1, "it is started with the first such task"
    told = rig.say("other", WorkerReady(2, ("add", "nap"), async_names=("nap",)))
    assert told == [ServeAsync(3), Run((nap,))]
    link.slots.stop([(nap[0], 1)], 0.0)
    assert rig.say("other", LoopBlocked("nap", 250)) == [StopAttempts((nap[0],))]
    rig.say("worker", LoopBlocked("add", 250))
    counters = rig.reactor.counters
    assert (counters.loops_blocked, counters.loops_blocked_s) == (1, 0.25), "the other one has no loop to block"


def with_a_task(**limits: int) -> Rig:
    """Its worker has begun a task, and another worker is ready."""
    rig = Rig(**limits)
    rig.ends["other"] = rig.network.worker(NODE, b"other")
    for worker in ("worker", "other"):
        rig.say(worker, WorkerReady(1, ("add",)))
    slots = rig.reactor.core.leader_link.slots
    slots.take([(b"i" * 16, 1, "add", b"", None)], 0.0)
    rig.reactor.core.leader_link.assign(0.0)
    return rig


def test_a_worker_with_more_memory_than_it_may_have_is_killed_while_it_runs_a_task_which_is_told_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = with_a_task(memory_limit_bytes=2 << 30)
    rig.children.memory[b"worker"] = 2_150 << 20
    for _ in range(2):
        rig.now += LOOK_S
        rig.reactor.turn()
    assert (rig.children.killed, rig.children.dismissed) == ([b"worker"], [])
    monkeypatch.setattr(rig.children, "begun", lambda _: 1)
    rig.reactor._children.ended(3, rig.now)
    ((lost,),) = [batch.items for batch in rig.reactor.core.leader_link.slots.held.unrecorded]
    why = "the worker was killed, as it has 2.1 GiB of memory, and its limit is 2.0 GiB"
    assert (lost[2], lost[3].decode()) == (TaskEnd.LOST, why)
    assert {cause: count for cause, count in rig.reactor.counters.worker_exits.items() if count} == {"memory_limit": 1}


def test_workers_that_are_large_leave_one_for_each_spare_that_is_ready_and_serve_until_then() -> None:
    rig = with_a_task(max_rss_bytes=1 << 30)
    slots = rig.reactor.core.leader_link.slots
    rig.say("worker", Done(((b"i" * 16, 1, int(TaskEnd.SUCCEEDED), b"", 1),)))
    slots.workers[b"other"].answered = 1
    rig.children.memory = {b"worker": 3 << 30, b"other": 3 << 30}

    def served_by() -> list[bytes]:
        rig.now += LOOK_S
        rig.reactor.turn()
        return list(slots.workers)

    assert (served_by(), slots.leaving) == ([b"worker", b"other"], {})
    rig.children.spares = [(b"spare", ("add",))]
    assert served_by() == [b"other", b"spare"]
    assert (served_by(), slots.leaving) == ([b"other", b"spare"], {})
    rig.children.spares = [(b"next", ("add",))]
    assert served_by() == [b"spare", b"next"]


def test_an_async_worker_leaves_last_as_the_spare_serves_beside_it_for_as_long_as_its_tasks_run() -> None:
    rig = Rig(async_slots=3, max_rss_bytes=1 << 30)
    rig.ends["other"] = rig.network.worker(NODE, b"other")
    ready = WorkerReady(1, ("add", "nap"), async_names=("nap",))
    rig.say("worker", ready)
    slots, frames = rig.reactor.core.leader_link.slots, rig.reactor._children
    slots.take([(b"i" * 16, 1, "nap", b"", None)], 0.0)
    rig.reactor.turn()
    rig.say("other", ready)
    assert list(slots.async_workers) == [b"other"]
    rig.children.memory = {b"other": 3 << 30}  # it would be the first that is found
    frames.lifetimes.reload([b"worker"], rig.now)
    rig.children.spares = [(b"spare", ("add", "nap"))]
    rig.now += LOOK_S
    rig.reactor.turn()
    assert list(slots.workers) == [b"other", b"spare"]
    assert slots.leaving == {}


def test_while_workers_are_to_be_replaced_for_a_reload_a_spare_is_kept_however_long_it_takes_to_be_ready() -> None:
    rig = with_a_task()
    rig.reactor.reload(rig.now)
    for _ in range(3):
        rig.now += SPARE_KEPT_S / 2
        rig.reactor.turn()
        assert rig.children.kept_spare_at[-1:] == [rig.now]


def test_a_worker_over_its_limit_that_runs_nothing_leaves_whether_or_not_a_spare_is_ready() -> None:
    rig = with_a_task(memory_limit_bytes=2 << 30)
    rig.say("worker", Done(((b"i" * 16, 1, int(TaskEnd.SUCCEEDED), b"", 1),)))
    rig.children.memory = {b"worker": 3 << 30}
    rig.now += LOOK_S
    rig.reactor.turn()
    assert (rig.children.killed, rig.children.dismissed) == ([], [b"worker"])


def test_the_spare_serves_in_place_of_a_worker_that_leaves_once_that_has_run_its_last_task() -> None:
    rig = with_a_task()
    rig.children.spares = [(b"spare", ("add",))]
    slots = rig.reactor.core.leader_link.slots
    slots.leave(b"worker", "it is old")
    rig.reactor.turn()
    assert (list(slots.workers), rig.children.dismissed) == ([b"worker", b"other"], [])
    rig.say("worker", Done(((b"i" * 16, 1, int(TaskEnd.SUCCEEDED), b"", 1),)))
    assert (list(slots.workers), rig.children.dismissed) == ([b"other", b"spare"], [b"worker"])


def test_a_worker_that_runs_no_task_is_replaced_for_its_memory_once_it_has_run_one_and_not_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = with_a_task(memory_limit_bytes=2 << 30)
    rig.say("worker", Done(((b"i" * 16, 1, int(TaskEnd.SUCCEEDED), b"", 1),)))
    rig.children.memory = {b"worker": 3 << 30, b"other": 3 << 30}
    rig.children.spares = [(b"spare", ("add",))]
    with caplog.at_level(logging.WARNING, "paceline.node"):
        for _ in range(2):
            rig.now += LOOK_S
            rig.reactor.turn()
    assert (rig.children.killed, rig.children.dismissed) == ([], [b"worker"])
    assert list(rig.reactor.core.leader_link.slots.workers) == [b"other", b"spare"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("a worker that has run no task is to be replaced already, as it has 3.0 GiB of memory")
    rig.children.killed = [b"worker"]  # as the played reap() has it
    rig.reactor._children.ended(3, rig.now)
    assert {cause: count for cause, count in rig.reactor.counters.worker_exits.items() if count} == {"recycled": 1}


def test_a_peer_to_which_there_is_much_to_say_gets_several_batches_each_within_the_bound() -> None:
    rig = Rig()
    other = rig.network.node("b:7077")
    traces: list[PeerMessage] = [Trace(number.to_bytes(16, "big"), ()) for number in range(2 * MAX_BATCH_FRAMES)]
    rig.reactor._send_peers([("b:7077", Envelope("cluster-a", "a", 1, "b"), traces, False)])
    rig.network.deliver_due()
    batches = []
    while (received := other.receive_more()) is not None:
        batches.append([decode(frame) for frame in received[2]])
    assert [len(batch) for batch in batches] == [MAX_BATCH_FRAMES, MAX_BATCH_FRAMES, 3]
    assert [type(batch[0]) for batch in batches] == [Envelope] * 3
    assert [trace for batch in batches for trace in batch[1:]] == traces


def test_each_batch_says_when_it_leaves_how_much_its_recipient_was_sent_by_the_main_connection() -> None:
    rig = Rig()
    ends = [rig.network.node("b:7077"), rig.network.node("c:7077")]
    to_b, to_c = (Envelope("cluster-a", "a", 1, node_id) for node_id in "bc")
    traces: list[PeerMessage] = [Trace(number.to_bytes(16, "big"), ()) for number in range(MAX_BATCH_FRAMES)]
    size = len(encode(traces[0]))
    later = [("b:7077", to_b, traces[:1], False)]  # as one that promises something waits for the disk
    rig.reactor._send_peers(
        [("b:7077", to_b, traces, False), ("b:7077", to_b, traces[:1], True), ("c:7077", to_c, traces[:2], True)]
    )
    rig.reactor._send_peers(later)
    rig.reactor._send_peers([("nobody:1", to_b, traces[:3], False), ("b:7077", to_b, traces[:1], True)])
    rig.network.deliver_due()
    said = []
    for end in ends:
        while (received := end.receive_more()) is not None:
            head = decode(received[2][0])
            assert isinstance(head, Envelope)
            said.append((head.recipient, head.main_bytes // size, head.is_quick))
    whole = MAX_BATCH_FRAMES
    assert said == [
        ("b", whole - 1, False),
        ("b", whole, False),
        ("b", whole, True),
        ("b", whole + 1, False),
        ("b", whole + 4, True),
        ("c", 0, True),
    ]


def test_a_message_to_a_peer_that_can_not_be_sent_is_lost_and_said_and_the_others_of_its_batch_leave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    other, third = rig.network.node("b:7077"), rig.network.node("c:7077")
    envelope = Envelope("cluster-a", "a", 1, "b")
    bad = Revoke(1, (b"\0" * 16,) * (MAX_BATCH_ITEMS + 1))
    good: list[PeerMessage] = [Trace(number.to_bytes(16, "big"), ()) for number in range(MAX_BATCH_FRAMES - 1)]
    with caplog.at_level(logging.ERROR, "paceline.node"):
        for _ in range(5):
            rig.reactor._send_peers(
                [
                    ("b:7077", envelope, [*good[:3], bad, *good[3:]], False),
                    ("c:7077", envelope, [bad], False),
                    ("c:7077", Envelope("x" * (MAX_STRING_CHARS + 1), "a", 1, "c"), [good[0]], False),
                    ("c:7077", envelope, [good[0]], False),
                ]
            )
    rig.network.deliver_due()
    for end, batch in ((other, [envelope, *good]), (third, [envelope, good[0]])):
        for _ in range(5):
            received = end.receive_more()
            assert received is not None
            head, *messages = (decode(frame) for frame in received[2])
            assert isinstance(head, Envelope)
            assert [head._replace(main_before=0, main_bytes=0), *messages] == batch
        assert end.receive_more() is None
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "the first and the tenth"
    assert "can't send a Revoke to b:7077 (number 1 of these): 16385 exceeds" in said[0]
    rig.reactor.turn()


def test_there_is_a_handler_for_whatever_a_child_may_say() -> None:
    handlers = Rig().reactor._children.handlers
    assert {Done, *handlers[Source.WORKER]} == sent_by(Sender.WORKER)
    assert set(handlers[Source.WEB]) == sent_by(Sender.WEB)


def test_a_client_is_answered() -> None:
    rig = Rig()
    assert [type(message) for message in rig.say("client", Ping(0))] == [Redirect]
    assert rig.reactor.counters.frames_unexpected == 0


def test_a_client_whose_key_is_revoked_is_told_nothing_of_what_waits_for_its_connection() -> None:
    rig = Rig()
    rig.ends["other"] = rig.network.client(NODE, b"other")
    for key in (b"client", b"other"):
        rig.reactor.unsent.keep(key, encode(Pong(1)))
    rig.reactor.revoked(b"client")
    rig.reactor.turn()
    rig.network.deliver_due()
    assert rig.ends["client"].receive() == []
    assert [decode(frame) for frame in rig.ends["other"].receive()] == [Pong(1)]
    assert not rig.reactor.unsent


LARGE: dict[str, ClientReply] = {
    "status": StatusReply(1, bytes(ANNOUNCED_BYTES)),
    "waiting": WaitingReply(1, bytes(ANNOUNCED_BYTES)),
    "one large result": Update(1, (), (), ((b"1" * 16, int(TaskEnd.SUCCEEDED), bytes(ANNOUNCED_BYTES)),)),
    "many small results": Update(1, (), (), tuple((b"%16d" % n, int(TaskEnd.SUCCEEDED), b"") for n in range(500))),
    "refusals": Update(1, (), tuple((b"%16d" % n, 1, "no task " + "x" * 200) for n in range(100)), ()),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_announced_to_a_client_right_before_it_is_sent_whatever_it_is(name: str) -> None:
    rig, large = Rig(), LARGE[name]
    for reply in (Pong(1), large, Pong(2)):
        rig.reactor.core._outbox.reply(b"client", reply)
    *heard, redirect = rig.say("client", Ping(0))
    assert heard == [Pong(1), Coming(len(encode(large))), large, Pong(2)]
    assert isinstance(redirect, Redirect)


def test_a_client_that_takes_nothing_for_a_while_gets_what_is_large_behind_what_announces_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig, large = Rig(), LARGE["status"]
    with monkeypatch.context() as patch:
        patch.setattr(rig.transport, "send_client", lambda session, frame: Sent.FULL)
        rig.reactor.core._outbox.reply(b"client", large)
        assert rig.say("client", Ping(0)) == []
    rig.reactor.turn()
    rig.network.deliver_due()
    heard = [decode(frame) for frame in rig.ends["client"].receive()]
    assert heard[:2] == [Coming(len(encode(large))), large]


def test_what_is_just_not_large_is_not_announced() -> None:
    rig = Rig()
    beside = len(encode(StatusReply(1, bytes(ANNOUNCED_BYTES)))) - ANNOUNCED_BYTES
    reply = StatusReply(1, bytes(ANNOUNCED_BYTES - beside - 1))
    rig.reactor.core._outbox.reply(b"client", reply)
    assert rig.say("client", Ping(0))[0] == reply


def pings(rig: Rig, count: int) -> None:
    for _ in range(count):
        rig.ends["client"].send(encode(Ping(0)))
    rig.network.deliver_due()


def heard_in(rig: Rig, turns: int) -> list[int]:
    """How many messages each of the next turns takes."""
    heard = []
    for _ in range(turns):
        before = rig.reactor.counters.frames_received
        rig.reactor.turn()
        heard.append(rig.reactor.counters.frames_received - before)
    return heard


def test_a_turn_that_has_taken_long_takes_no_further_message_and_the_next_turn_goes_on() -> None:
    rig = Rig()
    rig.passes_s = 0.2 * TURN_S  # two looks at the clock for each message
    pings(rig, 7)
    assert heard_in(rig, 4) == [3, 3, 1, 0]
    rig.network.deliver_due()
    assert len(rig.ends["client"].receive()) == 7


def test_a_message_that_takes_longer_than_a_turn_is_the_only_one_of_its_turn() -> None:
    rig = Rig()
    rig.passes_s = TURN_S
    pings(rig, 3)
    assert heard_in(rig, 4) == [1, 1, 1, 0]


@source_only
def test_no_message_is_heard_before_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be sent while the turn runs, and its sender notes when. So does the node, for those who trace a task."""
    rig = Rig()
    came: list[float] = []
    heard: list[float] = []
    receive_more, on_client = rig.transport.receive_more, rig.reactor.core.on_client

    def received() -> Received | None:
        rig.now += TURN_S / 10
        came.append(rig.now)
        return receive_more()

    def hear(key: bytes, message: ClientMessage, now: float) -> None:
        heard.append(now)
        on_client(key, message, now)

    pings(rig, 5)
    monkeypatch.setattr(rig.transport, "receive_more", received)
    monkeypatch.setattr(rig.reactor.core, "on_client", hear)
    rig.reactor.turn()
    assert len(heard) == 5
    assert all(heard_at >= came_at for heard_at, came_at in zip(heard, came, strict=False))


def test_what_children_say_is_heard_in_each_turn_and_so_is_a_client() -> None:
    rig = Rig()
    rig.say("worker", WorkerReady(1, ("add",)))
    rig.passes_s = TURN_S
    pings(rig, 3)
    for _ in range(3):
        rig.ends["worker"].send(encode(Trace(b"i" * 16, ())))
        rig.network.deliver_due()
        assert heard_in(rig, 1) == [2]


@pytest.mark.parametrize("role", [role for role in KeyRole if role is not KeyRole.NODE])
def test_what_the_key_of_a_client_does_not_allow_is_dropped_counted_and_answered(
    role: KeyRole, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    rig.transport.standings[b"client"] = Standing(role, "mallory")
    asked = {Ping(0): Redirect, Cancel(1, ()): Redirect, Admin(1, 1, "1"): Redirect}
    dropped = 0
    for message, answer in asked.items():
        may = type(message) in MAY_SEND[role]
        dropped += not may
        for _ in range(2):
            (reply,) = rig.say("client", message)
            assert isinstance(reply, answer if may else Failure | AdminReply), message
        assert rig.reactor.counters.frames_forbidden == 2 * dropped
    assert len({record.getMessage() for record in caplog.records}) == (1 if role is KeyRole.NOBODY else dropped)
    assert rig.reactor.counters.frames_unexpected == 0


def test_what_nodes_say_to_each_other_counts_from_nodes_alone(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    other = rig.network.node("other:1")
    hello = [encode(Envelope("", "b", 1, "")), encode(PeerHello("other:1", "test", 3, "", 0, (), reply=True))]
    for role, known in (
        (KeyRole.CLIENT, False),
        (KeyRole.OBSERVER, False),
        (KeyRole.NOBODY, False),
        (KeyRole.NODE, True),
    ):
        rig.transport.standings[b"other:1"] = Standing(role, role)
        other.send_peer(NODE, hello)
        rig.network.deliver_due()
        rig.reactor.turn()
        assert ("b" in rig.reactor.core.peering.directory.peers) is known
    assert rig.reactor.counters.frames_forbidden == 3 * len(hello)
    assert len(caplog.records) == 3


def test_an_answer_that_can_not_be_sent_is_a_failure_of_that_one_question_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    with caplog.at_level(logging.ERROR, "paceline.node"):
        for _ in range(5):
            rig.reactor.core._outbox.reply(b"client", AdminReply(1, False, "x" * (MAX_STRING_CHARS + 1)))
            (failure,) = rig.say("client", Ping(0))[:1]
            assert isinstance(failure, Failure)
    assert ["can't send an answer" in record.getMessage() for record in caplog.records] == [True]
    assert [type(message) for message in rig.say("client", Ping(0))] == [Redirect]


def test_after_a_long_turn_fewer_messages_are_taken_until_turns_are_short_again() -> None:
    rig = Rig()
    rig.now = 1.0
    pings(rig, 1)
    assert heard_in(rig, 1) == [1]
    rig.now += 6 * TURN_S  # which the answers of that turn took
    pings(rig, 3 * BURST_MESSAGES)
    half = BURST_MESSAGES // 2
    assert heard_in(rig, 2) == [half, half + 1]
    for _ in range(20):
        rig.now += 6 * TURN_S
        rig.reactor.turn()
    rig.now += 6 * TURN_S
    assert heard_in(rig, 3) == [1, 2, 3]


def test_a_turn_takes_a_burst_at_most() -> None:
    rig = Rig()
    pings(rig, 2 * BURST_MESSAGES + 1)
    assert heard_in(rig, 3) == [BURST_MESSAGES, BURST_MESSAGES, 1]


class Scaled(Rig):
    """A node with one worker that may have four, in the middle of nothing: what a leader says is put into its mouth."""

    def __init__(self) -> None:
        super().__init__(most_workers=4)
        self.asked = 0
        self.link.ask_for_demand = self._ask  # type: ignore[method-assign]
        self.say("worker", WorkerReady(1, ("add",)))

    def _ask(self) -> None:
        self.asked += 1

    @property
    def link(self) -> LeaderLink:
        return self.reactor.core.leader_link

    def turn(self, wanted: int = 0) -> None:
        """A look later."""
        self.link.more_wanted = wanted
        self.now += scaling.LOOK_S
        self.reactor.turn()

    def give(self, number: int) -> None:
        self.link.slots.take([(number.to_bytes(16), 1, "add", b"", None)], self.now)
        self.link.assign(self.now)

    def come(self, name: str) -> None:
        self.ends[name] = self.network.worker(NODE, name.encode())
        self.say(name, WorkerReady(1, ("add",)))


@source_only
def test_a_node_with_all_its_workers_busy_asks_and_starts_as_many_more_as_it_has() -> None:
    rig = Scaled()
    rig.turn(wanted=9)
    assert (rig.asked, rig.children.size) == (0, 1), "its worker has nothing to do"
    rig.give(1)
    rig.turn()
    assert (rig.asked, rig.children.size) == (1, 1)
    rig.turn(wanted=9)
    assert (rig.asked, rig.children.size) == (1, 2)
    rig.turn(wanted=9)
    assert (rig.asked, rig.children.size) == (1, 2), "the second is not ready yet"
    rig.come("second")
    rig.turn(wanted=9)
    assert rig.children.size == 2, "it is not busy"
    rig.give(2)
    rig.turn(wanted=1)
    assert rig.children.size == 3
    rig.come("third")
    rig.give(3)
    rig.turn(wanted=9)
    assert (rig.children.size, rig.reactor.scaling.size) == (4, 4)
    rig.come("fourth")
    rig.give(4)
    rig.turn(wanted=9)
    assert (rig.children.size, rig.asked) == (4, 1), "more there may not be"


@source_only
def test_a_node_that_grows_has_its_spare_serve_at_once() -> None:
    rig = Scaled()
    rig.children.spares = [(b"spare", ("add",))]
    rig.give(1)
    rig.turn(wanted=1)
    assert set(rig.link.slots.workers) == {b"worker", b"spare"}


@source_only
def test_a_node_that_takes_no_tasks_does_not_grow() -> None:
    rig = Scaled()
    rig.give(1)
    rig.link.set_availability(Availability.QUIET, rig.now)
    rig.turn(wanted=9)
    rig.turn()
    assert (rig.asked, rig.children.size) == (0, 1)


@source_only
def test_a_task_that_is_about_to_get_the_worker_that_has_just_answered_keeps_it_busy() -> None:
    rig = Scaled()
    rig.give(1)
    rig.give(2)
    rig.now += scaling.LOOK_S
    rig.say("worker", Done((((1).to_bytes(16), 1, TaskEnd.SUCCEEDED, b"", 1_000_000),)))
    assert rig.asked == 1


@source_only
def test_a_node_with_a_worker_more_than_there_are_to_be_asks_as_well() -> None:
    rig = Scaled()
    rig.come("from many at once to one at a time")
    rig.give(1)
    rig.give(2)
    rig.turn()
    assert rig.asked == 1


@source_only
def test_a_worker_that_never_is_ready_goes_and_not_the_one_that_serves() -> None:
    rig = Scaled()
    rig.give(1)
    rig.turn(wanted=1)
    assert rig.children.size == 2
    rig.say("worker", Done((((1).to_bytes(16), 1, TaskEnd.SUCCEEDED, b"", 1_000_000),)))
    for _ in range(4):
        rig.now += scaling.KEPT_S
        rig.turn()
    assert rig.link.slots.serving == 1
    assert (rig.children.size, rig.reactor.scaling.size) == (1, 1)
    assert rig.children.dismissed == []


@source_only
def test_workers_that_had_long_nothing_to_do_leave_one_at_a_time_and_the_busy_ones_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Scaled()
    rig.give(1)
    rig.turn(wanted=1)
    rig.come("second")
    rig.give(2)
    rig.turn(wanted=2)
    for name in ("third", "fourth"):
        rig.come(name)
    assert rig.children.size == 4
    with caplog.at_level(logging.INFO, "paceline.node"):
        rig.now += scaling.KEPT_S
        rig.turn()
        rig.now += scaling.KEPT_S / 2
        for _ in range(4):
            rig.turn()
    assert rig.children.dismissed == [b"third", b"fourth"]
    assert (rig.children.size, rig.reactor.scaling.size) == (2, 2)
    assert caplog.messages[0] == f"worker {b'third'.hex()} is ended, as there was nothing to do for it"
    assert set(rig.link.slots.workers) == {b"worker", b"second"}
