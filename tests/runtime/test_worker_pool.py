"""What the end of a worker means: a task that crashes costs the others no pause, and a spare stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from paceline.runtime.children.causes import KILLED
from paceline.runtime.children.pool import BACKOFF_MIN_S, Child, ChildEnd
from paceline.runtime.children.worker_pool import DISMISSED_S, HOPELESS_TRIES, SPARE_KEPT_S, WorkerPool
from worker.played_node import SAMPLE_TASKS, readable

Start = Callable[..., WorkerPool]

NAMES = ("add",)


@pytest.fixture
def new_pool() -> Iterator[Start]:
    """Pools whose workers are said to be ready by the test, whatever they are."""
    pools: list[WorkerPool] = []

    def new(size: int = 1, *, always_spare: bool = False) -> WorkerPool:
        modules = (str(SAMPLE_TASKS),)
        pools.append(WorkerPool(size=size, modules=modules, payload_limit_bytes=1000, always_spare=always_spare))
        pools[-1].start(now=0.0)
        return pools[-1]

    yield new
    for pool in pools:
        pool.stop(0)


def end(pool: WorkerPool, child: Child) -> None:
    pool.kill(child.id)
    assert readable(child.fd), "the child did not end"
    assert pool.reap(child.fd) == ChildEnd(child.id, "killed by SIGKILL", KILLED)


def spared(pool: WorkerPool, now: float) -> tuple[Child, Child]:
    """Have a ready worker end by its task; (its successor, the spare), both ready."""
    (first,) = pool.workers.values()
    assert pool.ready(first.id, NAMES)
    end(pool, first)
    assert pool.stand_in(first.id, True, now) is None
    successor, spare = pool.respawn(now)
    assert pool.ready(successor.id, NAMES)
    assert not pool.ready(spare.id, NAMES)
    return successor, spare


def test_what_a_task_ended_is_replaced_without_a_pause_however_often_and_quickly(new_pool: Start) -> None:
    pool = new_pool()
    for _ in range(5):
        (child, *_spare) = pool.workers.values()
        pool.ready(child.id, NAMES)
        end(pool, child)
        pool.stand_in(child.id, True, 0.5)
        assert (pool.next_respawn(0.5) or 0.0) <= 0.5
        pool.respawn(0.5)


def test_if_more_are_to_get_tasks_the_spare_does_at_once_and_another_is_started(new_pool: Start) -> None:
    pool = new_pool()
    _successor, spare = spared(pool, 1.0)
    assert pool.have_more(1)
    assert not pool.have_more(1), "once"
    assert pool.replace(b"", 1.0) == (spare.id, NAMES)
    (third,) = pool.respawn(1.0)
    assert not pool.ready(third.id, NAMES), "it is the spare now"


def test_if_more_are_to_get_tasks_and_there_is_no_spare_the_next_that_is_ready_does(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    assert pool.ready(first.id, NAMES)
    assert pool.have_more(1)
    assert pool.replace(b"", 1.0) is None
    (second,) = pool.respawn(1.0)
    assert pool.ready(second.id, NAMES)


def test_as_many_more_get_tasks_as_a_pool_grows_by(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    assert pool.ready(first.id, NAMES)
    pool.grow(2)
    second, third = pool.respawn(1.0)
    assert pool.ready(second.id, NAMES)
    assert pool.ready(third.id, NAMES)
    assert pool.have_more(1), "whatever it has grown by, those that run many at once come beside"
    assert pool.replace(b"", 1.0) is None
    (fourth,) = pool.respawn(1.0)
    assert pool.ready(fourth.id, NAMES)


def test_a_pool_that_grows_takes_the_spare_and_starts_another(new_pool: Start) -> None:
    pool = new_pool()
    _successor, spare = spared(pool, 1.0)
    pool.grow(1)
    assert pool.replace(b"", 1.0) == (spare.id, NAMES)
    (next_spare,) = pool.respawn(1.0)
    assert not pool.ready(next_spare.id, NAMES)


def test_nobody_has_the_place_of_a_worker_that_is_let_go(new_pool: Start) -> None:
    pool = new_pool(2)
    first, second = pool.workers.values()
    assert pool.ready(first.id, NAMES)
    assert pool.ready(second.id, NAMES)
    for _ in range(2):
        pool.let_go(second.id)
    assert pool.respawn(1.0) == []
    end(pool, second)
    assert pool.stand_in(second.id, False, 1.0) is None
    assert pool.respawn(60.0) == []
    assert list(pool.workers) == [first.id]
    pool.let_go(second.id)
    pool.grow(1)
    (third,) = pool.respawn(60.0)
    assert pool.ready(third.id, NAMES), "it may grow again"


def test_a_worker_that_is_let_go_costs_no_other_its_successor(new_pool: Start) -> None:
    """While it ends there are more slots than workers, as if one were for a spare."""
    pool = new_pool(2)
    first, second = pool.workers.values()
    for each in (first, second):
        assert pool.ready(each.id, NAMES)
    pool.keep_spare(1.0)
    (spare,) = pool.respawn(1.0)
    assert not pool.ready(spare.id, NAMES)
    now = 1.0 + SPARE_KEPT_S
    pool.respawn(now)
    assert readable(spare.fd)
    pool.reap(spare.fd)
    pool.let_go(second.id)
    end(pool, first)
    assert pool.stand_in(first.id, False, 2 * now) is None
    (successor,) = pool.respawn(2 * now)
    assert pool.ready(successor.id, NAMES)
    end(pool, second)
    assert pool.respawn(3 * now) == []
    assert pool.keep_spare(3 * now)
    assert len(pool.respawn(3 * now)) == 1


def test_a_worker_that_is_not_ready_is_given_up_whether_it_lives_or_has_ended(new_pool: Start) -> None:
    pool = new_pool(3)
    first, second, third = pool.workers.values()
    assert pool.ready(first.id, NAMES)
    end(pool, second)
    assert pool.stand_in(second.id, False, 1.0) is None
    assert pool.give_up_one()
    assert pool.next_respawn(60.0) is None, "nobody comes in the place of the one that has ended"
    assert not pool.is_spare(third.id)
    assert pool.give_up_one()
    assert pool.is_spare(third.id), "the node does not hear of it"
    assert not pool.ready(third.id, NAMES), "it says so late"
    assert pool.keep_spare(60.0), "its place is not that of a spare"
    assert readable(third.fd)
    assert pool.reap(third.fd) == ChildEnd(third.id, "killed by SIGKILL", KILLED)
    assert not pool.give_up_one(), "all that are to get tasks do"
    (spare,) = pool.respawn(60.0)
    assert not pool.ready(spare.id, NAMES)


def test_what_was_never_ready_could_not_live_however_long_it_took(new_pool: Start) -> None:
    pool = new_pool()
    now = 100.0
    for pause_s in (BACKOFF_MIN_S, 2 * BACKOFF_MIN_S):
        (child,) = pool.workers.values()
        end(pool, child)
        assert pool.stand_in(child.id, False, now) is None
        assert pool.next_respawn(now) == pytest.approx(now + pause_s)
        now += 100.0
        assert len(pool.respawn(now)) == 1


def test_what_ended_without_a_task_right_after_its_start_could_not_live(new_pool: Start) -> None:
    pool = new_pool()
    (child,) = pool.workers.values()
    pool.ready(child.id, NAMES)
    end(pool, child)
    assert pool.stand_in(child.id, False, 0.5) is None
    assert pool.next_respawn(0.5) == 0.5 + BACKOFF_MIN_S


def test_there_is_no_spare_before_a_worker_ended_with_a_task(new_pool: Start) -> None:
    pool = new_pool(size=2)
    first, second = pool.workers.values()
    for child in (first, second):
        assert pool.ready(child.id, NAMES)
    end(pool, first)
    assert pool.stand_in(first.id, False, 5.0) is None
    (third,) = pool.respawn(5.0)
    assert pool.ready(third.id, NAMES)
    assert list(pool.workers) == [second.id, third.id]
    assert pool.next_respawn(1e9) is None


def test_the_spare_gets_no_tasks_until_it_stands_in_for_a_worker_that_ended(new_pool: Start) -> None:
    pool = new_pool()
    worker, spare = spared(pool, 1.0)
    assert [pool.is_spare(child.id) for child in (worker, spare)] == [False, True]
    end(pool, worker)
    assert pool.stand_in(worker.id, True, 2.0) == (spare.id, NAMES)
    assert not pool.is_spare(spare.id)
    (next_spare,) = pool.respawn(2.0)
    assert not pool.ready(next_spare.id, NAMES)


def test_whoever_is_ready_first_gets_the_tasks(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    pool.ready(first.id, NAMES)
    end(pool, first)
    pool.stand_in(first.id, True, 1.0)
    one, other = pool.respawn(1.0)
    assert pool.ready(other.id, NAMES)
    assert not pool.ready(one.id, NAMES)


def test_a_spare_that_ends_is_replaced_and_stands_in_for_nobody(new_pool: Start) -> None:
    pool = new_pool()
    worker, spare = spared(pool, 1.0)
    end(pool, spare)
    assert len(pool.respawn(100.0)) == 1
    end(pool, worker)
    assert pool.stand_in(worker.id, True, 100.0) is None


def test_a_spare_that_can_not_live_is_tried_again_after_growing_pauses(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    pool.ready(first.id, NAMES)
    end(pool, first)
    pool.stand_in(first.id, True, 1.0)
    successor, spare = pool.respawn(1.0)
    pool.ready(successor.id, NAMES)
    for pause_s in (BACKOFF_MIN_S, 2 * BACKOFF_MIN_S):
        end(pool, spare)
        assert pool.next_respawn(1.0) == 1.0 + pause_s
        (spare,) = pool.respawn(2.0)


def test_what_is_read_of_a_worker_after_its_end_makes_nobody_ready(new_pool: Start) -> None:
    pool = new_pool()
    (child,) = pool.workers.values()
    end(pool, child)
    assert not pool.ready(child.id, NAMES)
    (successor,) = pool.respawn(pool.next_respawn(1.0) or 0.0)
    assert pool.ready(successor.id, NAMES)


def test_a_spare_that_nothing_needed_for_long_is_ended_and_not_replaced(new_pool: Start) -> None:
    pool = new_pool()
    worker, spare = spared(pool, 1.0)
    over = 1.0 + SPARE_KEPT_S
    assert pool.next_respawn(2.0) == over
    assert pool.respawn(over) == []
    assert readable(spare.fd)
    assert pool.is_spare(spare.id)  # until it is reaped: its end is no worker's
    assert pool.reap(spare.fd) == ChildEnd(spare.id, "killed by SIGKILL", KILLED)
    assert pool.respawn(over) == []
    assert pool.next_respawn(over) is None
    assert list(pool.workers) == [worker.id]


def test_the_pool_is_hopeless_once_several_for_each_slot_ended_and_none_was_ever_ready(new_pool: Start) -> None:
    pool = new_pool(size=2)
    now = 0.0
    for tries in range(2 * HOPELESS_TRIES):
        assert not pool.is_hopeless, tries
        end(pool, next(iter(pool.workers.values())))
        now = pool.next_respawn(now) or now
        pool.respawn(now)
    assert pool.is_hopeless


def test_a_pool_of_which_one_worker_was_ready_is_never_hopeless(new_pool: Start) -> None:
    pool = new_pool()
    now = 0.0
    pool.ready(next(iter(pool.workers)), NAMES)
    for _ in range(2 * HOPELESS_TRIES):
        end(pool, next(iter(pool.workers.values())))
        assert not pool.is_hopeless
        now = pool.next_respawn(now) or now
        pool.respawn(now)


def test_a_spare_ends_with_the_pool(new_pool: Start) -> None:
    pool = new_pool()
    spared(pool, 1.0)
    pool.stop(20.0)
    assert pool.workers == {}
    assert pool.next_respawn(1e9) is None


def test_a_worker_says_once_whether_it_is_ready(new_pool: Start) -> None:
    pool = new_pool()
    (child,) = pool.workers.values()
    assert [pool.introduces_itself(child.id) for _ in range(3)] == [True, False, False]
    end(pool, child)
    assert pool.introduces_itself(child.id), "nothing is remembered of one that has ended"
    assert not pool._introduced


def test_where_workers_are_replaced_there_is_always_a_spare_which_serves_in_place_of_the_one_that_leaves(
    new_pool: Start,
) -> None:
    pool = new_pool(always_spare=True)
    worker, spare = pool.workers.values()
    assert [pool.ready(child.id, NAMES) for child in (worker, spare)] == [True, False]
    assert pool.next_respawn(1.0) is None
    assert pool.replace(worker.id, 1e6) == (spare.id, NAMES)
    end(pool, worker)
    assert pool.stand_in(worker.id, False, 1e6) is None, "another serves in its place"
    (next_spare,) = pool.respawn(1e6)
    assert not pool.ready(next_spare.id, NAMES)


def test_if_the_spare_is_not_ready_whoever_is_ready_next_serves(new_pool: Start) -> None:
    pool = new_pool(always_spare=True)
    worker, spare = pool.workers.values()
    pool.ready(worker.id, NAMES)
    assert pool.replace(worker.id, 1.0) is None
    assert pool.ready(spare.id, NAMES)


def test_a_worker_that_is_replaced_right_after_its_start_could_live(new_pool: Start) -> None:
    pool = new_pool()
    (worker,) = pool.workers.values()
    pool.ready(worker.id, NAMES)
    pool.replace(worker.id, 0.5)
    end(pool, worker)
    pool.stand_in(worker.id, False, 0.5)
    assert len(pool.respawn(0.5)) == 2


def test_a_worker_that_does_not_end_though_it_was_told_to_is_killed(new_pool: Start) -> None:
    pool = new_pool()
    (worker,) = pool.workers.values()
    pool.dismissed(worker.id, 1.0)
    assert pool.next_respawn(1.0) == 1.0 + DISMISSED_S
    pool.respawn(DISMISSED_S)
    assert not readable(worker.fd, 0)
    pool.respawn(1.0 + DISMISSED_S)
    assert readable(worker.fd)
    assert pool.next_respawn(1.0 + DISMISSED_S) is None
    assert pool.reap(worker.fd) == ChildEnd(worker.id, "killed by SIGKILL", KILLED)


def test_the_memory_of_a_worker_is_looked_at_while_it_lives(new_pool: Start) -> None:
    pool = new_pool()
    (worker,) = pool.workers.values()
    assert pool.memory_bytes(worker.id) > 0
    end(pool, worker)
    assert pool.memory_bytes(worker.id) == 0


def test_a_spare_that_ends_with_its_node_is_no_news(new_pool: Start, caplog: pytest.LogCaptureFixture) -> None:
    pool = new_pool(always_spare=True)
    for child in pool.workers.values():
        pool.ready(child.id, NAMES)
    pool.stop(10)
    assert "the spare worker" not in caplog.text


def test_a_spare_with_old_modules_is_ended_and_another_takes_its_place_at_once(new_pool: Start) -> None:
    pool = new_pool()
    successor, spare = spared(pool, 5.0)
    assert pool.renew_spare(5.0) == {spare.id}
    assert not pool.has_spare
    assert pool.replace(successor.id, 5.0) is None, "there is none that could"
    assert readable(spare.fd)
    assert pool.is_spare(spare.id), "the core does not hear of its end"
    assert pool.reap(spare.fd) is not None
    (renewed,) = pool.respawn(5.0)
    assert pool.ready(renewed.id, NAMES)


def test_a_pool_without_a_spare_gets_one_for_a_reload(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    pool.ready(first.id, NAMES)
    assert pool.renew_spare(5.0) == frozenset()
    (spare,) = pool.respawn(5.0)
    assert not pool.ready(spare.id, NAMES)
    assert pool.replace(first.id, 5.0) == (spare.id, NAMES)


def test_a_node_without_workers_has_none_after_a_reload(new_pool: Start) -> None:
    pool = new_pool(size=0)
    assert pool.renew_spare(5.0) == frozenset()
    assert pool.respawn(5.0) == []


def test_a_worker_that_hangs_while_it_imports_modules_is_ended_by_the_next_reload(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    pool.ready(first.id, NAMES)
    pool.renew_spare(5.0)
    (hangs,) = pool.respawn(5.0)
    assert pool.renew_spare(6.0) == {hangs.id}
    assert not pool.ready(hangs.id, NAMES), "which is read late"
    assert readable(hangs.fd)
    assert pool.is_spare(hangs.id), "the core does not hear of its end"
    assert pool.reap(hangs.fd) is not None
    (spare,) = pool.respawn(6.0)
    assert not pool.ready(spare.id, NAMES)
    assert pool.replace(first.id, 6.0) == (spare.id, NAMES)


def test_a_reload_waits_for_no_pause_after_modules_that_could_not_be_imported(new_pool: Start) -> None:
    pool = new_pool()
    (first,) = pool.workers.values()
    pool.ready(first.id, NAMES)
    pool.renew_spare(5.0)
    (fails,) = pool.respawn(5.0)
    end(pool, fails)
    assert pool.respawn(5.0) == []
    pool.renew_spare(5.0)
    assert len(pool.respawn(5.0)) == 1
