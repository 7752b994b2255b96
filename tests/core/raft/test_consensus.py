"""What the shell around the consensus core may rely on, one claim per test. Whole stories are in tests/scenarios."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf

import msgpack  # type: ignore[import-untyped]
import pytest

from paceline.core.raft import replication as progress
from paceline.core.raft import snapshot_transfer as transfer
from paceline.core.raft.consensus import (
    Consensus,
    Entry,
    HardState,
    Log,
    Persist,
    Ready,
    Role,
    Snapshot,
    Timing,
)
from paceline.core.raft.replication import PeerState
from paceline_protocol.codec import encode_config
from paceline_protocol.errors import MalformedFrame, PeerViolation
from paceline_protocol.messages.consensus import (
    Append,
    AppendResponse,
    Config,
    Confirm,
    Confirmed,
    EntryKind,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

ABC = Config(("a", "b", "c"))
HEARTBEAT_S = Timing().heartbeat_interval_s


def member(config: Config = ABC, hard_state: HardState = HardState(1), log: Log | None = None) -> Consensus:  # noqa: B008
    """Node a of a cluster that formed earlier, long enough ago that it owes nobody a lease."""
    core = Consensus(
        "a",
        timing=Timing(),
        random=random.Random(1),
        now=-1.0,
        hard_state=hard_state,
        log=log if log is not None else Log(1, 1),
        config=config,
    )
    core.tick(-0.99)
    return core


def run(core: Consensus) -> Ready:
    """Do what the shell does with one Ready, its write included."""
    ready = core.take_ready()
    if ready.persist is not None:
        core.persisted(ready.persist.seq)
    return ready


def elected(config: Config = ABC, log: Log | None = None) -> Consensus:
    core = member(config, log=log)
    core.campaign(0.0)
    run(core)
    core.step("b", VoteResponse(core.term + 1, True, True), 0.0)
    run(core)
    core.step("b", VoteResponse(core.term, True, False), 0.0)
    assert core.is_leader
    return core


def replicating(config: Config = ABC) -> Consensus:
    """A leader whose peers have everything."""
    core = elected(config)
    run(core)
    for peer in ("b", "c"):
        core.step(peer, AppendResponse(core.term, True, core.log.last_index), 0.0)
    run(core)
    return core


def answer_questions(core: Consensus, peer: str, now: float) -> None:
    """That the peer follows, to whatever it was asked."""
    for to, message in run(core).send_now:
        if to == peer and isinstance(message, Confirm):
            core.step(peer, Confirmed(message.term, message.number), now)


def test_a_node_without_a_configuration_only_listens() -> None:
    core = Consensus("a", timing=Timing(), random=random.Random(1), now=0.0)
    assert core.next_deadline() == inf
    core.tick(100.0)
    core.campaign(100.0)
    assert core.role is Role.FOLLOWER
    assert not core.take_ready()


def test_only_a_node_without_a_log_forms_a_cluster() -> None:
    with pytest.raises(ValueError, match="without a log"):
        member().bootstrap(0.0)


def test_a_node_forms_its_cluster_again_after_a_crash_that_left_only_its_term() -> None:
    core = Consensus("a", timing=Timing(), random=random.Random(1), now=0.0, hard_state=HardState(2, "a"))
    core.bootstrap(0.0)
    run(core)
    run(core)
    assert (core.is_leader, core.term, core.commit_index) == (True, 3, 2)


def test_a_vote_is_sent_only_after_its_write() -> None:
    core = member()
    core.step("b", VoteRequest(2, 1, 1, pre=False), 0.0)
    ready = core.take_ready()
    assert ready.persist == Persist(1, HardState(2, "b"))
    assert ready.send_now == []
    assert ready.send_after == [("b", VoteResponse(2, True, False))]


def test_that_it_follows_a_node_says_once_its_term_is_written_and_does_not_wait_for_entries() -> None:
    core = member()
    core.step("b", Confirm(2, 1), 0.0)
    ready = core.take_ready()
    assert ready.persist == Persist(1, HardState(2))
    assert (ready.send_now, ready.send_after) == ([], [("b", Confirmed(2, 1))])
    core.persisted(1)
    core.step("b", Append(2, 1, 1, 1, ((2, EntryKind.ACCEPT, b"x"),)), 0.0)
    core.step("b", Confirm(2, 2), 0.0)
    ready = core.take_ready()
    assert ready.send_now == [("b", Confirmed(2, 2))]
    assert ready.send_after == [("b", AppendResponse(2, True, 2, round=1))]


def test_a_node_votes_once_in_a_term_and_repeats_that_vote() -> None:
    core = member()
    for sender in ("b", "c", "b"):
        core.step(sender, VoteRequest(2, 1, 1, pre=False), 0.0)
    assert [answer.granted for _, answer in core.take_ready().send_after if isinstance(answer, VoteResponse)] == [
        True,
        False,
        True,
    ]


def test_a_restarted_voter_holds_still_for_one_lease() -> None:
    core = Consensus("a", timing=Timing(), random=random.Random(1), now=0.0, log=Log(1, 1), config=ABC)
    core.step("b", VoteRequest(2, 1, 1, pre=False), 0.2)
    assert not core.take_ready()
    core.step("b", VoteRequest(2, 1, 1, pre=False), 0.26)
    assert core.take_ready().send_after == [("b", VoteResponse(2, True, False))]


def test_a_transfer_passes_the_lease() -> None:
    core = member()
    core.step("b", Append(2, 1, 1, 1, ()), 0.0)
    core.step("c", VoteRequest(3, 1, 1, pre=False), 0.1)
    assert core.term == 2
    core.step("c", VoteRequest(3, 1, 1, pre=False, transfer=True), 0.1)
    assert (core.term, core.hard_state.vote) == (3, "c")


def test_a_pre_vote_changes_nothing_at_the_voter() -> None:
    core = member()
    core.step("b", VoteRequest(9, 1, 1, pre=True), 0.0)
    ready = core.take_ready()
    assert ready.persist is None
    assert ready.send_after == [("b", VoteResponse(9, True, True))]


def asked(core: Consensus, now: float) -> list[tuple[str, bool]]:
    """Whom it asks for a vote when it is woken now, and whether that is a pre-vote."""
    core.tick(now)
    sent = run(core).send_after
    return [(voter, message.pre) for voter, message in sent if isinstance(message, VoteRequest)]


def test_who_stands_asks_those_that_are_silent_again_with_every_heartbeat_interval() -> None:
    core = member()
    core.campaign(0.0)
    assert asked(core, 0.0) == [("b", True), ("c", True)]
    assert core.next_deadline() == HEARTBEAT_S
    core.step("c", VoteResponse(1, False, True), 0.01)
    assert asked(core, HEARTBEAT_S - 0.01) == []
    assert asked(core, HEARTBEAT_S) == [("b", True)]
    core.step("b", VoteResponse(2, True, True), 0.06)
    assert asked(core, 0.06) == [("b", False), ("c", False)]
    assert asked(core, 0.06 + HEARTBEAT_S) == [("b", False), ("c", False)]
    assert core.term == 2


def test_nor_is_anybody_asked_again_while_its_own_disk_has_not_let_the_first_question_go() -> None:
    core = member()
    core.campaign(0.0)
    run(core)
    core.step("b", VoteResponse(2, True, True), 0.0)
    ready = core.take_ready()
    assert ready.persist is not None
    assert asked(core, HEARTBEAT_S) == []
    core.persisted(ready.persist.seq)
    assert asked(core, 2 * HEARTBEAT_S) == [("b", False), ("c", False)]


def test_a_leader_that_is_removed_has_the_voter_with_most_of_the_log_stand_at_once() -> None:
    core = elected()
    run(core)
    core.step("c", AppendResponse(core.term, True, core.log.last_index), 0.0)
    core.step("c", Confirmed(core.term, 1), 0.0)
    assert core.propose_config(Config(("b", "c")))
    removed_at = core.log.last_index
    assert core.propose(EntryKind.ACCEPT, b"1") == removed_at + 1
    run(core)
    core.step("b", AppendResponse(core.term, True, removed_at), 0.1)
    core.step("c", AppendResponse(core.term, True, removed_at + 1), 0.1)
    told = [to for to, message in run(core).send_now if isinstance(message, TimeoutNow)]
    assert (core.is_leader, told) == (False, ["c"])


@pytest.mark.parametrize("refused_in_term", [2, 3])
def test_who_lost_to_nobody_or_for_its_term_alone_stands_again_soon(refused_in_term: int) -> None:
    """The votes were split, or somebody knew a later term. Neither says that its log is too short."""
    core = member()
    core.campaign(0.0)
    run(core)
    core.step("b", VoteResponse(2, True, True), 0.0)
    run(core)
    for voter in ("b", "c"):
        core.step(voter, VoteResponse(refused_in_term, False, False), 0.0)
    assert (core.role, core.term) == (Role.FOLLOWER, refused_in_term)
    assert HEARTBEAT_S <= core.next_deadline() <= Timing().election_timeout_min_s
    core.step("c", Append(core.term, 1, 1, 1, ()), 0.01)  # but it hears who won before
    assert core.next_deadline() > Timing().election_timeout_min_s


@pytest.mark.parametrize("third_votes", [True, False])
def test_a_candidate_with_a_rival_campaigns_again_soon_though_a_third_could_still_elect_it(third_votes: bool) -> None:
    """Two of three voters campaign at once, and each waits for the vote of the third, which may be dead."""
    core = member()
    core.campaign(0.0)
    run(core)
    core.step("b", VoteResponse(2, True, True), 0.0)
    run(core)
    core.step("b", VoteResponse(2, False, False), 0.0)
    core.tick(0.9 * HEARTBEAT_S)
    assert (core.role, core.term) == (Role.CANDIDATE, 2)
    if third_votes:
        core.step("c", VoteResponse(2, True, False), 0.9 * HEARTBEAT_S)
        assert core.is_leader
    else:
        core.tick(Timing().election_timeout_min_s)
        assert (core.role, core.term) == (Role.PRE_CANDIDATE, 2)


def test_a_candidate_waits_for_its_own_slow_disk_and_does_not_stand_again() -> None:
    core = Consensus("a", timing=Timing(), random=random.Random(1), now=0.0)
    core.bootstrap(0.0)
    ready = core.take_ready()
    for now in (1.0, 2.0, 3.0):
        core.tick(now)
    assert (core.role, core.term) == (Role.CANDIDATE, 2)
    assert ready.persist is not None
    core.persisted(ready.persist.seq)
    assert core.is_leader


def test_a_stale_leader_and_a_stale_candidate_learn_the_term() -> None:
    core = member(hard_state=HardState(5))
    core.step("b", Append(4, 1, 1, 1, ()), 0.0)
    core.step("c", VoteRequest(4, 1, 1, pre=False), 0.0)
    core.step("c", AppendResponse(4, True, 1), 0.0)
    assert core.take_ready().send_after == [
        ("b", AppendResponse(5, False, 0)),
        ("c", VoteResponse(5, False, False)),
    ]


def test_a_deposed_leader_follows_the_newer_term() -> None:
    core = replicating()
    core.step("b", AppendResponse(7, False, 0), 0.1)
    assert (core.role, core.term, core.leader_id) == (Role.FOLLOWER, 7, "")


def test_of_two_leaders_of_one_term_the_second_is_refused() -> None:
    core = member()
    core.step("b", Append(2, 1, 1, 1, ()), 0.0)
    for message in (Append(2, 1, 1, 1, ()), Confirm(2, 1), TimeoutNow(2)):
        with pytest.raises(PeerViolation, match="it leads in term 2, and b does"):
            core.step("c", message, 0.0)
    assert (core.leader_id, core.role) == ("b", Role.FOLLOWER)


def test_proposals_leave_as_one_append_that_is_shared_by_the_followers() -> None:
    core = replicating()
    first = core.propose(EntryKind.ACCEPT, b"x", decoded="parsed")
    second = core.propose(EntryKind.ACCEPT, b"y")
    assert (first, second) == (3, 4)
    ready = core.take_ready()
    (to_b, for_b), (to_c, for_c) = ready.send_now
    assert (to_b, to_c) == ("b", "c")
    assert for_b is for_c
    assert isinstance(for_b, Append)
    assert for_b.entries == ((2, EntryKind.ACCEPT, b"x"), (2, EntryKind.ACCEPT, b"y"))
    assert ready.persist is not None
    assert [entry.decoded for entry in ready.persist.entries] == ["parsed", None]


def test_a_follower_can_not_propose() -> None:
    core = member()
    assert core.propose(EntryKind.ACCEPT, b"x") is None
    assert not core.propose_config(Config(("a", "b")))


def test_a_leader_counts_its_own_entry_once_it_is_durable() -> None:
    core = replicating()
    index = core.propose(EntryKind.ACCEPT, b"x")
    ready = core.take_ready()
    core.step("b", AppendResponse(core.term, True, 3), 0.0)
    assert core.commit_index == 2
    assert ready.persist is not None
    core.persisted(ready.persist.seq)
    assert core.commit_index == index
    assert [entry.data for entry in core.take_ready().committed] == [b"x"]


def test_a_quorum_of_others_is_enough() -> None:
    core = replicating()
    index = core.propose(EntryKind.ACCEPT, b"x")
    core.take_ready()
    for peer in ("b", "c"):
        core.step(peer, AppendResponse(core.term, True, 3), 0.0)
    assert core.commit_index == index


def test_late_answers_never_move_a_peer_back() -> None:
    core = replicating()
    for data in (b"x", b"y"):
        core.propose(EntryKind.ACCEPT, data)
        run(core)
    core.step("b", AppendResponse(core.term, True, 4), 0.0)
    core.step("b", AppendResponse(core.term, True, 3), 0.0)
    core.step("b", AppendResponse(core.term, False, 2, 1, 1), 0.0)
    assert core.match_of("b") == 4
    assert core.progress(0.0)["b"].state is PeerState.REPLICATE
    assert not core.take_ready().send_now


def test_an_answer_beyond_the_log_and_one_to_a_round_that_was_never_asked_are_refused() -> None:
    core = replicating()
    answers = (AppendResponse(core.term, True, 99), Confirmed(core.term, 99))
    for answer in answers:
        with pytest.raises(PeerViolation, match="99"):
            core.step("b", answer, 0.0)
    assert core.match_of("b") == 2


def test_what_is_in_flight_to_a_follower_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "IN_FLIGHT_LIMIT_APPENDS", 3)
    core = replicating()
    sent = 0
    for _ in range(10):
        core.propose(EntryKind.ACCEPT, b"x")
        sent += sum(to == "b" for to, _ in run(core).send_now)
    assert sent == 3
    core.step("b", AppendResponse(core.term, True, 5), 0.0)
    batches = [message for to, message in run(core).send_now if to == "b" and isinstance(message, Append)]
    assert [len(batch.entries) for batch in batches] == [7]


def test_batches_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "APPEND_LIMIT_BYTES", 250)
    core = replicating()
    for _ in range(5):
        core.propose(EntryKind.ACCEPT, b"x" * 84)
    batches = [message for to, message in run(core).send_now if to == "b" and isinstance(message, Append)]
    assert [len(batch.entries) for batch in batches] == [2, 2, 1]


def test_a_silent_peer_is_sent_nothing_but_heartbeats() -> None:
    core = replicating()
    now = 0.0
    while now < 1.0:
        now += HEARTBEAT_S
        core.step("b", AppendResponse(core.term, True, 2), now)
        core.tick(now)
        answer_questions(core, "b", now)
    assert core.progress(now)["c"].state is PeerState.PROBE
    assert not core.progress(now)["c"].recently_active
    core.propose(EntryKind.ACCEPT, b"x")
    assert [to for to, _ in run(core).send_now] == ["b"]


def test_a_peer_counts_as_heard_since_it_was_asked_and_only_if_it_writes_too() -> None:
    core = replicating()

    def heard_at() -> float:
        return core.progress(0.2)["b"].heard_at

    core.tick(0.1)
    core.step("b", Confirmed(core.term, 2), 0.2)
    assert heard_at() == 0.0, "its disk hangs"
    core.step("b", AppendResponse(core.term, True, 2), 0.2)
    assert heard_at() == 0.1, "and not when the answer came"
    core.step("b", Confirmed(core.term, 1), 0.2)
    assert heard_at() == 0.1


def test_a_leader_wakes_in_time_for_its_heartbeat_and_for_the_end_of_its_lease() -> None:
    core = replicating()
    assert core.next_deadline() == pytest.approx(HEARTBEAT_S)
    core.tick(0.24)
    assert core.has_quorum_lease(0.24)
    assert not core.has_quorum_lease(0.25)
    assert core.next_deadline() == pytest.approx(0.25)
    core.tick(core.next_deadline())
    assert core.role is Role.FOLLOWER


def test_a_leader_whose_election_lasted_longer_than_a_lease_has_time_to_ask_its_voters() -> None:
    core = member(Config(("a", "b", "c", "d", "e")))
    core.campaign(0.0)
    run(core)
    for peer in ("b", "c"):
        core.step(peer, VoteResponse(core.term + 1, True, True), 0.0)
    run(core)
    core.step("b", VoteResponse(core.term, True, False), 0.0)
    core.tick(0.26)
    core.step("c", VoteResponse(core.term, True, False), 0.3)
    assert core.is_leader
    assert not core.has_quorum_lease(0.3)
    core.tick(0.3)
    assert core.is_leader
    assert core.next_deadline() > 0.3
    for peer in ("b", "c"):
        core.step(peer, Confirmed(core.term, 1), 0.35)
    core.tick(0.35)
    assert core.has_quorum_lease(0.5)
    core.tick(0.551)
    assert core.role is Role.FOLLOWER, "nobody has answered since"


def test_a_sole_voter_always_holds_the_lease() -> None:
    core = member(Config(("a",)))
    core.tick(0.0)
    run(core)
    assert core.has_quorum_lease(1e9)
    run(core)
    assert core.has_committed_in_term


def test_a_conflicting_append_cuts_the_disk_too() -> None:
    log = Log(1, 1, [Entry(2, 1, EntryKind.ACCEPT, b"old"), Entry(3, 1, EntryKind.ACCEPT, b"old")])
    core = member(hard_state=HardState(1), log=log)
    core.step("b", Append(2, 1, 1, 1, ((2, EntryKind.NOOP, b""),)), 0.0)
    ready = core.take_ready()
    assert ready.persist is not None
    assert ready.persist.truncate_from == 2
    assert [(entry.index, entry.term) for entry in ready.persist.entries] == [(2, 2)]
    assert ready.send_after == [("b", AppendResponse(2, True, 2))]


def test_an_old_append_that_comes_late_cuts_nothing() -> None:
    core = member()
    batch = ((2, int(EntryKind.NOOP), b""), (2, int(EntryKind.ACCEPT), b"x"), (2, int(EntryKind.ACCEPT), b"y"))
    core.step("b", Append(2, 1, 1, 1, batch), 0.0)
    run(core)
    core.step("b", Append(2, 1, 1, 2, batch[:1]), 0.0)
    assert core.log.last_index == 4
    assert core.take_ready().persist is None


def test_an_append_that_would_cut_below_the_commit_index_is_refused_with_its_term() -> None:
    core = member()
    core.step("b", Append(2, 1, 1, 2, ((2, EntryKind.NOOP, b""),)), 0.0)
    with pytest.raises(PeerViolation, match="another entry 2, and 2 is committed here"):
        core.step("c", Append(3, 1, 1, 2, ((3, EntryKind.NOOP, b""),)), 0.0)
    assert (core.term, core.log.last_index, core.log.last_term) == (2, 2, 2)


def test_a_restart_finds_the_configuration_in_the_log() -> None:
    two = Config(("a", "b"))
    log = Log(1, 1, [Entry(2, 1, EntryKind.CONFIG, encode_config(two))])
    core = member(log=log)
    assert core.config == two
    assert not core.config_committed


def test_a_leader_asks_for_one_snapshot_and_sends_it_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SNAPSHOT_CHUNK_BYTES", 4)
    core = elected()
    core.step("c", AppendResponse(core.term, True, 2), 0.0)
    run(core)
    core.step("c", AppendResponse(core.term, True, 2), 0.0)
    run(core)
    core.compact(core.applied_index)
    run(core)
    core.step("b", AppendResponse(core.term, False, 2, 0, 0), 0.0)
    assert core.take_ready().snapshots_wanted == ["b"]
    assert core.take_ready().snapshots_wanted == []
    core.snapshot_for("b", core.snapshot(b"123456"))
    offsets = []
    for wanted in (4, 4, 6):
        offsets += [chunk.offset for _, chunk in core.take_ready().send_now if isinstance(chunk, SnapshotChunk)]
        core.step("b", SnapshotResponse(core.term, 2, wanted), 0.0)
    assert offsets == [0, 4]
    assert core.match_of("b") == 2
    assert core.progress(0.0)["b"].state is PeerState.REPLICATE


def chunk_of(data: bytes, offset: int, length: int, term: int = 2, index: int = 9) -> SnapshotChunk:
    return SnapshotChunk(term, index, 2, encode_config(ABC), offset, len(data), data[offset : offset + length])


def wanted(core: Consensus) -> list[int]:
    return [answer.offset for _, answer in run(core).send_after if isinstance(answer, SnapshotResponse)]


def test_a_snapshot_is_installed_once_all_of_it_came() -> None:
    core = member()
    core.step("b", chunk_of(b"abcdef", 0, 4), 0.0)
    core.step("b", chunk_of(b"abcdef", 4, 2), 0.0)
    ready = core.take_ready()
    assert ready.snapshot is not None
    assert replace(ready.snapshot, data=ready.snapshot.data[:]) == Snapshot(9, 2, ABC, b"abcdef")
    assert ready.persist is not None
    assert ready.persist.snapshot is ready.snapshot
    assert (core.log.last_index, core.commit_index, core.applied_index) == (9, 9, 9)
    assert [answer for _, answer in ready.send_after] == [SnapshotResponse(2, 9, 4), SnapshotResponse(2, 9, 6)]


def test_chunks_that_are_doubled_late_or_of_another_snapshot_spoil_nothing() -> None:
    core = member()
    data, other = b"abcdef", b"012345"
    core.step("b", chunk_of(data, 0, 2), 0.0)
    core.step("b", chunk_of(data, 0, 2), 0.0)
    core.step("b", chunk_of(data, 4, 2), 0.0)
    core.step("b", chunk_of(other, 2, 2, index=8), 0.0)
    assert wanted(core) == [2, 2, 2, 0]
    core.step("b", chunk_of(data, 2, 2), 0.0)
    core.step("b", chunk_of(data, 4, 2), 0.0)
    ready = run(core)
    assert ready.snapshot is not None
    assert ready.snapshot.data[:] == data


def test_a_chunk_of_what_is_committed_here_is_answered_as_installed() -> None:
    core = member()
    core.step("b", chunk_of(b"abcdef", 0, 2, index=1), 0.0)
    assert wanted(core) == [6]
    assert core.take_ready().snapshot is None


def test_a_configuration_that_can_not_be_read_never_gets_into_the_log() -> None:
    """A node that dropped the frame and kept the entry could not be started again."""
    follower = Consensus("b", timing=Timing(), random=random.Random(1), now=0.0)
    good = (1, int(EntryKind.CONFIG), encode_config(Config(("a",), ("b",))))
    bad = (1, int(EntryKind.CONFIG), msgpack.packb([["a"], ["b"], [], 0, 2**63]))
    for _ in range(2):  # the leader sends it again
        with pytest.raises(MalformedFrame):
            follower.step("a", Append(1, 0, 0, 0, (good, bad)), 0.1)
        assert follower.log.last_index == 0
