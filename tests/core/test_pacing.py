"""When a node's effects are due, and when its log hears of what happened."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

import pytest

from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.node.pacing import ANSWER, AT_ONCE, LINGERING_EVENTS, NOTHING, TASK, Pacing
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline_protocol.messages.client import Hello
from paceline_protocol.messages.membership import Envelope, PeerHello
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.trace import Trace

LINGER_S = 0.002


def quiet(now: float = 0.0) -> Pacing:
    """One whose effects were just taken."""
    pacing = Pacing(LINGER_S, now)
    pacing.take(now, log_stands_still=False)
    assert pacing.effects_at == inf
    return pacing


@pytest.mark.parametrize(("urgency", "is_log_due"), [(ANSWER, False), (AT_ONCE, True)])
def test_what_does_not_linger_is_due_at_once(urgency: int, is_log_due: bool) -> None:
    pacing = quiet()
    pacing.after(urgency, 1.0)
    assert pacing.effects_at == -inf
    assert pacing.take(1.0, log_stands_still=False) is is_log_due


def test_what_follows_nothing_from_makes_nothing_due() -> None:
    pacing = quiet()
    pacing.after(NOTHING, 1.0)
    assert pacing.effects_at == inf


def test_tasks_wait_for_each_other_from_the_first_of_them_on() -> None:
    pacing = quiet()
    for late in range(5):
        pacing.after(TASK, 1.0 + late * LINGER_S / 10)
    assert pacing.effects_at == 1.0 + LINGER_S
    assert pacing.take(1.0 + LINGER_S, log_stands_still=False)
    assert pacing.effects_at == inf


def test_very_many_tasks_do_not_wait() -> None:
    pacing = quiet()
    for _ in range(LINGERING_EVENTS - 1):
        pacing.after(TASK, 1.0)
    assert pacing.effects_at > 1.0
    pacing.after(TASK, 1.0)
    assert pacing.take(1.0, log_stands_still=False)
    pacing.after(TASK, 1.0)
    assert pacing.effects_at == 1.0 + LINGER_S, "it counts anew"


def test_an_answer_does_not_bring_the_log_forward() -> None:
    pacing = quiet()
    pacing.after(TASK, 1.0)
    pacing.after(ANSWER, 1.0)
    assert not pacing.take(1.0, log_stands_still=False)
    assert pacing.effects_at == 1.0 + LINGER_S


def test_a_log_that_stands_still_stays_due_and_asks_for_nothing() -> None:
    pacing = quiet()
    pacing.after(AT_ONCE, 1.0)
    assert not pacing.take(1.0, log_stands_still=True)
    assert pacing.effects_at == inf
    pacing.after(ANSWER, 1.0)
    assert pacing.take(1.0, log_stands_still=False)


ENDED = ((b"i" * 16, 1, TaskEnd.SUCCEEDED, b"", 1),)
EVENTS: dict[str, Callable[[NodeCore], None]] = {
    "on_client": lambda node: node.on_client(b"c", Hello(b"c" * 16, ""), 1.0),
    "on_client_described": lambda node: node.on_client_described(b"c", "a client", (("kind", "bridge"),), 1.0),
    "on_client_gone": lambda node: node.on_client_gone(b"c"),
    "on_address": lambda node: node.on_address("b:1"),
    "on_own_addresses": lambda node: node.on_own_addresses("a:2", (), ""),
    "on_search": lambda node: node.on_search(("nobody is found",)),
    "on_peer": lambda node: node.on_peer(Envelope("", "b", 1, ""), [PeerHello("b:1", "t", 1, "", 0, (), True)], 1.0),
    "on_worker_ready": lambda node: node.on_worker_ready(b"w", ("add",)),
    "on_worker_done": lambda node: node.on_worker_done(b"w", ENDED, 1.0),
    "on_worker_cleans_up": lambda node: node.on_worker_cleans_up(b"w", ENDED, 1.0),
    "on_worker_waits": lambda node: node.on_worker_waits(b"w", b"i" * 16, b"j" * 16, 1.0),
    "on_worker_goes_on": lambda node: node.on_worker_goes_on(b"w", b"i" * 16),
    "on_names_changed": lambda node: node.on_names_changed(),
    "on_all_busy": lambda node: node.on_all_busy(),
    "on_worker_trace": lambda node: node.on_worker_trace(Trace(b"i" * 16, ())),
    "on_worker_remarks": lambda node: node.on_worker_remarks(b"w", ((b"i" * 16, 1, b"", b"", 0),), 1.0),
    "on_worker_lost": lambda node: node.on_worker_lost(b"w", "signal 9", 1.0),
    "on_wall_clock": lambda node: node.on_wall_clock(5.0),
    "persisted": lambda node: node.persisted(0),
}
WAITS = {
    "on_worker_done": LINGER_S,
    "on_worker_cleans_up": LINGER_S,
    "on_worker_trace": inf,
    "on_worker_remarks": inf,
    "on_wall_clock": inf,
    "on_search": inf,
    "on_client_described": inf,
}
"""Events after which the effects are not due at once, and how long they wait."""


def test_every_event_of_a_node_is_known_here() -> None:
    """Whoever adds one says how urgent it is."""
    named = {name for name in dir(NodeCore) if name.startswith("on_")}
    assert named | {"persisted"} == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_of_a_node_waits_unless_it_may(name: str) -> None:
    settings = Settings(cluster_name="test", expect=3, log_linger_s=LINGER_S)
    node = NodeCore(
        settings,
        Identity("a", incarnation=1),
        address="a:1",
        spare_cluster_id="cluster-a",
        random=Random(1),
        now=1.0,
        questions=QUESTIONS,
    )
    node.tick(1.0)
    node.take_effects(1.0)
    assert not node.effects_due(1.0)
    EVENTS[name](node)
    wait_s = WAITS.get(name, 0.0)
    assert node.effects_due(1.0) is (wait_s == 0.0)
    assert node.effects_due(1.0 + LINGER_S) is (wait_s <= LINGER_S)
