"""A call by name alone takes the options that its nodes announce, where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import TERM, Lead, tid
from modes import source_only
from paceline.core.clients.sessions import ClientSession
from paceline.core.feature_levels import ClusterLevel
from paceline.core.scheduling import defaults
from paceline.core.scheduling.recent_names import KEPT_S
from paceline_protocol.codec import decode_calls, encode_calls, encode_defaults, encode_held
from paceline_protocol.errors import ProtocolError
from paceline_protocol.limits import MAX_DEFAULTS_BYTES
from paceline_protocol.messages.client import Refusal, Submit
from paceline_protocol.messages.records import Call, Default, Options
from paceline_protocol.messages.work import Enrol
from paceline_protocol.options import by_name
from paceline_protocol.packing import pack

FETCH: Default = ("fetch", 9, {"retries": 3, "time_limit": 60_000})


def enrol(lead: Lead, node_id: str, *announced: Default, names: tuple[str, ...] = ("fetch", "add")) -> None:
    """The node's next account, with what it announces."""
    enrol_packed(lead, node_id, encode_defaults(announced), names)


def enrol_packed(
    lead: Lead, node_id: str, packed: bytes | None, names: tuple[str, ...] = ("fetch", "add"), slots: int = 1
) -> None:
    if node_id not in lead.leader.nodes.by_id:
        lead.leader.nodes.beat([node_id], lead.now)
    version = lead.versions[node_id] = lead.versions.get(node_id, 0) + 1
    account = Enrol(TERM, version, 0, 0, slots, names, encode_held(()))
    lead.leader.nodes.on_enrol(node_id, account, lead.now, packed)


class Calls:
    """A client, which numbers its Submits."""

    def __init__(self, lead: Lead, key: bytes = b"c") -> None:
        self.lead = lead
        self.session: ClientSession = lead.client(key)
        self.seq = 0

    def submit(self, number: int, options: Options | None, name: str = "fetch", priority: int = 4) -> bytes:
        """Returns the packed call."""
        self.seq += 1
        packed = encode_calls([(tid(number), name, priority, b"x", options)])
        self.lead.leader.admission.submit(self.session, Submit(self.seq, 0, packed), self.lead.now)
        self.lead.leader.log(self.lead.now)
        return packed

    def by_name(self, number: int, name: str = "fetch", priority: int = 4, **said: Any) -> bytes:
        return self.submit(number, by_name(said), name, priority)


def logged(lead: Lead) -> Call:
    """The one call of the last entry."""
    (call,) = decode_calls(lead.entries[-1][1])
    return call


def asked(lead: Lead) -> tuple[int, Options | None]:
    """The priority and the options of the last call, as the log has them."""
    _, _, priority, _, options = logged(lead)
    return priority, options


def announced() -> tuple[Lead, Calls]:
    """A leader whose node announces options for "fetch" and none for "add"."""
    lead = Lead()
    enrol(lead, "a", FETCH)
    return lead, Calls(lead)


# --- what a call takes


def test_a_call_by_name_that_says_nothing_takes_all_that_is_announced() -> None:
    lead, calls = announced()
    calls.by_name(1)
    assert asked(lead) == (9, {"retries": 3, "time_limit": 60_000})
    task = lead.task(1)
    assert task.options is not None
    assert (task.priority, task.options.retries) == (9, 3)
    assert task.assignment[4] == {"retries": 3, "time_limit": 60_000}


def test_what_a_call_says_counts_more_and_a_0_too() -> None:
    lead, calls = announced()
    calls.by_name(1, retries=7, result_ttl=5)
    priority, options = asked(lead)
    assert options is not None
    assert (priority, options.pop("accepted") > 0) == (9, True)
    assert options == {"retries": 7, "time_limit": 60_000, "result_ttl": 5}
    calls.by_name(2, retries=0)
    assert asked(lead) == (9, {"time_limit": 60_000})
    calls.by_name(3, retries=0, time_limit=0)
    assert asked(lead) == (9, None)
    calls.by_name(4, durability=1)
    assert lead.task(4).wire_options == {"retries": 3, "time_limit": 60_000, "durability": 1}


def test_a_priority_that_is_said_counts_more_the_usual_one_too() -> None:
    lead, calls = announced()
    calls.by_name(1, priority=2)
    assert asked(lead)[0] == 2
    calls.by_name(2, priority=4)
    assert asked(lead)[0] == 9
    calls.submit(3, by_name({"priority": 1}))
    assert asked(lead) == (4, {"retries": 3, "time_limit": 60_000})


def test_a_call_that_says_all_takes_nothing() -> None:
    """Those of a task object, which has what its decorator says."""
    lead, calls = announced()
    for number, options in enumerate((None, {"max_attempts": 2}, {"retries": 1, "trace": 1}, {"durability": 1})):
        before = len(lead.entries)
        packed = calls.submit(number, options)
        assert lead.task(number).wire_options == options
        assert lead.task(number).priority == 4
        assert [entry[1] for entry in lead.entries[before:]] == ([packed] if options != {"durability": 1} else [])


def test_of_a_name_without_options_the_log_has_what_the_client_has_packed() -> None:
    lead, calls = announced()
    packed = calls.by_name(1, name="add")
    assert lead.entries[-1][1] == packed
    whole = encode_calls([(tid(1), "add", 4, b"x", None)])
    assert len(packed) == len(whole), "not a byte more"
    lead.commit()
    assert lead.table.tasks[tid(1)].wire_options is None
    calls.by_name(2, name="add", max_attempts=3)
    assert asked(lead) == (4, {"max_attempts": 3}), "without what marks a call by name"


def test_moments_from_now_on_that_are_announced_are_those_of_the_admission() -> None:
    lead = Clocked()
    calls = Calls(lead)
    enrol(lead, "a", ("later", 4, {"not_before": -5_000, "expires": -9_000}), names=("later",))
    lead.now = 10.0
    calls.by_name(1, name="later")
    assert asked(lead) == (4, {"not_before": ms(15.0), "expires": ms(19.0)})
    assert lead.task(1).is_delayed
    calls.by_name(2, name="later", not_before=0)
    assert asked(lead) == (4, {"expires": ms(19.0)})
    assert not lead.task(2).is_delayed


def test_of_a_deadline_that_is_announced_a_call_by_name_has_as_much_time_and_what_it_says_itself_counts_more() -> None:
    lead = Clocked()
    calls = Calls(lead)
    enrol(lead, "a", ("soon", 4, {"deadline": -60_000}), names=("soon",))
    lead.now = 10.0
    calls.by_name(1, name="soon")
    assert asked(lead) == (4, {"deadline": ms(70.0)})
    calls.by_name(2, name="soon", deadline=ms(90.0))
    assert asked(lead) == (4, {"deadline": ms(90.0)}), "as of the task that submits it"
    calls.by_name(3, name="soon", deadline=0)
    assert asked(lead) == (4, None)


def test_what_contradicts_what_is_announced_is_refused_with_what_to_do() -> None:
    lead = Lead()
    enrol(lead, "a", ("charge", 4, {"delivery": 1}), ("add", 4, {"result_ttl": 5}), names=("charge", "add"))
    calls = Calls(lead)
    calls.by_name(1, name="charge", retries=3)
    calls.by_name(2, name="add", durability=1)
    calls.by_name(4, name="charge", durability=1)
    first, second, third = [each for update in lead.updates() for each in update.refused]
    assert first[1:] == (
        Refusal.BAD_REQUEST,
        "delivery 'at_most_once' means one attempt; leave retries out, or delivery at 'at_least_once'. The nodes "
        "announce delivery for 'charge', and the call asks for more",
    )
    assert second[1] == third[1] == Refusal.BAD_REQUEST
    calls.by_name(3, name="charge", retries=3, delivery=0)
    assert asked(lead) == (4, {"retries": 3})


def test_what_the_cluster_is_too_old_for_is_refused_though_only_a_node_announces_it() -> None:
    lead, calls = announced()
    lead.leader.admission.cluster_level = ClusterLevel(3, older=("b",))
    calls.by_name(1)
    assert lead.refusals() == {1: Refusal.LEVEL_TOO_LOW}
    calls.by_name(2, time_limit=0)
    calls.submit(3, by_name({"priority": 1, "time_limit": 0}))
    assert lead.refusals() == {}, "what says that it is by name is in no log"


# --- which nodes have told


def test_while_nobody_has_told_of_a_name_a_call_by_it_waits_with_its_client() -> None:
    lead = Lead(settled=False)
    calls = Calls(lead)
    calls.by_name(1)
    calls.submit(2, None)
    assert lead.refusals() == {1: Refusal.NOT_READY}, "a call that says all need not wait for that"
    enrol(lead, "a", FETCH)
    calls.by_name(1)
    assert (lead.refusals(), asked(lead)) == ({}, (9, FETCH[2])), "though not all nodes have given their accounts"


def test_it_waits_while_a_node_may_come_back_that_has_told_this_leader_nothing_and_no_longer() -> None:
    lead = Lead(ran_lately=("a", "b"))
    calls = Calls(lead)
    enrol_packed(lead, "b", encode_defaults(()), ("other",))
    calls.by_name(1)
    assert lead.refusals() == {1: Refusal.NOT_READY}
    calls.by_name(2, name="other")
    assert lead.refusals() == {}
    lead.pass_time(1.0 + KEPT_S, heard="b")
    calls.by_name(1)
    assert lead.refusals() == {1: Refusal.UNKNOWN_TASK}


def test_what_a_node_has_announced_counts_while_it_is_away() -> None:
    lead, calls = announced()
    enrol_packed(lead, "b", encode_defaults(()), ("other",))
    enrol_packed(lead, "a", encode_defaults(()), (), slots=0)
    calls.by_name(1)
    assert asked(lead) == (9, FETCH[2])
    assert lead.pass_time(2.0, heard="b") == ["a"]
    calls.by_name(2)
    assert asked(lead) == (9, FETCH[2])


def test_a_node_of_a_version_before_has_told_of_its_names_and_announces_nothing() -> None:
    lead = Lead(ran_lately=("a", "b"))
    lead.enrol("a", names=("old",))
    calls = Calls(lead)
    calls.by_name(1, name="old")
    assert (lead.refusals(), lead.task(1).wire_options) == ({}, None)
    enrol(lead, "b", ("old", 4, {"retries": 2}), names=("old",))
    lead.enrol("a", names=("old",))
    calls.by_name(2, name="old")
    assert asked(lead) == (4, {"retries": 2})


def test_a_call_that_is_submitted_again_is_the_task_that_it_was_whatever_is_announced_by_then() -> None:
    lead, calls = announced()
    calls.by_name(1)
    enrol(lead, "a", ("fetch", 4, {"retries": 1}))
    calls.by_name(1)
    calls.by_name(2)
    lead.commit()
    assert [lead.table.tasks[tid(number)].wire_options for number in (1, 2)] == [FETCH[2], {"retries": 1}]
    later = Lead(lead.table)
    enrol(later, "a", ("fetch", 4, {"retries": 5}))
    again = Calls(later)
    again.by_name(1)
    again.by_name(3)
    assert later.task(1).wire_options == FETCH[2], "the log has it"
    assert later.task(3).wire_options == {"retries": 5}


# --- nodes differ


def test_what_was_announced_last_counts_and_that_nodes_differ_is_said_once() -> None:
    lead, calls = announced()
    enrol(lead, "b", FETCH)
    assert lead.notices == []
    enrol(lead, "c", ("fetch", 4, {"retries": 1}))
    calls.by_name(1)
    assert asked(lead) == (4, {"retries": 1})
    enrol(lead, "d", ("fetch", 4, {"retries": 2}))
    assert lead.notices == [
        (
            "warning",
            "nodes announce different options for fetch: for calls by name those of node c count, which came last. "
            "Start all nodes with the same version of the module",
        )
    ]


def test_an_account_with_nothing_new_announces_nothing_anew() -> None:
    lead, calls = announced()
    enrol(lead, "b", ("fetch", 4, {"retries": 1}))
    enrol(lead, "a", FETCH)
    calls.by_name(1)
    assert asked(lead) == (4, {"retries": 1})
    enrol_packed(lead, "a", encode_defaults(()), (), slots=0)
    enrol(lead, "a", FETCH)
    calls.by_name(2)
    assert asked(lead) == (4, {"retries": 1}), "its last worker was replaced"
    enrol(lead, "a", ("fetch", 4, {"retries": 6}))
    calls.by_name(3)
    assert asked(lead) == (4, {"retries": 6})


def test_a_name_that_a_node_announces_without_options_has_none_any_more() -> None:
    lead, calls = announced()
    enrol(lead, "b", names=("add",))
    calls.by_name(1)
    assert asked(lead) == (9, FETCH[2]), "b does not run it"
    enrol(lead, "b")
    calls.by_name(2)
    assert asked(lead)[1] in (None, {})
    assert len(lead.leader.defaults) == 0
    assert [text[:45] for _, text in lead.notices] == ["nodes announce different options for fetch: f"]


# --- bounds, and what no honest node announces


def test_what_no_task_is_decorated_with_or_its_client_goes_by_is_not_taken_from_a_node() -> None:
    """Of a call that its leader does not log its client has to know that, or it would be lost with the leader."""
    lead, calls = announced()
    enrol(
        lead, "a", ("fetch", 4, {"retries": 1, "durability": 1, "trace": 1, "time_left": 5, "requeued_from": "a" * 32})
    )
    calls.by_name(1)
    assert asked(lead) == (4, {"retries": 1})


@pytest.mark.parametrize(
    "packed",
    [
        b"\xc1",
        pack([["fetch", 4]], "x"),
        pack([["fetch", 10, {}]], "x"),
        pack([["fetch", 4, None]], "x"),
        pack([["fetch", 4, {"retries": -1}]], "x"),
        pack([["fetch", 4, {"of_a_later_version": 1}]], "x"),
        pack([["fetch", 4, {"delivery": 1, "retries": 1}]], "x"),
        pack([["", 4, {"retries": 1}]], "x"),
        pack([["another", 4, {"retries": 1}]], "x"),
        b"\x90" * (MAX_DEFAULTS_BYTES + 1),
    ],
)
def test_what_no_honest_node_announces_is_refused_with_its_account(packed: bytes) -> None:
    lead, calls = announced()
    with pytest.raises(ProtocolError):
        enrol_packed(lead, "a", packed, ("fetch", "new"))
    assert lead.leader.tasks.ledgers["a"].names == {"fetch", "add"}
    calls.by_name(1)
    assert asked(lead) == (9, FETCH[2])


@source_only
def test_what_is_known_is_bounded_and_what_no_node_runs_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "KNOWN_LIMIT_BYTES", 10_000)
    lead = Lead()
    text = "E" * 300
    old = tuple(f"old{number}" for number in range(20))
    new = tuple(f"new{number}" for number in range(30))
    enrol(lead, "a", *[(name, 4, {"retry_on": text}) for name in old], names=old)
    enrol(lead, "b", ("fetch", 4, {"retries": 1}), names=("fetch",))
    enrol_packed(lead, "a", encode_defaults(()), ("other",))
    assert (len(lead.leader.defaults), lead.notices) == (21, [])
    enrol(
        lead,
        "b",
        ("fetch", 4, {"retries": 1}),
        *[(name, 4, {"retry_on": text}) for name in new],
        names=(*new, "fetch"),
    )
    known = lead.leader.defaults
    assert known._size_bytes <= 10_000
    assert known._size_bytes == sum(each.size_bytes for each in known._by_name.values())
    assert not set(old) & known._by_name.keys()
    assert len(set(new) & known._by_name.keys()) >= 20
    assert [text[:39] for _, text in lead.notices] == ["the options that nodes announce for the"]
