"""What no honest node sends is refused before anything of it counts: whatever comes, a node goes on, and can be started
again from what it has written."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest

from paceline.core.raft.configuration import check_succession
from paceline.core.raft.consensus import Consensus, Entry, HardState, Log, Timing
from paceline.core.raft.terms import TERM_STEP
from paceline.core.settings import Settings
from paceline.core.state.applied import Applied
from paceline.core.state.snapshots import restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import decode, encode, encode_calls, encode_config, encode_outcomes
from paceline_protocol.errors import PeerViolation, ProtocolError
from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages import consensus as m
from paceline_protocol.messages.consensus import Config, EntryKind
from paceline_protocol.messages.records import TaskEnd

SETTINGS = Settings(cluster_name="test")
LIMIT_BYTES = SETTINGS.snapshot_limit_bytes
ABC = Config(("a", "b", "c"))
NOOP = (2, int(EntryKind.NOOP), b"")
CALLS = encode_calls([(bytes([number]) * 16, "add", 4, b"x", None) for number in range(3)])
OUTCOMES = encode_outcomes([(b"\0" * 16, 1, int(TaskEnd.SUCCEEDED), b"y", 1)])


@dataclass
class Machine:
    """Node a of a cluster of three that formed long ago, with a table, and a disk on which everything is written."""

    hard_state: HardState = field(default_factory=lambda: HardState(2))
    snapshot: tuple[int, int, Config, bytes] = (1, 1, ABC, b"")
    entries: list[Entry] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        if not self.snapshot[3]:
            self.snapshot = (*self.snapshot[:3], snapshot_of(TaskTable()))
        self.start()

    def start(self) -> None:
        """From what is on the disk. Raises whatever a node would end with."""
        index, term, config, data = self.snapshot
        self.core = Consensus(
            "a",
            timing=Timing(),
            random=Random(1),
            now=self.now - 1.0,
            hard_state=self.hard_state,
            log=Log(index, term, [Entry(each.index, each.term, each.kind, each.data) for each in self.entries]),
            config=config,
        )
        self.table = TaskTable()
        restore(self.table, data)
        self.applied = Applied(SETTINGS, self.core, self.table, journaled=True)

    def hear(self, sender: str, message: m.ConsensusMessage) -> bool:
        """False: it was refused. What follows from it is done and written; all that leaves can be sent."""
        refused = False
        try:
            self.core.step(sender, message, self.now)
        except ProtocolError:
            refused = True
        self.settle()
        return not refused

    def settle(self) -> None:
        while ready := self.core.take_ready():
            if (persist := ready.persist) is not None:
                self.hard_state = persist.hard_state or self.hard_state
                if persist.snapshot is not None:
                    found = persist.snapshot
                    self.snapshot, self.entries = (found.index, found.term, found.config, found.data[:]), []
                if persist.truncate_from is not None:
                    self.entries = [each for each in self.entries if each.index < persist.truncate_from]
                self.entries += persist.entries
                self.core.persisted(persist.seq)
            self.applied.apply(ready.snapshot, ready.committed)
            for _, sent in [*ready.send_now, *ready.send_after]:
                assert decode(encode(sent)) == sent

    def holds(self) -> tuple[object, ...]:
        core = self.core
        return (core.hard_state, core.leader_id, core.config, core.commit_index, core.log.last_index, self.entries)


def follower() -> Machine:
    """Of b in term 2, with some entries committed and one more."""
    machine = Machine()
    entries = (NOOP, (2, int(EntryKind.ACCEPT), CALLS), (2, int(EntryKind.OUTCOME), OUTCOMES), NOOP)
    assert machine.hear("b", m.Append(2, 1, 1, 4, entries))
    assert (machine.core.commit_index, machine.core.log.last_index) == (4, 5)
    return machine


def entry(kind: int, data: bytes, term: int = 2) -> m.Append:
    return m.Append(2, 5, 2, 4, ((term, kind, data),))


def chunk(data: bytes, *, index: int = 9, term: int = 2, config: Config = ABC, total: int = -1) -> m.SnapshotChunk:
    return m.SnapshotChunk(2, index, term, encode_config(config), 0, len(data) if total < 0 else total, data)


EMPTY = snapshot_of(TaskTable())
LEVEL_2 = Config(("a", "b"), ("c",), level=2)

REFUSED = {
    "a term that no election has made": m.Append(2 + TERM_STEP + 1, 5, 2, 4, ()),
    "the top term": m.VoteRequest(MAX_INT, 5, 2, True),
    "a removal in the top term": m.Removed(MAX_INT, 1),
    "an answer of the top term": m.AppendResponse(MAX_INT, False, 0),
    "a log that ends in the term of its election": m.VoteRequest(3, 9, 3, False),
    "another term of what is committed": m.Append(2, 3, 1, 4, ()),
    "another term at the snapshot": m.Append(3, 1, 2, 4, ()),
    "entries that differ below the commit index": m.Append(3, 2, 2, 4, ((3, int(EntryKind.NOOP), b""),)),
    "entries that differ at the snapshot": m.Append(3, 0, 0, 4, ((3, 0, b""), (3, 0, b""))),
    "an entry of a lower term": entry(EntryKind.NOOP, b"", term=1),
    "an entry of a later term than its leader's": entry(EntryKind.NOOP, b"", term=3),
    "an entry of the top term": entry(EntryKind.NOOP, b"", term=MAX_INT),
    "a term before the entries that is later than their leader's": m.Append(2, 5, 3, 4, (NOOP,)),
    "an entry of an unknown kind": entry(200, b""),
    "garbage for calls": entry(EntryKind.ACCEPT, b"\xc1garbage"),
    "no calls but outcomes": entry(EntryKind.ACCEPT, OUTCOMES),
    "garbage for outcomes": entry(EntryKind.OUTCOME, b"\xc1garbage"),
    "half an id to release": entry(EntryKind.RELEASE, b"1234567"),
    "half an id of an attempt": entry(EntryKind.ATTEMPT, b"1234567"),
    "garbage for a configuration": entry(EntryKind.CONFIG, b"\xc1garbage"),
    "a configuration without voters": entry(EntryKind.CONFIG, encode_config(Config())),
    "a configuration with others": entry(EntryKind.CONFIG, encode_config(Config(("x", "y", "z")))),
    "a configuration with a nameless node": entry(EntryKind.CONFIG, encode_config(Config(("", "a", "b", "c")))),
    "a configuration with an endless name": entry(EntryKind.CONFIG, encode_config(Config(("a", "b", "c", "d" * 999)))),
    "a second leader": None,  # see below
    "an empty snapshot": chunk(b""),
    "a snapshot of garbage": chunk(b"garbage and more of it"),
    "a snapshot that is cut off": chunk(EMPTY[:-1]),
    "a snapshot whose page is longer than it": chunk(b"\xff\xff\xff\xff" + EMPTY[4:]),
    "a snapshot of a table that has forgotten what was accepted": chunk(EMPTY),
    "a snapshot of a lower term than what is committed": chunk(EMPTY, term=1),
    "a snapshot of a later term than its leader's": chunk(EMPTY, term=3),
    "a snapshot of the top entry": chunk(EMPTY, index=MAX_INT),
    "a snapshot with a configuration without voters": chunk(EMPTY, config=Config()),
    "a chunk beyond its snapshot": chunk(EMPTY, total=1),
    "a snapshot that is larger than what this node's limits allow": chunk(EMPTY, total=LIMIT_BYTES + 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_leader_sends_is_refused_and_changes_nothing(what: str) -> None:
    machine = follower()
    before, table = machine.holds(), snapshot_of(machine.table)
    message = REFUSED[what]
    assert not (machine.hear("b", message) if message is not None else machine.hear("c", m.Confirm(2, 1)))
    assert (machine.holds(), snapshot_of(machine.table)) == (before, table)
    machine.start()
    assert machine.hear("b", m.Append(2, 5, 2, 5, ((2, int(EntryKind.RELEASE), b"\0" * 16),))), "the leader goes on"
    assert machine.core.log.last_index == 6


def test_a_snapshot_that_is_whole_is_read_once_as_it_arrives_and_replaces_table_and_log_together() -> None:
    ahead = TaskTable()
    ahead.apply(EntryKind.ACCEPT, encode_calls([(bytes([number]) * 16, "add", 4, b"x", None) for number in range(9)]))
    ahead.apply(EntryKind.OUTCOME, OUTCOMES)
    data = snapshot_of(ahead)
    machine = follower()
    for start in range(0, len(data), 7):
        assert machine.core.log.last_index == 5
        part = m.SnapshotChunk(2, 9, 2, encode_config(ABC), start, len(data), data[start : start + 7])
        assert machine.hear("b", part)
    assert (machine.core.log.last_index, snapshot_of(machine.table)) == (9, data)
    machine.start()
    assert snapshot_of(machine.table) == data


def test_what_one_leader_claims_to_have_committed_is_forgotten_with_it() -> None:
    """Otherwise a node that was told nonsense once would never be ready again."""
    machine = follower()
    assert machine.hear("b", m.Append(2, 5, 2, MAX_INT, ()))
    assert machine.core.heard_commit_index == MAX_INT
    assert machine.hear("c", m.Append(3, 5, 2, 5, ()))
    assert machine.core.heard_commit_index == 5


def test_a_refused_snapshot_is_forgotten_and_the_next_one_is_taken() -> None:
    ahead = TaskTable()
    ahead.apply(EntryKind.ACCEPT, CALLS)
    ahead.apply(EntryKind.OUTCOME, OUTCOMES)
    machine = follower()
    assert not machine.hear("b", chunk(EMPTY))
    assert machine.hear("b", chunk(snapshot_of(ahead)))
    assert machine.core.log.last_index == 9


def test_how_large_a_snapshot_is_taken_follows_from_the_limits_of_the_node_and_a_larger_one_is_refused_by_name() -> (
    None
):
    machine = follower()
    large = Settings(cluster_name="test", queue_limit_bytes=8 << 30, result_limit_bytes=1 << 30)
    of_large = chunk(EMPTY[:9], total=9 << 30)
    assert 4 << 30 < LIMIT_BYTES < 9 << 30
    with pytest.raises(PeerViolation, match=f"{9 << 30} bytes, and this node takes {LIMIT_BYTES} .*--queue-limit-mib"):
        machine.core.step("b", of_large, machine.now)
    machine.applied = Applied(large, machine.core, machine.table, journaled=True)
    machine.core.step("b", of_large, machine.now)
    answers = [answer for _, answer in machine.core.take_ready().send_after if isinstance(answer, m.SnapshotResponse)]
    assert answers == [m.SnapshotResponse(2, 9, 9)], "the next byte is wanted"


def test_the_one_configuration_that_changes_many_servers_is_that_of_an_unsafe_recovery() -> None:
    check_succession(ABC, Config(("b",)))
    check_succession(ABC, Config(("z",)))  # it had been removed, and was all that was left
    check_succession(Config(), LEVEL_2)
    for config in (Config(("b",), ("c",)), Config(("a", "d", "e"))):
        with pytest.raises(ProtocolError, match="servers at once"):
            check_succession(ABC, config)
    with pytest.raises(ProtocolError, match="level 1 behind one of 2"):
        check_succession(LEVEL_2, Config(("a", "b"), ("c",)))


# --- at random ------------------------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 100, TERM_STEP, MAX_INT - 1, MAX_INT)
DATA = (b"", b"\0" * 16, b"1234567", b"\xc1", CALLS, OUTCOMES, EMPTY, encode_config(ABC), encode_config(Config(("a",))))
KINDS = (*EntryKind, 200)


def any_message(random: Random, near: int, now_in: int) -> m.ConsensusMessage:
    """Any fields: often small numbers near what the node has, sometimes the ends of what a frame can say."""

    def number() -> int:
        return random.choice(NUMBERS) if random.random() < 0.3 else max(0, near + random.randint(-3, 3))

    def flag() -> bool:
        return random.random() < 0.5

    def term() -> int:
        return random.choice(NUMBERS) if random.random() < 0.1 else max(0, now_in + random.randint(-2, 2))

    def entries() -> tuple[m.WireEntry, ...]:
        known = random.random() < 0.5
        return tuple(
            (term(), int(EntryKind.ACCEPT), CALLS)
            if known
            else (term(), int(random.choice(KINDS)), random.choice(DATA))
            for _ in range(random.randint(0, 3))
        )

    data = random.choice(DATA)
    return random.choice(
        (
            lambda: m.VoteRequest(term(), number(), term(), flag(), flag()),
            lambda: m.VoteResponse(term(), flag(), flag()),
            lambda: m.Append(term(), number(), term(), number(), entries()),
            lambda: m.Append(term(), near, term(), number(), entries()),
            lambda: m.AppendResponse(term(), flag(), number(), number(), term()),
            lambda: m.SnapshotChunk(term(), number(), term(), random.choice(DATA), 0, len(data), data),
            lambda: m.SnapshotChunk(term(), number(), term(), random.choice(DATA), number(), number(), data),
            lambda: m.SnapshotResponse(term(), number(), number()),
            lambda: m.TimeoutNow(term()),
            lambda: m.Removed(term(), number()),
            lambda: m.Confirm(term(), number()),
            lambda: m.Confirmed(term(), number()),
        )
    )()


@pytest.mark.parametrize("seed", range(40))
def test_no_message_leads_to_a_violation_of_our_own_and_the_node_can_always_be_started_again(seed: int) -> None:
    random = Random(seed)
    machine = follower()
    heard = [0, 0]
    for _ in range(400):
        core = machine.core
        action = random.random()
        if action < 0.1:
            machine.now += random.choice((0.01, 0.3, 0.6))
            core.tick(machine.now)
        elif action < 0.15:
            core.propose(EntryKind.ACCEPT, CALLS)
        elif action < 0.17 and core.log.snapshot_index < core.applied_index:
            core.compact(core.applied_index)
        elif action < 0.2:
            machine.start()
        else:
            near = random.choice((core.log.last_index, core.commit_index, core.log.snapshot_index, core.term))
            heard[machine.hear(random.choice("bc"), any_message(random, near, core.term))] += 1
            continue
        machine.settle()
    assert min(heard) > 20, "some are refused, and some are not"
