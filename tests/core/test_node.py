"""A whole node: who leads, who may ask for what, and the stories in tests/scenarios/node."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from math import inf
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from core.cluster_stories import formed
from core.node_scenarios import NodeScenario, run_file
from paceline.core.clients.sessions import ITEMS_PER_UPDATE
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.reports.questions import QUESTIONS
from paceline.core.reports.status import status
from paceline.core.settings import Settings
from paceline_protocol.codec import encode, encode_calls, encode_failed_attempt
from paceline_protocol.errors import ProtocolError
from paceline_protocol.limits import MAX_INT, MAX_REQUEST_TASKS
from paceline_protocol.messages.client import (
    Cancel,
    ClientReply,
    Hello,
    Ping,
    Pong,
    Postponed,
    Redirect,
    Refusal,
    StatusReply,
    StatusRequest,
    Submit,
    Update,
    Wait,
    Welcome,
)
from paceline_protocol.messages.membership import Consent, ConsentReceived, Envelope, MembershipMessage, PeerHello
from paceline_protocol.messages.message import Sender, sent_by
from paceline_protocol.messages.records import MAY_RETRY, TaskEnd
from paceline_protocol.messages.work import Dispatch, NodeOutcomes, WorkMessage
from paceline_protocol.payload import pack_error, unpack_value

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios" / "node").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_prints_what_its_file_says(path: Path) -> None:
    printed = run_file(path)
    if os.environ.get("PACELINE_REWRITE") == "1":
        path.write_text(printed)
    assert printed == path.read_text()


def blank(**limits: int) -> NodeCore:
    return NodeCore(
        Settings(cluster_name="test", **limits),  # type: ignore[arg-type]
        Identity("a", incarnation=1),
        address="a:1",
        spare_cluster_id="cluster-a",
        random=Random(1),
        now=0.0,
        questions=QUESTIONS,
    )


def turn(node: NodeCore, now: float) -> list[object]:
    """Wake the node, complete its writes, and return what clients are told."""
    replies: list[object] = []
    node.tick(now)
    for _ in range(10):
        effects = node.take_effects(now)
        replies += [reply for _, reply in effects.to_clients]
        if effects.persist is not None:
            node.persisted(effects.persist.seq)
    return replies


def leading(**limits: int) -> NodeCore:
    node = blank(**limits)
    turn(node, 0.0)
    turn(node, 0.0)
    assert node.leader is not None
    return node


def hello(cluster_name: str = "test", address: str = "b:1") -> PeerHello:
    return PeerHello(address, cluster_name, 1, "", 0, (), True)


def test_there_is_a_handler_for_whatever_a_client_or_a_peer_may_say() -> None:
    node = blank()
    assert {Hello, *node.clients._questions, *node.clients._in_session} == sent_by(Sender.OPERATOR)
    assert {*node._peers._of_membership} == set(get_args(MembershipMessage))
    assert {*node._work._at_node, *node._work._at_leader} == set(get_args(WorkMessage))


def test_a_node_that_does_not_lead_says_so_and_keeps_nothing() -> None:
    node = blank(expect=3)
    for message in (Submit(1, 0, b""), Ping(0)):
        node.on_client(b"c", message, 0.0)
    assert turn(node, 0.0) == [Redirect(0, "", "")] * 2
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    (welcome,) = turn(node, 0.0)
    assert isinstance(welcome, Welcome)
    assert (welcome.cluster_id, welcome.leader_id) == ("", "")


def test_a_client_that_never_said_hello_is_sent_to_the_leader_even_by_the_leader() -> None:
    node = leading()
    node.on_client(b"c", Ping(0), 0.0)
    (redirect,) = turn(node, 0.0)
    assert isinstance(redirect, Redirect)
    assert redirect.leader_address == "a:1"
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    node.on_client(b"c", Ping(0), 0.0)
    assert isinstance(turn(node, 0.0)[-1], Pong)


@pytest.mark.parametrize(
    "calls",
    [b"\xc1", encode_calls([(b"%016d" % number, "add", 4, b"", None) for number in range(MAX_REQUEST_TASKS + 1)])],
    ids=["no calls", "too many"],
)
def test_calls_that_are_malformed_or_too_many_are_refused_together(calls: bytes) -> None:
    node = leading()
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    turn(node, 0.0)
    with pytest.raises(ProtocolError):
        node.on_client(b"c", Submit(1, 0, calls), 0.0)
    assert turn(node, 0.0) == []
    assert node.leader_link.slots.tally.refused[Refusal.BAD_REQUEST] == 1
    assert not node.table.tasks


@pytest.mark.parametrize(
    "message",
    [
        Submit(1, 1, encode_calls([(b"i" * 16, "add", 4, b"", None)])),
        Wait(1, (b"i" * 16,)),
        Ping(1),
    ],
    ids=["Submit", "Wait", "Ping"],
)
def test_what_ends_a_session_by_what_it_acknowledges_does_nothing_else_and_sends_its_client_to_another(
    message: Submit | Wait | Ping,
) -> None:
    node = leading()
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    turn(node, 0.0)
    assert node.leader is not None
    session = node.leader.sessions.by_key[b"c"]
    node.leader.sessions.add_result(session, b"o" * 16, TaskEnd.SUCCEEDED, b"")
    (update,) = turn(node, 0.0)
    assert isinstance(update, Update)
    session.is_cut_off = True  # more than its client has read waited for it, and it has what was sent before
    node.on_client(b"c", message, 0.0)
    assert [type(reply) for reply in turn(node, 0.0)] == [Redirect]
    assert not node.leader.sessions.by_key
    assert not node.leader.tasks.live


def refused_by(replies: Iterable[ClientReply]) -> list[list[bytes]]:
    """The ids that each Update refuses."""
    return [[refused[0] for refused in reply.refused] for reply in replies if isinstance(reply, Update)]


def test_what_one_turn_does_not_send_leaves_in_the_next_without_another_word_of_anybody() -> None:
    node = leading()
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    turn(node, 0.0)
    unknown = [b"%016d" % number for number in range(2 * ITEMS_PER_UPDATE + 1)]
    for start in range(0, len(unknown), MAX_REQUEST_TASKS):
        node.on_client(b"c", Wait(0, tuple(unknown[start : start + MAX_REQUEST_TASKS])), 0.0)
    told = []
    while not told or node.next_deadline() == -inf:
        node.tick(0.0)
        told += refused_by([reply for _, reply in node.take_urgent(0.0)[2]])
        while node.effects_due(0.0):
            told += refused_by([reply for _, reply in node.take_effects(0.0).to_clients])
    assert list(map(len, told)) == [ITEMS_PER_UPDATE, ITEMS_PER_UPDATE, 1]
    assert list(chain.from_iterable(told)) == unknown


def test_a_wait_is_answered_with_those_of_its_tasks_that_wait_to_be_tried_again_and_with_nothing_of_others() -> None:
    """The one that has failed, and neither the one that waits for its moment nor one that is not known."""
    node, now = leading(), 0.0
    failed, early, unknown = (letter * 16 for letter in (b"f", b"e", b"u"))
    node.on_worker_ready(b"w", ("add",))
    node.on_client(b"c", Hello(b"c" * 16, ""), now)
    asked = [(failed, {"retries": 1, "backoff": 3_600_000, "backoff_max": 3_600_000, "jitter": 1})]
    asked += [(early, {"not_before": -3_600_000})]
    node.on_client(b"c", Submit(1, 0, encode_calls([(task_id, "add", 4, b"", ask) for task_id, ask in asked])), now)
    turn(node, now)

    def postponed(key: bytes) -> list[ClientReply]:
        node.on_client(key, Hello(key * 16, ""), now)
        node.on_client(key, Wait(0, (failed, failed, early, unknown)), now)
        node.tick(now)
        replies = node.take_urgent(now)[2] + node.take_effects(now).to_clients
        assert {to for to, _ in replies} == {key}
        assert refused_by([reply for _, reply in replies]) == [[unknown]], "it is told that as ever"
        return [reply for _, reply in replies if isinstance(reply, Postponed)]

    assert postponed(b"c") == [], "it runs"
    packed = encode_failed_attempt(("ValueError: no", 0, int(TaskEnd.FAILED), pack_error(ValueError("no"), "")))
    node.on_worker_done(b"w", ((failed, 1, MAY_RETRY, packed, 1),), now)
    turn(node, now)
    now = 600.0
    assert postponed(b"c") == [Postponed(((failed, 3_000_000),))]
    assert postponed(b"d") == [Postponed(((failed, 3_000_000),))], "whoever asks is told"
    node.on_client(b"d", Cancel(1, (failed,)), now)
    turn(node, now)
    node.on_client(b"d", Wait(0, (failed,)), now)
    assert not [reply for reply in turn(node, now) if isinstance(reply, Postponed)], "it has ended"


def test_a_wait_for_many_tasks_that_wait_is_answered_in_one_frame_of_less_than_twice_its_size() -> None:
    """So a flood of them is bounded as any answers that a client does not read are (``runtime/unsent.py``)."""
    ids = tuple(b"%016d" % number for number in range(MAX_REQUEST_TASKS))
    asked, told = encode(Wait(0, ids)), encode(Postponed(tuple((task_id, MAX_INT) for task_id in ids)))
    assert len(told) < 2 * len(asked)
    with pytest.raises(ProtocolError):
        encode(Wait(0, (*ids, b"o" * 16)))


def test_a_deposed_leader_sends_nobody_to_itself() -> None:
    node = leading()
    node.consensus._become_follower(node.consensus.term, "")
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    node.take_effects(0.0)
    node.on_client(b"c", Ping(0), 0.0)
    (redirect,) = [reply for _, reply in node.take_effects(0.0).to_clients]
    assert isinstance(redirect, Redirect)
    assert redirect.leader_id == ""


def test_any_node_tells_its_status() -> None:
    node = blank(expect=3)
    node.on_client_described(b"c", "a client", (("kind", "bridge"),), 0.0)
    node.on_client(b"c", StatusRequest(5), 0.0)
    (reply,) = turn(node, 0.0)
    assert isinstance(reply, StatusReply)
    assert reply.request == 5
    assert unpack_value(reply.body)["clients"] == [{"kind": "bridge"}]
    assert unpack_value(reply.body)["tasks"] is None, "it does not lead"
    node.on_client_gone(b"c")
    assert status(node, 0.0)["clients"] == []


def test_a_client_that_asks_for_the_status_alone_keeps_its_session() -> None:
    node = leading()
    assert node.leader is not None
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    node.on_client(b"c", StatusRequest(1), 50.0)
    assert node.leader.sessions.by_key[b"c"].heard_at == 50.0


def test_a_blank_node_joins_the_cluster_of_a_peer_of_its_name_and_of_no_other() -> None:
    node = blank(expect=3)
    node.on_peer(Envelope("other", "x", 1, ""), [hello("another name")], 0.0)
    assert (node.identity.cluster_id, node.peering.directory.peers) == ("", {})
    node.on_peer(Envelope("cluster-b", "b", 1, ""), [hello()], 0.0)
    assert node.identity.cluster_id == "cluster-b"
    assert node.take_effects(0.0).identity_changed


def test_a_node_that_was_pointed_at_others_joins_who_answers_it_or_is_known_and_nobody_who_only_says_hello() -> None:
    greeting = PeerHello("b:1", "test", 1, "", 0, (("c", "c:1"),), False)
    node = blank(expect=0, pointed=True)
    node.on_peer(Envelope("cluster-b", "b", 1, ""), [greeting], 0.0)
    assert (node.identity.cluster_id, node.peering.directory.peers, node.peering.directory.addresses) == ("", {}, {})
    node.on_peer(Envelope("cluster-b", "b", 1, ""), [hello()], 0.0)  # which is an answer
    assert node.identity.cluster_id == "cluster-b"

    node = blank(expect=0, pointed=True)
    node.on_peer(Envelope("", "b", 1, ""), [hello()], 0.0)  # it is blank too, and forms its cluster then
    node.on_peer(Envelope("cluster-b", "b", 1, ""), [greeting], 0.0)
    assert node.identity.cluster_id == "cluster-b"


def test_what_waits_for_others_is_handed_out_when_its_window_is_over() -> None:
    node = leading()
    node.on_worker_ready(b"w", ("embed",))
    node.on_client(b"c", Hello(b"c" * 16, ""), 0.0)
    turn(node, 0.0)
    options = {"batch": 8, "batch_window": 500}
    node.on_client(b"c", Submit(1, 0, encode_calls([(b"i" * 16, "embed", 4, b"", options)])), 1.0)
    turn(node, 1.0)
    assert node.next_deadline() <= 1.5
    given: list[object] = []
    now = 1.0
    while not given and now < 3.0:
        now = max(now, node.next_deadline())
        node.tick(now)
        effects = node.take_effects(now)
        given += effects.to_workers
        if effects.persist is not None:
            node.persisted(effects.persist.seq)
    assert (now, len(given)) == (1.5, 1)


def test_another_cluster_of_the_same_name_is_reported_once_and_never_joined() -> None:
    node = leading()
    for _ in range(2):
        node.on_peer(Envelope("cluster-b", "b", 1, ""), [hello()], 0.0)
    warnings = [notice.text for notice in node.take_effects(0.0).notices if notice.level == "warning"]
    assert len(warnings) == 1
    assert "another cluster named 'test'" in warnings[0]
    assert node.identity.cluster_id == "cluster-a"


def test_work_from_outside_the_cluster_or_for_another_node_is_not_taken() -> None:
    node = leading()
    node.on_worker_ready(b"w", ("add",))
    work = [Dispatch(99, 1, ((b"i" * 16, 1, "add", b"", None),))]
    node.on_peer(Envelope("cluster-b", "b", 1, "a"), work, 0.0)
    node.on_peer(Envelope("cluster-a", "b", 1, "c"), work, 0.0)
    assert node.take_effects(0.0).to_workers == []
    assert node.leader_link.term < 99


def test_consents_meant_for_another_node_are_neither_taken_nor_dropped() -> None:
    """b has moved, and this node came up where b was; a's one consent, meant for b, comes here first."""
    node = blank(expect=2)
    node.on_peer(Envelope("", "c", 1, "b"), [Consent(("c",))], 0.0)
    assert (node.identity.consents, node.identity.cluster_id) == (frozenset("a"), "")
    assert node.take_effects(0.0).to_peers == [], "and whoever sent them is told nothing"
    node.identity.handed_to = "0"
    node.on_peer(Envelope("", "0", 1, "b"), [ConsentReceived(("a",))], 0.0)
    assert node.identity.consents == frozenset("a")
    node.on_peer(Envelope("", "0", 1, "a"), [ConsentReceived(("a",))], 0.0)
    assert node.identity.consents == frozenset()


def test_malformed_outcomes_of_a_node_are_reported_and_survived() -> None:
    node = leading()
    assert node.leader is not None
    node.leader.nodes.beat(["b"], 0.0)
    node.leader.nodes.by_id["b"].enrolled = True
    node.on_peer(Envelope("cluster-a", "b", 1, "a"), [NodeOutcomes(node.leader.term, 1, b"\xc1")], 0.0)
    assert [notice.level for notice in node.take_effects(0.0).notices][-1] == "error"


def test_a_learner_under_load_is_promoted_although_it_is_always_a_little_behind() -> None:
    story = NodeScenario()
    story.run("start a\nuntil a leads\nstart bc expect=0\nworker a w ready add\nclient k hello a")
    for number in range(300):
        story.run(f"hold b\nhold c\nclient k submit {number}\nadvance 0.01\nwrite b\nwrite c")
    assert story._nodes["a"].consensus.config.voters == ("a", "b", "c")


def test_the_log_is_cut_once_it_is_twice_as_long_as_followers_need() -> None:
    story = NodeScenario()
    story.run("start a log_keep_entries=10\nuntil a leads\nclient k hello a")
    lengths = []
    for number in range(60):
        story.run(f"client k submit {number}\nadvance 0.01")
        log = story._nodes["a"].consensus.log
        lengths.append(log.last_index - log.first_index)
    assert 10 < max(lengths) <= 2 * 10 + 2
    assert len(story._nodes["a"].table.tasks) == 60


def former(formed: bool) -> NodeCore:
    """A node that belonged to a cluster when it crashed, with nothing in its log."""
    identity = Identity("a", 2, "cluster-a", frozenset({"a"}), formed=formed)
    return NodeCore(
        Settings(cluster_name="test"),
        identity,
        address="a:1",
        spare_cluster_id="other",
        random=Random(1),
        now=0.0,
        questions=QUESTIONS,
    )


def test_a_node_that_crashed_before_the_first_entry_was_durable_forms_its_cluster_again() -> None:
    node = former(formed=True)
    turn(node, 0.0)
    turn(node, 1.0)
    assert node.leader is not None
    assert node.identity.cluster_id == "cluster-a"


def test_a_node_that_only_joined_never_forms_that_cluster() -> None:
    node = former(formed=False)
    for now in range(20):
        turn(node, now / 2)
    assert node.leader is None
    assert not node.consensus.log.last_index


def without_its_leader(story: NodeScenario, *, just_started: bool) -> NodeCore:
    """Who leads of two voters, and has the account of the other. The third led before and may be there still."""
    story.run("cut a")
    if just_started:
        story.run("restart b\nrestart c")
    else:
        story.run("advance 6")
    end = story._now + 5.0
    while not (led := [core for core in story._nodes.values() if core.leader is not None and core.node_id != "a"]):
        assert story._now < end
        story.run("advance 0.01")
    return led[0]


def test_a_leader_that_has_just_started_waits_for_voters_that_it_has_not_heard_for_they_may_have_its_tasks() -> None:
    story = formed("abc", "voter_timeout_s=60")
    core = without_its_leader(story, just_started=True)
    leader = core.leader
    assert leader is not None
    story.run(f"advance {core.settings.recovery_grace_s / 2}")
    assert "a" not in core.peering.live_peers(story._now)
    assert leader.nodes.have_enrolled(["b", "c"])
    assert not leader.tasks.is_settled
    story.run(f"advance {core.settings.recovery_grace_s}")
    assert leader.tasks.is_settled


def test_a_leader_that_is_elected_long_after_another_voter_was_heard_last_does_not_wait_for_that() -> None:
    story = formed("abc", "voter_timeout_s=60")
    led = without_its_leader(story, just_started=False)
    story.run("advance 6")
    led.transfer_leadership(story._now)
    (other,) = {"b", "c"} - {led.node_id}
    story.run(f"until {other} leads\nadvance 0.1")
    leader = story._nodes[other].leader
    assert leader is not None
    assert story._now < leader.since + led.settings.recovery_grace_s
    assert leader.tasks.is_settled
