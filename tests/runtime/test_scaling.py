"""How many workers a node is to have."""

from __future__ import annotations

from math import inf

from paceline.runtime.children.scaling import KEPT_S, LOOK_S, Scaling


class Busy:
    """A node on which so many workers are busy, look by look."""

    def __init__(self, fewest: int, most: int) -> None:
        self.scaling = Scaling(fewest, most)
        self.now = 1_000.0

    def look(self, busy: int, for_s: float = LOOK_S) -> int:
        """Returns how many workers there are afterwards, if as many leave as may."""
        until = self.now + for_s
        while self.now < until:
            self.scaling.look(busy, self.now)
            if self.scaling.may_shrink(self.now):
                self.scaling.shrink()
            self.now += LOOK_S
        return self.scaling.size


def test_a_node_that_has_always_as_many_is_never_looked_at() -> None:
    assert Scaling(2, 2).look_at == inf
    assert Scaling(2, 3).look_at < inf


def test_it_asks_while_all_that_there_are_to_be_are_ready_and_busy() -> None:
    scaling = Scaling(2, 4)
    assert scaling.asks(2, 2)
    assert not scaling.asks(1, 2)
    assert not scaling.asks(1, 1), "one is yet to come"
    assert scaling.asks(3, 3), "one that ran many tasks at once is one as the others now"
    assert scaling.grow(2, 0.0) == 2
    assert not scaling.asks(2, 2)
    assert not scaling.asks(4, 4), "there may be no more"


def test_it_grows_by_what_is_wanted_doubles_at_most_and_stops_at_the_most() -> None:
    scaling = Scaling(1, 7)
    assert [scaling.grow(wanted, 0.0) for wanted in (0, 5, 1, 9, 9, 9)] == [0, 1, 1, 3, 1, 0]
    assert scaling.size == 7


def test_it_keeps_as_many_as_were_busy_of_late() -> None:
    busy = Busy(1, 8)
    busy.scaling.grow(1, busy.now)
    busy.scaling.grow(2, busy.now)
    assert busy.look(1, KEPT_S - 1.0) == 4, "what was started is kept for a while"
    assert busy.look(3) == 4
    assert busy.look(0, KEPT_S / 2) == 3
    assert busy.look(0, KEPT_S) == 1


def test_it_never_has_fewer_than_the_fewest() -> None:
    busy = Busy(2, 8)
    busy.scaling.grow(2, busy.now)
    assert busy.look(0, 3 * KEPT_S) == 2


def test_a_short_burst_within_each_minute_keeps_its_workers() -> None:
    busy = Busy(1, 4)
    busy.scaling.grow(1, busy.now)
    busy.scaling.grow(2, busy.now)
    for _ in range(10):
        assert busy.look(4, KEPT_S / 2 - 1.0) == 4, "whenever it is in the minute"
        assert busy.look(0, KEPT_S - LOOK_S) == 4
    assert busy.look(0, KEPT_S / 4) == 1
