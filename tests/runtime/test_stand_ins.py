"""How many workers there are beyond the slots, for tasks that have given theirs back."""

from __future__ import annotations

from math import inf

from paceline.runtime.children.scaling import KEPT_S, LOOK_S, StandIns


def test_there_are_no_more_than_tasks_that_have_given_their_slots_back_nor_than_wait() -> None:
    stand_ins = StandIns()
    assert [stand_ins.start(parked, waiting, 0.0) for parked, waiting in ((0, 5), (3, 0))] == [0, 0]
    assert (stand_ins.start(3, 2, 0.0), stand_ins.count) == (2, 2)
    assert (stand_ins.start(3, 5, 0.0), stand_ins.count) == (1, 3)
    assert (stand_ins.start(2, 5, 0.0), stand_ins.count) == (0, 3)


def test_nobody_looks_while_there_are_none() -> None:
    stand_ins = StandIns()
    assert stand_ins.look_at == inf
    stand_ins.start(0, 5, 1.0)
    assert stand_ins.look_at == inf
    stand_ins.start(1, 1, 1.0)
    assert stand_ins.look_at == 1.0 + LOOK_S
    stand_ins.leaves()
    assert (stand_ins.count, stand_ins.look_at) == (0, inf)


def test_one_leaves_once_that_many_were_not_needed_for_so_long() -> None:
    stand_ins = StandIns()
    stand_ins.start(2, 2, 0.0)
    assert not stand_ins.may_leave(1, KEPT_S - 0.1)
    assert stand_ins.look_at == KEPT_S - 0.1 + LOOK_S
    assert stand_ins.may_leave(1, KEPT_S)
    stand_ins.leaves()
    assert not stand_ins.may_leave(1, KEPT_S + 1)  # the other one is needed
    assert not stand_ins.may_leave(0, 2 * KEPT_S)
    assert stand_ins.may_leave(0, 2 * KEPT_S + 1)
