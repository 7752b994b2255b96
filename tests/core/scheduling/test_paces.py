"""Paces: of one name, or of one name and key, only so many tasks start in any second, minute or hour (``rate``)."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.scheduling.test_gates import handed, keyed, limited, made, next_lead
from core.scheduling.test_leader import TERM, Lead, tid
from modes import source_only
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling import gates
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.paces import Pace
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Begun
from paceline_protocol.rates import HIGHEST_RATE, PERIODS_S, number_of, parts_of, shown_rate

OK = TaskEnd.SUCCEEDED


def rated(lead: Lead, *numbers: int, rate: str = "10/m", seq: int = 1, **options: Any) -> None:
    """A client submits these tasks, and the log has them."""
    lead.submit(lead.client(), *numbers, seq=seq, rate=number_of(rate), **options)
    lead.commit()


def turn(lead: Lead, at: float) -> list[int]:
    """Which tasks leave in a turn at this moment, in which what is due is done."""
    lead.now = at
    lead.leader.meet_moments(at)
    if lead.leader.tasks.gates.untimed:
        lead.leader.time_paces(at)
    given_out = [number for some in lead.dispatched().values() for number, _ in some]
    lead.leader.tasks.check()
    return given_out


def begun(lead: Lead, node_id: str, *numbers: int, seq: int | None = None, term: int = TERM) -> None:
    tasks = tuple((tid(number), lead.task(number).sent_seq if seq is None else seq) for number in numbers)
    lead.leader.nodes.on_begun(node_id, Begun(term, tasks))


def one_lead(slots: int = 10) -> Lead:
    lead = Lead()
    lead.leader.tasks.gates.has_none_before = True
    lead.enrol("a", slots=slots)
    return lead


@pytest.mark.parametrize("number", [1, 2, 3, 100, HIGHEST_RATE])
def test_a_rate_is_shown_as_it_was_written(number: int) -> None:
    assert number_of(shown_rate(number)) == number


@pytest.mark.parametrize(
    "wrong", ["", "10", "0/s", "01/s", "10/d", "10001/s", "1/s ", "1/s\n", "-1/m", "\u0661/s", 5, None]
)
def test_what_is_no_rate_is_refused_with_what_it_is(wrong: object) -> None:
    with pytest.raises(ValueError, match='as "100/s", "10/m" or "5/h": 1 to 10000 in'):
        number_of(wrong)


@given(st.integers(1, HIGHEST_RATE))
def test_a_period_has_whole_windows_and_in_all_of_them_no_more_start_than_may(number: int) -> None:
    pace = Pace(1, number, is_known=True)
    count, unit = parts_of(number)
    windows = -(-PERIODS_S[unit] * 1_000 // pace.window_ms)
    assert windows * pace.turns <= count
    assert windows * pace.turns > 0.96 * count, "and hardly fewer"


def test_the_next_one_leaves_in_the_turn_in_which_its_moment_comes() -> None:
    lead = one_lead()
    rated(lead, 1, 2, 3)
    assert turn(lead, 1.0) == [1]
    begun(lead, "a", 1)
    assert turn(lead, 1.0) == []
    pace = lead.leader.tasks.gates.by_key["add", ""].paces[number_of("10/m")]
    assert pace.next_ms == 7_000
    assert turn(lead, 6.999) == []
    assert turn(lead, 7.0) == [2]
    assert turn(lead, 20.0) == [], "nobody has said that it has started"
    begun(lead, "a", 2)
    assert turn(lead, 21.0) == []
    assert turn(lead, 27.0) == [3]


def test_what_ends_or_comes_back_has_started_at_the_latest_by_then() -> None:
    lead = one_lead()
    rated(lead, 1, 2, 3)
    assert turn(lead, 0.0) == [1]
    lead.now = 5.0
    lead.outcomes("a", 1, 1)
    assert turn(lead, 5.0) == []
    assert turn(lead, 11.0) == [2]
    lead.leader.recording.give_back([lead.task(2)], 12.0)
    assert turn(lead, 12.0) == []
    assert turn(lead, 18.0) == [2]


def test_one_that_waits_for_its_rate_holds_up_nobody_and_has_its_reason_told() -> None:
    lead = one_lead()
    rated(lead, 1, 2, limit_key="acme")
    rated(lead, 3, limit_key="other", seq=2)
    lead.submit(lead.client(), 4, seq=3)
    assert sorted(turn(lead, 1.0)) == [1, 3, 4]
    assert whereabouts(lead.leader, tid(2), 1.0)["why"] == (
        "of add with limit_key 'acme' no more may start now (rate 10/m); 1 wait for that"
    )


def test_it_may_have_both_limits() -> None:
    lead = one_lead(slots=30)
    rated(lead, *range(1, 31), rate="200/s", max_running=15)
    assert len(turn(lead, 0.0)) == 15
    begun(lead, "a", *range(1, 16))
    assert turn(lead, 1.0) == []
    lead.outcomes("a", 1, *range(1, 16))
    assert turn(lead, 1.0) == [16, 17, 18, 19, 20], "there are places for 15, and turns for 5"
    assert turn(lead, 1.2) == list(range(21, 31))


def test_another_node_or_an_earlier_dispatch_says_nothing_of_it() -> None:
    lead = one_lead()
    rated(lead, 1, 2)
    assert turn(lead, 0.0) == [1]
    begun(lead, "b", 1)
    begun(lead, "a", 1, seq=lead.task(1).sent_seq + 1)
    begun(lead, "a", 1, term=TERM - 1)
    begun(lead, "a", 2)
    assert turn(lead, 60.0) == []
    begun(lead, "a", 1)
    assert turn(lead, 60.0) == []
    assert turn(lead, 66.0) == [2]


def test_a_new_leader_lets_none_start_before_one_window_has_passed_of_any_key() -> None:
    lead = one_lead()
    rated(lead, 1, 2, limit_key="acme")
    assert turn(lead, 0.0) == [1]
    after = next_lead(lead)
    after.enrol("a", {1: 1}, slots=10)
    rated(after, 3, limit_key="other", seq=9)
    assert turn(after, 1.0) == []
    after.leader.tick(2.0, ["a"])
    assert turn(after, 2.0) == []
    begun(after, "a", 1, seq=77)
    assert turn(after, 3.0) == []
    assert turn(after, 8.0) == [3], "of a key of which it knows nothing, too"
    assert turn(after, 9.0) == [2]


@source_only
def test_paces_are_forgotten_with_their_gates_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "MAX_LINES", 2)
    lead = one_lead()
    for number in (1, 2, 3):
        rated(lead, number, rate=f"{number}/m", seq=number)
    assert lead.refusals() == {3: Refusal.QUEUE_FULL}
    assert sorted(turn(lead, 0.0)) == [1, 2]
    lead.outcomes("a", 1, 1, 2)
    turn(lead, 0.0)
    assert len(lead.leader.tasks.gates.by_key) == 1, "what has started counts"
    turn(lead, 30.0)
    turn(lead, 60.0)
    assert lead.leader.tasks.gates.by_key == {}
    limited(lead, 4, seq=4)
    assert turn(lead, 61.0) == [4]


# --- any order of events


class Cluster:
    """A leader, and a node that begins what it is given after any time. Its leader is replaced now and then."""

    def __init__(self, rng: Random, count: int, unit: str, *, is_prompt: bool = False) -> None:
        """``is_prompt``: what is given to the node starts soon, and the leader hears of it."""
        self.rng = rng
        self.is_prompt = is_prompt
        self.rate = number_of(f"{count}/{unit}")
        self.now = 0.0
        self.numbers = 0
        self.starts: list[float] = []
        self.coming: list[tuple[float, int, str, int]] = []  # when something becomes of a task; of which dispatch
        self.dispatches = 0
        self.live = LiveTasks()
        self.live.gates.has_none_before = True
        self.live.settle()
        self.known_since = 0.0
        self.lead()

    def lead(self) -> None:
        self.live.enrol("a", 1_000, ["add"])
        self.dispatcher = Dispatcher(self.live)

    def submit(self, tasks: int) -> None:
        for _ in range(tasks):
            self.numbers += 1
            self.live.admit(made(self.numbers, {"rate": self.rate}), self.now)
        self.dispatch()

    def dispatch(self) -> None:
        if self.live.is_settled and self.live.gates.untimed:
            for pace in self.live.time_paces(self.now, self.known_since):
                heappush(self.coming, (pace.next_ms / 1_000, int.from_bytes(pace.key), "pace", 0))
        for number in handed(self.live, self.dispatcher):
            self.dispatches += 1
            self.live.live[tid(number)].sent_seq = self.dispatches
            late_s = self.rng.choice((0.001,) if self.is_prompt else (0.0, 0.001, 0.02, 0.3)) * self.rng.random()
            heappush(self.coming, (self.now + late_s, number, "starts", self.dispatches))

    def pass_until(self, until: float) -> None:
        while self.coming and self.coming[0][0] <= until:
            self.now, number, what, seq = heappop(self.coming)
            if what == "pace":
                self.live.gates.reached(number.to_bytes(8))
            elif what == "starts":
                self.starts.append(self.now)
                says_so = self.is_prompt or self.rng.random() < 0.8
                if says_so:
                    heappush(self.coming, (self.now + 0.002 * self.rng.random(), number, "has started", seq))
                heappush(self.coming, (self.now + 0.02 + self.rng.random(), number, "ends", seq))
            elif (
                (task := self.live.live.get(tid(number))) is not None
                and task.has_place_at_node
                and task.sent_seq in (0, seq)
            ):
                if what == "has started":
                    self.live.gates.starts(task)
                elif self.rng.random() < 0.9:
                    self.live.finish(tid(number), OK)
                else:
                    self.live.lose_attempt(task, 1_000, self.now)
            self.dispatch()
        self.live.check()
        self.now = until

    def replace_leader(self) -> None:
        """The next one hears at once what the node has; what it has from the one before starts some time."""
        known = list(self.live.live.values())
        held = {task.id for task in known if task.has_place_at_node}
        self.coming = [each for each in self.coming if each[2] != "pace"]
        self.live = LiveTasks("", {task.id: task for task in known})
        for task in sorted(known, key=lambda task: task.id):
            self.live.recover(task, 0, self.now)
        self.lead()
        for task_id in held:
            self.live.adopt(self.live.live[task_id], "a", self.live.live[task_id].attempt, 1)
        self.dispatch()
        self.live.settle()
        self.known_since = self.now
        self.live.open_gates()
        self.dispatch()


def most_in_a_period(starts: list[float], period_s: float) -> int:
    """How many start in any period, its end not among it."""
    most = first = 0
    for last, at in enumerate(starts):
        while at - starts[first] > period_s - 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("count", [1, 3, 9, 20, 55])
@pytest.mark.parametrize("seed", range(5))
def test_in_no_period_do_more_start_than_may_whoever_leads(seed: int, count: int, dies: bool) -> None:
    rng = Random(seed)
    cluster = Cluster(rng, count, "s")
    for _ in range(rng.randint(3, 20)):
        if rng.random() < 0.6:
            cluster.submit(rng.randint(1, 2 * count))
        if dies and rng.random() < 0.3:
            cluster.replace_leader()
        cluster.pass_until(cluster.now + rng.random())
    for _ in range(200):
        cluster.pass_until(cluster.now + 1.0)
        if not cluster.live.live:
            break
    assert not cluster.live.live
    assert most_in_a_period(cluster.starts, 1.0) <= count
    cluster.pass_until(cluster.now + 2.0)
    assert not cluster.live.gates.by_key


def test_hardly_any_time_is_lost() -> None:
    cluster = Cluster(Random(7), 100, "s", is_prompt=True)
    cluster.submit(1_000)
    while cluster.live.live:
        cluster.pass_until(cluster.now + 1.0)
    assert len(cluster.starts) > 1_050, "some are tried again"
    assert cluster.starts[-1] < 1.1 * len(cluster.starts) / 100, "nearly as soon as their number allows"


@source_only
def test_the_property_finds_a_start_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "free", property(lambda self: self.turns - self.taken + 1))
    cluster = Cluster(Random(7), 3, "s")
    cluster.submit(20)
    cluster.pass_until(5.0)
    assert most_in_a_period(cluster.starts, 1.0) > 3


def test_one_key_with_a_limit_of_both_kinds_and_others_are_counted_apart() -> None:
    live = LiveTasks()
    live.gates.has_none_before = True
    live.settle()
    live.enrol("a", 10, ["add"])
    live.admit(made(1, keyed("k", 1, rate=number_of("1/h"))), 0.0)
    live.admit(made(2, keyed("k", 2, rate=number_of("2/h"))), 0.0)
    assert handed(live, Dispatcher(live)) == [1, 2]
    live.check()
