"""What a node declares is more than what its tasks take, whoever gave them to it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from core.work.test_slots import outcome
from paceline.core.work.slots import NO_ROOM_S, Slots
from paceline_protocol.messages.records import Assignment, TaskEnd
from paceline_protocol.places import amounts_of


def assignment(number: int, needs: str = "", attempt: int = 1, name: str = "add") -> Assignment:
    return number.to_bytes(16, "big"), attempt, name, b"", {"needs": needs} if needs else None


def slots_of(amounts: str, *workers: bytes) -> Slots:
    slots = Slots(amounts=amounts)
    for worker_id in workers:
        slots.worker_ready(worker_id, ("add",))
    return slots


def given_now(slots: Slots, now: float = 0.0) -> list[int]:
    return sorted(int.from_bytes(task[0], "big") for _, tasks in slots.assign(now) for task in tasks)


def test_a_task_waits_at_the_node_until_what_it_takes_is_free_and_others_pass_it() -> None:
    slots = slots_of("gpu=2", b"v", b"w", b"x")
    slots.take([assignment(1, "gpu=2"), assignment(2, "gpu=1"), assignment(3)], 0.0)
    assert given_now(slots) == [1, 3]
    assert given_now(slots) == []
    slots.done(b"v", (outcome(1),), 0.1)
    assert given_now(slots) == [2]


def test_no_younger_task_that_takes_anything_passes_one_that_waits_for_amounts() -> None:
    slots = slots_of("gpu=2,tape=1", b"v", b"w", b"x", b"y")
    slots.take([assignment(1, "gpu=1"), assignment(2, "gpu=2"), assignment(3, "gpu=1"), assignment(4, "tape=1")], 0.0)
    assert given_now(slots) == [1]
    slots.done(b"v", (outcome(1),), 0.1)
    assert given_now(slots) == [2]


def test_what_a_task_takes_comes_back_with_its_worker() -> None:
    slots = slots_of("gpu=1", b"v", b"w")
    slots.take([assignment(1, "gpu=1"), assignment(2, "gpu=1")], 0.0)
    assert given_now(slots) == [1]
    slots.worker_lost(b"v", 1)
    assert given_now(slots) == [2]


def test_what_takes_amounts_goes_to_a_worker_that_has_nothing_else_to_do() -> None:
    slots = slots_of("gpu=4", b"v")
    slots.durations.observe("add", 1)
    slots.take([assignment(1), assignment(2, "gpu=1"), assignment(3, "gpu=1")], 0.0)
    assert given_now(slots) == [1]
    slots.done(b"v", (outcome(1),), 0.1)
    assert given_now(slots) == [2]


def test_what_finds_no_room_for_a_while_goes_back_to_the_leader() -> None:
    slots = slots_of("gpu=1", b"v", b"w")
    slots.take([assignment(1, "gpu=1"), assignment(2, "gpu=1")], 0.0)
    assert given_now(slots) == [1]
    slots.review(NO_ROOM_S / 2)
    assert slots.given_back == []
    slots.review(NO_ROOM_S)
    assert slots.given_back == [assignment(2)[0]]
    assert list(slots.held.attempts) == [assignment(1)[0]]
    slots.review(2 * NO_ROOM_S)
    assert len(slots.given_back) == 1


def test_what_the_node_does_not_declare_goes_back_to_the_leader_at_once() -> None:
    slots = slots_of("gpu=1", b"v")
    slots.take([assignment(1, "gpu=2"), assignment(2, "tape=1"), assignment(3)], 0.0)
    assert given_now(slots) == [3]
    assert slots.given_back == [assignment(1)[0], assignment(2)[0]]


def test_async_tasks_take_from_the_same_amounts() -> None:
    slots = Slots(async_slots=10, amounts="gpu=2")
    slots.worker_ready(b"v", ("add", "nap"))
    slots.learn_async(("add", "nap"), ("nap",))
    slots.take([assignment(1, "gpu=1", name="nap")], 0.0)
    slots.worker_ready(b"w", ("add", "nap"))
    slots.take([assignment(2, "gpu=1", name="nap"), assignment(3, "gpu=1", name="nap"), assignment(4, "gpu=1")], 0.0)
    assert given_now(slots) == [1, 2]
    slots.done(b"w", (outcome(2),), 0.1)
    assert given_now(slots) == [3]


@given(rng=st.randoms(use_true_random=False))
def test_whatever_is_sent_and_dies_the_workers_have_no_more_than_the_node_declares(rng: Random) -> None:
    declared = {"cpu": 4, "gpu": 2}
    slots = slots_of("cpu=4,gpu=2", *[bytes([number]) for number in range(4)])
    needs: dict[tuple[bytes, int], str] = {}
    for step in range(80):
        now = step * 0.05
        match rng.randrange(4):
            case 0:
                task = assignment(
                    rng.randrange(10), rng.choice(["", "cpu=1", "cpu=4", "cpu=1,gpu=1", "gpu=2"]), step + 1
                )
                needs[task[:2]] = "" if task[4] is None else task[4]["needs"]
                slots.take([task], now)
            case 1:
                worker_id = rng.choice(sorted(slots.workers))
                for task_id, running in list(slots.workers[worker_id].running.items()):
                    slots.done(worker_id, ((task_id, running[0], int(TaskEnd.SUCCEEDED), b"", 10),), now)
            case 2 if rng.random() < 0.5:
                worker_id = rng.choice(sorted(slots.workers))
                slots.worker_lost(worker_id, rng.choice((None, 1)))
                slots.worker_ready(step.to_bytes(2, "big") + b"w", ("add",))
            case _:
                slots.review(now)
        slots.assign(now)
        taken = dict.fromkeys(declared, 0)
        for slot in slots.workers.values():
            for task_id, running in slot.running.items():
                for name, amount in amounts_of(needs[task_id, running[0]]):
                    taken[name] += amount
        assert all(taken[name] <= amount for name, amount in declared.items())
