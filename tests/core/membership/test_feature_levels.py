"""What may stand in the log while some nodes are of an older version: how the level rises, and what it keeps out."""

from __future__ import annotations

from random import Random

import pytest

from core.cluster_stories import QUICK, node, voters
from core.node_scenarios import NodeScenario
from core.scheduling.test_leader import Lead
from paceline.core.feature_levels import (
    ENTRY_KINDS,
    FEATURE_LEVEL,
    LEVELS,
    OPTIONS,
    ClusterLevel,
    NodeTooOld,
    common_level,
)
from paceline.core.node import NodeCore
from paceline.core.raft.configuration import ConfigHistory, checked_change
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import ConsensusViolation
from paceline.core.raft.timing import Timing
from paceline.core.reports.metrics import not_ready
from paceline.core.reports.status import status
from paceline_protocol.codec import decode, encode, encode_config
from paceline_protocol.messages.client import Admin, AdminOp, Refusal
from paceline_protocol.messages.consensus import Append, Config, EntryKind, SnapshotChunk
from paceline_protocol.messages.membership import Envelope

OLD, NEW = FEATURE_LEVEL, FEATURE_LEVEL + 1


def level(story: NodeScenario, node_id: str) -> int:
    return node(story, node_id).consensus.config.level


def leader_of(story: NodeScenario) -> str:
    (leader,) = [node_id for node_id, each in story._nodes.items() if each.leader is not None]
    return leader


def mixed() -> NodeScenario:
    """Two new nodes and an old one, c, that formed a cluster together."""
    story = NodeScenario()
    story.run(f"start ab expect=3 feature_level={NEW} {QUICK}\nstart c expect=3 feature_level={OLD} {QUICK}\nadvance 3")
    assert voters(story, leader_of(story)) == "abc"
    return story


def upgraded() -> NodeScenario:
    """The same once c was upgraded as well."""
    story = mixed()
    story.run(f"restart c feature_level={NEW}\nadvance 3")
    assert level(story, leader_of(story)) == NEW
    return story


def envelope_from(core: NodeCore, recipient: str) -> Envelope:
    return Envelope(core.identity.cluster_id, core.node_id, core.identity.incarnation, recipient)


def test_every_level_up_to_this_version_s_says_what_it_brought() -> None:
    assert list(LEVELS) == sorted(LEVELS)
    assert (min(LEVELS), max(LEVELS)) == (1, FEATURE_LEVEL)
    assert LEVELS.keys() >= {*ENTRY_KINDS.values(), *OPTIONS.values()}


@pytest.mark.parametrize(("levels", "common"), [({"a": 2, "b": 3}, 2), ({"a": 2}, 1), ({"a": 2, "b": 0}, 1)])
def test_a_node_that_has_not_said_what_it_understands_counts_for_the_first_level(
    levels: dict[str, int], common: int
) -> None:
    assert common_level("ab", levels) == common


# --- how it rises


def test_a_cluster_begins_at_the_level_that_all_of_its_first_nodes_understand() -> None:
    story = NodeScenario()
    story.run(f"start abc expect=3 feature_level={NEW}\nadvance 3")
    first = node(story, leader_of(story)).consensus.log.entries_to(1, 1)[0]
    assert first.data == encode_config(Config((leader_of(story),), level=NEW))
    assert level(mixed(), "a") == OLD


def test_the_level_rises_once_the_last_node_was_upgraded_and_not_before() -> None:
    story = NodeScenario()
    story.run(f"start abc expect=3 feature_level={OLD} {QUICK}\nadvance 3")
    for node_id in "abc":
        story.run("advance 5")
        assert {level(story, each) for each in "abc"} == {OLD}
        story.run(f"restart {node_id} feature_level={NEW}\nadvance 3")
    assert {level(story, each) for each in "abc"} == {NEW}
    assert voters(story, leader_of(story)) == "abc"


def test_a_node_that_only_runs_tasks_holds_the_level_down_while_it_is_heard() -> None:
    story = upgraded()
    story.run(f"start d expect=0 feature_level={NEW} {QUICK}\nadvance 3")
    for each in "abcd":
        story.run(f"restart {each} feature_level={NEW + (each != 'd')}")
    story.run("advance 6")
    assert voters(story, leader_of(story)) == "abc"
    assert level(story, leader_of(story)) == NEW
    story.run("cut d\nadvance 6")
    assert level(story, leader_of(story)) == NEW + 1


def test_a_voter_that_is_not_heard_may_come_back_as_it_was_and_holds_the_level_down() -> None:
    story = mixed()
    story.run("cut c\nadvance 5")
    assert level(story, leader_of(story)) == OLD


def test_a_node_that_was_started_anew_counts_for_the_first_level_until_it_says_what_it_understands() -> None:
    story = upgraded()
    peer = node(story, "a").peering.directory.peers["b"]
    envelope = envelope_from(node(story, "b"), "a")
    assert node(story, "a").peering.directory.heard(envelope._replace(incarnation=envelope.incarnation + 1), story._now)
    assert peer.feature_level == 0


def test_the_level_never_falls() -> None:
    with pytest.raises(ValueError, match="never falls"):
        checked_change(Config(("a",), level=2), Config(("a",), level=1))


# --- what it keeps out


def test_a_call_that_needs_a_higher_level_is_refused_with_the_option_the_level_and_the_older_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OPTIONS, "max_attempts", NEW)
    story = mixed()
    leader = leader_of(story)
    assert node(story, leader).leader is not None
    story.run(f"client k hello {leader}")
    assert "1 refused as LEVEL_TOO_LOW" in story.run("client k submit 1 max_attempts=2")
    assert "accepted 2" in story.run("client k submit 2")
    assert node(story, leader).leader_link.slots.tally.refused[Refusal.LEVEL_TOO_LOW] == 1
    assert node(story, leader).leader.admission.cluster_level.refusal_of({"max_attempts": 2}) == (  # type: ignore[union-attr]
        f"the option 'max_attempts' needs feature level {NEW}, and the cluster has {OLD}, as these nodes understand no "
        "more: c; upgrade paceline on all nodes"
    )
    story.run(f"restart c feature_level={NEW}\nadvance 3")
    leader = leader_of(story)
    story.run(f"client l hello {leader}")
    assert "accepted 1" in story.run("client l submit 3 max_attempts=2")


def test_a_leader_that_was_just_elected_knows_the_level() -> None:
    story = upgraded()
    before = leader_of(story)
    story.run(f"cut {before}\nadvance 2")
    after = next(each for each in "abc" if each != before and node(story, each).leader is not None)
    leader = node(story, after).leader
    assert leader is not None
    assert leader.admission.cluster_level.level == NEW


def test_what_is_not_above_the_level_is_not_refused() -> None:
    assert ClusterLevel(2, ("c",)).refusal(2, "it") == ClusterLevel(2).refusal_of({"trace": 1}) == ""


def test_an_entry_above_the_level_is_never_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENTRY_KINDS, EntryKind.ATTEMPT, NEW)
    story = mixed()
    leader = node(story, leader_of(story))
    last_index = leader.consensus.log.last_index
    with pytest.raises(ConsensusViolation, match=f"kind {EntryKind.ATTEMPT} was to be proposed at feature level {OLD}"):
        leader.role._propose(EntryKind.ATTEMPT, b"", None)
    assert leader.consensus.log.last_index == last_index


# --- a node that is too old


def test_a_node_that_is_too_old_neither_replicates_nor_runs_tasks_and_both_sides_say_so() -> None:
    story = NodeScenario()
    story.run(f"start ab expect=2 feature_level={NEW} {QUICK}\nadvance 3")
    leader = leader_of(story)
    printed = story.run(f"start c expect=0 feature_level={OLD} {QUICK}\nworker c w ready add\nadvance 8")
    config = node(story, leader).consensus.config
    assert (config.level, "c" in {*config.voters, *config.learners}) == (NEW, False)
    assert printed.count(f"{leader} error: node c is too old: it understands feature level {OLD}") == 1
    assert printed.count(f"c error: this node is too old for its cluster: it understands feature level {OLD}") == 1
    assert node(story, "c").leader_id(story._now) == leader, "it sends clients to the leader all the same"
    assert "c" not in node(story, leader).leader.tasks.ledgers  # type: ignore[union-attr]
    told = status(node(story, "c"), story._now)
    assert (told["feature_level"], "too old" in told["too_old"]) == (NEW, True)
    assert "too old" in " ".join(not_ready(node(story, "c"), story._now))
    told = status(node(story, leader), story._now)
    assert (told["feature_level"], told["too_old"]) == (NEW, "")
    assert {row["id"]: row["feature_level"] for row in told["nodes"]} == {"a": NEW, "b": NEW, "c": OLD}


def test_a_node_that_is_too_old_is_not_promoted() -> None:
    story = NodeScenario()
    story.run(
        f"start abd expect=3 feature_level={NEW} {QUICK}\nadvance 3\nstart c expect=0 feature_level={OLD}\nadvance 2"
    )
    leader = leader_of(story)
    story.run(f"client k hello {leader}")
    node(story, leader).on_client(b"k", Admin(1, AdminOp.PROMOTE, "c"), story._now)
    assert "AdminReply not done: node c is too old for feature level" in story.run("advance 1")
    story.run(f"restart c feature_level={NEW}\nadvance 3")
    node(story, leader).on_client(b"k", Admin(2, AdminOp.PROMOTE, "c"), story._now)
    assert "AdminReply done: node c votes" in story.run("advance 3")


def follower(level: int) -> Consensus:
    return Consensus("b", timing=Timing(), random=Random(1), now=0.0, config=Config(("a", "b")), feature_level=level)


def test_a_node_stops_before_it_acknowledges_a_level_that_it_does_not_understand() -> None:
    config = encode_config(Config(("a", "b"), level=NEW))
    for message in (
        Append(1, 0, 0, 0, ((1, EntryKind.CONFIG, config),)),
        SnapshotChunk(1, 5, 1, config, 0, 1, b"x"),
    ):
        with pytest.raises(NodeTooOld, match=f"level {NEW}, and this node understands up to {OLD}"):
            follower(OLD).step("a", message, 0.0)
        follower(NEW).step("a", message, 0.0)


def test_a_node_whose_disk_has_a_level_that_it_does_not_understand_does_not_start() -> None:
    story = upgraded()
    with pytest.raises(NodeTooOld, match=f"feature level {NEW}, and this node understands up to {OLD}"):
        story.run(f"restart b feature_level={OLD}")
    with pytest.raises(NodeTooOld):
        ConfigHistory(4, Config(("a",), level=NEW))


def test_an_entry_of_an_unknown_kind_below_the_level_that_brings_it_is_refused_and_said() -> None:
    """No leader proposes one before the configuration of that level, which stops a node that does not understand it. In
    the log it would stop the node at each start."""
    append = Append(1, 0, 0, 1, ((1, 200, b"?"),))
    assert decode(encode(append)) == append
    story = upgraded()
    old = node(story, next(each for each in "abc" if each != leader_of(story)))
    last = old.consensus.log
    leader = node(story, leader_of(story))
    append = Append(
        leader.consensus.term,
        last.last_index,
        last.last_term,
        last.last_index + 1,
        ((leader.consensus.term, 200, b"?"),),
    )
    old.on_peer(envelope_from(leader, old.node_id), [append], story._now)
    said = [notice.text for notice in old.take_effects(story._now).notices if "unknown kind 200" in notice.text]
    assert len(said) == 1
    assert (old.violations.total, old.consensus.log.last_index) == (1, append.prev_index)


def test_the_level_waits_for_the_first_voters_since_one_that_is_not_heard_may_be_older() -> None:
    story = NodeScenario()
    story.run(f"start ab expect=3 feature_level={NEW} {QUICK}\nstart c expect=3 feature_level={OLD} {QUICK}")
    while not any(each.leader for each in story._nodes.values()):
        story.run("advance 0.05")
    story.run("cut c\nadvance 5")
    assert level(story, leader_of(story)) == OLD
    story.run("join c\nadvance 5")
    assert voters(story, leader_of(story)) == "abc"
    assert level(story, leader_of(story)) == OLD


def test_a_cluster_begins_with_the_first_level_while_some_of_its_first_nodes_have_not_said_theirs() -> None:
    story = NodeScenario()
    story.run(f"start ab expect=3 feature_level={NEW} {QUICK}\nadvance 1")
    levels = node(story, "a").levels
    assert levels.to_begin_with(story._now) == 1
    story.run(f"start c expect=3 feature_level={NEW} {QUICK}\nadvance 3")
    assert levels.to_begin_with(story._now) == NEW


def test_a_call_that_needs_a_level_which_is_about_to_rise_is_asked_for_again() -> None:
    """As in the first moments of a cluster of several nodes, all of them new."""
    call = (b"i" * 16, "add", 4, b"", {"expires": 1})
    admission = Lead().leader.admission
    for is_rising, refusal in ((True, Refusal.NOT_READY), (False, Refusal.LEVEL_TOO_LOW)):
        admission.cluster_level = ClusterLevel(1, is_rising=is_rising)
        refused = admission.refusal(call, 0.0)
        assert refused is not None
        assert refused[0] == refusal
