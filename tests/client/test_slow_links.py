"""A client whose frames take time on the wire, in virtual time: the session, one connection after the other as a pipe
each way, and at its end the leader's own table of sessions."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

import pytest

from client.session_rig import Rig, call, succeeded, task_id, welcome
from paceline.client.session.relaying import RelaySession
from paceline.client.session.session import Session, SessionState
from paceline.client.session.silence import NOTED_PINGS, PING_AFTER_BYTES, USUAL_BYTES_PER_S, Silence
from paceline.core.clients.session_table import ClientBounds, SessionTable
from paceline.errors import NoLeader
from paceline_protocol import codec
from paceline_protocol.limits import ANNOUNCED_BYTES, MAX_FRAME_BYTES, MAX_INT
from paceline_protocol.messages.client import (
    ClientReply,
    Coming,
    Hello,
    Ping,
    Pong,
    Redirect,
    StatusReply,
    StatusRequest,
    Submit,
    Wait,
    Welcome,
)
from paceline_protocol.messages.records import Options, TaskEnd
from paceline_protocol.options import NO_LOG

MIB = 1 << 20
LATENCY_S = 0.001
LARGEST_BYTES = 16 * MIB
ADDRESS = "n:1"


class Pipe:
    """What one side has sent on a connection: a frame arrives when its last byte has."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0
        self._frames: deque[tuple[float, bytes]] = deque()

    def send(self, frame: bytes, now: float) -> None:
        self._free_at = max(self._free_at, now) + len(frame) / self._bytes_per_s
        self._frames.append((self._free_at + LATENCY_S, frame))

    @property
    def next_at(self) -> float:
        return self._frames[0][0] if self._frames else float("inf")

    def take(self) -> bytes:
        return self._frames.popleft()[1]


class SlowLink:
    """A client, and its leader behind a link. The leader accepts at once, and a task ends when the test says so."""

    def __init__(self, mib_per_s: float, kind: type[Session] = Session) -> None:
        self.now = 100.0
        self.session = kind(b"c" * 16, [ADDRESS], random=random.Random(1))
        self.connections = 0
        self.submits: list[tuple[float, Submit]] = []
        self.ended: dict[bytes, bytes] = {}  # results that the cluster has
        self.ended_at: dict[bytes, float] = {}  # as the client was told
        self.is_dead = False  # the leader: it hears nothing, and says nothing
        self.term = 1
        self.status = b""  # what it says of the cluster, packed
        self.table = SessionTable(ClientBounds())
        self._bytes_per_s = mib_per_s * MIB
        self._out, self._in = Pipe(self._bytes_per_s), Pipe(self._bytes_per_s)
        self._key = b""
        self._carry_out()

    # --- the leader -------------------------------------------------------------------------------------------------

    def end(self, number: int, payload: bytes) -> None:
        """A task of this client ends."""
        self.ended[task_id(number)] = payload
        session = self.table.get(self._key)
        if session is not None:
            self.table.add_result(session, task_id(number), TaskEnd.SUCCEEDED, payload)
        self._say(())

    def _hear(self, frame: bytes) -> None:
        message = codec.decode(frame)
        if isinstance(message, Hello):
            self.table.open(self._key, message.client_id, self.now)
            self._say([Welcome("n", "c", "", self.term, "n", ADDRESS, (ADDRESS,), LARGEST_BYTES)])
            return
        if isinstance(message, StatusRequest):
            self._say([StatusReply(message.request, self.status)])
            return
        session = self.table.get(self._key)
        if session is None:  # it was cut off
            self._say([Redirect(self.term, "n", ADDRESS)])
            return
        if isinstance(message, Submit | Ping | Wait):
            self.table.acknowledge(session, message.ack, self.now)
        if isinstance(message, Submit):
            self.submits.append((self.now, message))
            ids = [each[0] for each in codec.decode_calls(message.calls)]
            self.table.add_accepted(session, message.seq, self.now)
        else:
            ids = list(message.ids) if isinstance(message, Wait) else []
        for each in ids:
            if each in self.ended:
                self.table.add_result(session, each, TaskEnd.SUCCEEDED, self.ended[each])
        self._say([Pong(self.term)] if isinstance(message, Ping) else [])

    def _say(self, replies: Iterable[ClientReply]) -> None:
        for reply in (*replies, *(update for _, update in self.table.take_updates(self.now))):
            frame = codec.encode(reply)
            if len(frame) >= ANNOUNCED_BYTES:  # as a node's reactor does
                self._in.send(codec.encode(Coming(len(frame))), self.now)
            self._in.send(frame, self.now)

    # --- the wire ---------------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        for _, frame in self.session.output.outbox:
            if frame is None:  # what is on its way is lost
                self.table.close(self._key)
                self._key = b""
                self._out, self._in = Pipe(self._bytes_per_s), Pipe(self._bytes_per_s)
                continue
            if not self._key:
                self.connections += 1
                self._key = b"%d" % self.connections
            self._out.send(frame, self.now)
        self.session.output.outbox.clear()
        for result in self.session.output.results:
            self.ended_at.setdefault(result[0], self.now)
        self.session.output.results.clear()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            due = min(self._out.next_at, self._in.next_at, self.session.next_deadline())
            if due > until:
                break
            self.now = max(self.now, due)
            key = self._key
            if self._out.next_at <= self.now:
                frame = self._out.take()
                if not self.is_dead:
                    self._hear(frame)
            elif self._in.next_at <= self.now:
                frame = self._in.take()
                if not self.is_dead:
                    self.session.received(ADDRESS, frame, self.now)
            else:
                self.session.tick(self.now)
            if self._key == key and self.table.owes and not self.is_dead:
                self._say(())
            self._carry_out()
        self.now = until

    def attach(self) -> None:
        self.session.connect(self.now)
        self._carry_out()
        self.run(0.01)
        assert self.session.state is SessionState.ATTACHED

    def submit(self, number: int, size: int = 4) -> None:
        self.session.submit(call(number, bytes(size)), self.now)
        self._carry_out()


SIZES = [(10, 16, 1), (10, 6, 1), (10, 3, 5), (10, 0.25, 50), (10, 16, 3), (12.5, 6, 1), (50, 16, 3)]


@pytest.mark.parametrize("kind", [Session, RelaySession])
@pytest.mark.parametrize(("mib_per_s", "mib", "count"), SIZES)
def test_large_calls_arrive_on_the_first_connection_and_once(
    mib_per_s: float, mib: float, count: int, kind: type[Session]
) -> None:
    link = SlowLink(mib_per_s, kind)
    link.attach()
    for number in range(1, count + 1):
        link.submit(number, int(mib * MIB))
    link.run(mib * count / mib_per_s + 0.5)
    assert all(link.session.ledger.is_accepted(task_id(number)) for number in range(1, count + 1))
    assert (link.connections, len(link.submits)) == (1, count)


@pytest.mark.parametrize("kind", [Session, RelaySession])
@pytest.mark.parametrize(("mib_per_s", "mib", "count"), SIZES)
def test_large_results_arrive_on_the_first_connection(
    mib_per_s: float, mib: float, count: int, kind: type[Session]
) -> None:
    link = SlowLink(mib_per_s, kind)
    link.attach()
    for number in range(1, count + 1):
        link.submit(number)
    link.run(5)
    begun = link.now
    for number in range(1, count + 1):
        link.end(number, bytes(int(mib * MIB)))
    link.run(mib * count / mib_per_s + count * 0.1 + 0.5)
    if kind is RelaySession:  # whose results are acknowledged as they are released: as many come as a window has
        count = min(count, -(-link.table._bounds.window_bytes // int(mib * MIB)))
    assert len(link.ended_at) == count, link.ended_at
    assert link.ended_at[task_id(1)] > begun
    assert link.connections == 1


@pytest.mark.parametrize(("mib_per_s", "mib"), [(5, 16), (1, 16), (1, 4), (1, 1), (0.2, 16), (0.2, 1)])
@pytest.mark.parametrize("is_result", [False, True])
def test_a_slower_link_is_found_out_once_and_what_is_large_arrives(
    mib_per_s: float, mib: float, is_result: bool
) -> None:
    link = SlowLink(mib_per_s)
    link.attach()
    size = int(mib * MIB)
    for number in range(1, 4):
        link.submit(number, 4 if is_result else size)
        link.run(0.5)
        if is_result:
            link.end(number, bytes(size))
        connections = link.connections
        link.run(mib / mib_per_s * 1.5 + 1.0)
        if number > 1:
            assert link.connections == connections, "it is known by now"
            assert link.session.ledger.is_accepted(task_id(number))
        else:
            link.run(60)
    assert link.connections <= 3
    assert (link.session.output.failed, link.session.failure) == ([], None)
    assert len(link.ended_at) == (3 if is_result else 0)


@pytest.mark.parametrize(
    ("mib_per_s", "count", "name_chars", "args_bytes"),
    [(0.079, 256, 42, 120), (0.1, 256, 42, 120), (0.1, 256, 200, 0), (0.15, 256, 202, 120), (0.1, 2560, 42, 100)],
)
def test_small_calls_that_are_large_together_arrive_on_a_slow_link(
    mib_per_s: float, count: int, name_chars: int, args_bytes: int
) -> None:
    """Ids, names and options take their time, too."""
    link = SlowLink(mib_per_s)
    link.attach()
    for number in range(1, count + 1):
        link.session.submit((task_id(number), "n" * name_chars, 5, bytes(args_bytes), None), link.now)
    link._carry_out()
    link.run(count * (name_chars + args_bytes + 30) / (mib_per_s * MIB) * 1.5 + 3.0)
    assert not link.session.ledger.has_unaccepted
    assert (link.session.output.failed, link.session.failure) == ([], None)
    assert link.connections <= 3


@pytest.mark.parametrize(("mib_per_s", "count", "size"), [(0.1, 1000, 31), (0.079, 1000, 0), (0.13, 1000, 31)])
def test_small_results_that_are_large_together_arrive_on_a_slow_link(mib_per_s: float, count: int, size: int) -> None:
    link = SlowLink(mib_per_s)
    link.attach()
    for number in range(1, count + 1):
        link.submit(number)
    link.run(20)
    assert not link.session.ledger.has_unaccepted
    connections = link.connections
    for number in range(1, count + 1):
        link.ended[task_id(number)] = bytes(size)
        link.table.add_result(link.table.by_key[link._key], task_id(number), TaskEnd.SUCCEEDED, bytes(size))
    link._say(())
    link.run(20)
    assert len(link.ended_at) == count
    assert link.connections - connections <= 2


@pytest.mark.parametrize(("mib_per_s", "kib"), [(1, 300), (0.5, 300), (0.25, 150), (0.1, 60), (0.079, 9)])
def test_a_large_answer_arrives_on_a_slow_link(mib_per_s: float, kib: int) -> None:
    link = SlowLink(mib_per_s)
    link.attach()
    link.submit(1)
    link.run(1)
    connections = link.connections
    link.status = bytes(kib << 10)
    asked = link.session.status(link.now)
    link._carry_out()
    link.run(10)
    assert asked in link.session.requests.replies
    assert link.connections - connections <= 2


def test_no_other_call_fails_while_a_large_one_takes_long_and_those_before_it_end_meanwhile() -> None:
    link = SlowLink(0.17)
    link.attach()
    link.submit(1)
    link.run(0.1)
    link.submit(2, LARGEST_BYTES)
    link.submit(3)
    link.run(20)
    link.end(1, b"value")
    link.run(200)
    link.end(3, b"value")
    link.run(1)
    assert (link.session.output.failed, link.session.failure) == ([], None)
    assert set(link.ended_at) == {task_id(1), task_id(3)}
    assert link.session.ledger.is_accepted(task_id(2))


def test_a_large_result_that_is_on_its_way_keeps_no_other_from_coming() -> None:
    link = SlowLink(1)
    link.attach()
    link.submit(1)
    link.submit(2)
    link.run(1)
    link.end(1, bytes(LARGEST_BYTES))
    link.end(2, b"value")
    link.run(60)
    assert set(link.ended_at) == {task_id(1), task_id(2)}


def test_what_a_client_with_many_tasks_asks_for_takes_time_too() -> None:
    """The Waits of 200,000 tasks are as long as a large call."""
    link = SlowLink(2)
    link.attach()
    for start in range(0, 200_000, 1000):
        for number in range(start, start + 1000):
            link.session.submit(call(number), link.now)
        link._carry_out()
        link.run(0.1)
    link.run(30)
    assert not link.session.ledger.has_unaccepted
    link.session.lost(ADDRESS, link.now)
    link._carry_out()
    link.ended[task_id(199_999)] = b"value"  # which the last of the Waits names
    link.run(6)
    assert set(link.ended_at) == {task_id(199_999)}
    assert link.connections <= 3


@pytest.mark.parametrize("mib", [0, 0.01, 6, 16])
@pytest.mark.parametrize("dies_after_s", [0.0, 0.2, 1.0])
def test_a_leader_that_dies_is_given_up_as_soon_as_what_is_under_way_should_have_come(
    mib: float, dies_after_s: float
) -> None:
    link = SlowLink(10)
    link.attach()
    link.submit(1)
    link.run(5)
    link.submit(2, int(mib * MIB))
    link.run(dies_after_s)
    under_way = silence_of(link).under_way_bytes
    link.is_dead = True
    died_at = link.now
    while link.session.state is SessionState.ATTACHED:
        link.run(0.01)
    assert link.now - died_at <= 0.42 + under_way / USUAL_BYTES_PER_S
    assert under_way >= MIB or link.now - died_at <= 0.43


def test_a_client_that_was_sent_something_large_finds_a_dead_leader_as_fast_as_any_afterwards() -> None:
    link = SlowLink(10)
    link.attach()
    link.submit(1)
    link.run(1)
    link.end(1, bytes(LARGEST_BYTES))
    link.run(2)
    assert task_id(1) in link.ended_at
    link.submit(2)
    link.run(1)
    link.is_dead = True
    link.run(0.42)
    assert link.session.state is SessionState.SEEKING


def silence_of(link: SlowLink | Rig) -> Silence:
    assert link.session._epoch is not None
    return link.session._epoch.silence


@pytest.mark.parametrize("options", [None, {"durability": NO_LOG}])
@pytest.mark.parametrize("is_accepted", [False, True])
def test_what_has_arrived_gives_a_leader_no_more_time(options: Options | None, is_accepted: bool) -> None:
    """A leader accepts a call once it is in the log, which may take long, and its client keeps one that it keeps out
    of the log for longer than that. A Pong says at once that it is there."""
    rig = Rig()
    rig.attach()
    for number in (1, 2):
        rig.session.submit((task_id(number), "tasks.add", 5, bytes(LARGEST_BYTES), options), rig.now)
    assert silence_of(rig).under_way_bytes > 2 * LARGEST_BYTES
    answer_pings(rig)
    assert silence_of(rig).under_way_bytes == 0
    if is_accepted:
        rig.update(1, accepted=[1, 2])
    for _ in range(20):
        rig.pass_time(0.1)
        answer_pings(rig)
    rig.pass_time(0.42)
    assert rig.session.state is SessionState.SEEKING


def test_what_was_sent_behind_a_ping_that_is_answered_may_still_be_on_its_way() -> None:
    rig = Rig()
    rig.attach()
    rig.session.submit(call(1, bytes(LARGEST_BYTES)), rig.now)
    first = sum(isinstance(message, Ping) for _, message in rig.sent())
    rig.session.submit(call(2, bytes(LARGEST_BYTES)), rig.now)
    for _ in range(first):
        rig.hear("a:1", Pong(1))
    assert LARGEST_BYTES < silence_of(rig).under_way_bytes < LARGEST_BYTES + 1024
    rig.pass_time(LARGEST_BYTES / USUAL_BYTES_PER_S + 0.3)
    assert rig.session.state is SessionState.ATTACHED
    rig.pass_time(0.2)
    assert rig.session.state is SessionState.SEEKING


def test_how_much_has_arrived_is_known_while_results_come_all_the_time() -> None:
    """No silence asks for a Ping then, and there are no Updates to acknowledge that no Submit acknowledges."""
    rig = Rig()
    rig.attach()
    for number in range(1, 1_001):
        rig.session.submit(call(number, bytes(1024)), rig.now)
        rig.update(number, results=[succeeded(number)])
        rig.now += 0.01
        answer_pings(rig)
    assert silence_of(rig).under_way_bytes <= PING_AFTER_BYTES
    rig.submit(1_001)
    rig.pass_time(0.42 + PING_AFTER_BYTES / USUAL_BYTES_PER_S)
    assert rig.session.state is SessionState.SEEKING


def test_a_leader_that_answers_no_ping_and_is_heard_all_the_same_costs_a_client_no_memory() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    silence = silence_of(rig)
    for seq in range(1, 2 * NOTED_PINGS):
        rig.update(seq)
        rig.pass_time(0.1)
    assert len(silence._noted) == NOTED_PINGS
    assert silence.under_way_bytes > 0
    pings = sum(isinstance(message, Ping) for _, message in rig.sent())
    for _ in range(pings + 10):
        rig.hear("a:1", Pong(1))
    assert (len(silence._noted), silence.under_way_bytes > 0) == (0, True), "of the last Pings nothing was noted"
    rig.session.submit(call(2, bytes(MIB)), rig.now)
    assert silence.under_way_bytes > MIB, "Pongs to nothing prove nothing"
    answer_pings(rig)
    assert silence.under_way_bytes == 0


def test_what_is_announced_is_waited_for_by_who_begins_to_wait_meanwhile_too() -> None:
    """A result may be on its way that nobody waits for any more, and what is asked for next comes behind it."""
    rig = Rig()
    rig.attach()
    rig.hear("a:1", Coming(LARGEST_BYTES))
    rig.pass_time(0.5)
    rig.submit(1)
    rig.pass_time(LARGEST_BYTES / USUAL_BYTES_PER_S)
    assert rig.session.state is SessionState.ATTACHED
    rig.update(1, results=[succeeded(7)])
    rig.pass_time(0.42)
    assert rig.session.state is SessionState.SEEKING


def answer_pings(rig: Rig) -> None:
    """The leader answers every Ping that it was sent since this was called last."""
    for address, message in rig.sent():
        if isinstance(message, Ping):
            rig.hear(address, Pong(1))


def test_a_leader_that_stands_still_for_a_while_says_nothing_of_the_link_if_nothing_large_was_under_way() -> None:
    link = SlowLink(50)
    link.attach()
    link.submit(1)
    for _ in range(5):
        link.is_dead = True
        link.run(1.2)
        link.is_dead = False
        link.run(1)
        assert link.session.state is SessionState.ATTACHED
    assert link.connections > 5
    assert link.session._link_bytes_per_s == USUAL_BYTES_PER_S


def test_more_results_than_the_leader_keeps_for_a_client_arrive_all_the_same() -> None:
    """It is cut off, and comes back for the rest."""
    link = SlowLink(10)
    link.attach()
    for number in range(1, 11):
        link.submit(number)
    link.run(1)
    for number in range(1, 11):
        link.end(number, bytes(LARGEST_BYTES))
    link.run(10 * 1.6 + 6)
    assert len(link.ended_at) == 10
    assert link.connections <= 3


def test_a_node_announces_no_more_than_a_frame_can_have() -> None:
    """Or a node that is wrong could have a client wait for ever."""
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.hear("a:1", Coming(MAX_INT))
    rig.pass_time(MAX_FRAME_BYTES / USUAL_BYTES_PER_S + 0.45)
    assert rig.session.state is SessionState.SEEKING


def test_a_leader_that_changes_while_something_large_is_under_way_says_nothing_of_the_link() -> None:
    link = SlowLink(50)
    link.attach()
    for _ in range(5):
        link.submit(1, 6 * MIB)
        link.is_dead = True
        link.run(1.2)
        link.is_dead = False
        link.term += 1
        link.run(1)
        assert link.session.state is SessionState.ATTACHED
    assert link.session._link_bytes_per_s == USUAL_BYTES_PER_S


def test_a_leader_that_welcomes_a_client_and_says_no_more_is_named_in_the_error() -> None:
    rig = Rig("a:1", failover_timeout_s=3.0)
    rig.submit(1)
    while not rig.session.output.failed:
        for address, message in rig.sent():
            if isinstance(message, Hello):
                rig.hear(address, welcome(address, address))
        rig.pass_time(0.01)
    [(_, error)] = rig.session.output.failed
    assert isinstance(error, NoLeader)
    assert "a:1 says that it leads, and then answers nothing as the leader" in str(error)


def test_a_node_that_led_is_not_named_once_nodes_say_that_nobody_does() -> None:
    rig = Rig("a:1", "b:1", failover_timeout_s=3.0)
    rig.submit(1)
    rig.attach()
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.hear("b:1", welcome("b:1"))
    rig.pass_time(3)
    [(_, error)] = rig.session.output.failed
    assert "nodes answer, but none of them leads" in str(error)
