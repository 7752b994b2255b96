"""What a node declares is more than what its tasks take, whoever gave them to it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from core.work.test_slots import outcome
from paceline.core.work.slots import NO_ROOM_S, Slots
from paceline_protocol.messages.records import Assignment, TaskEnd
from paceline_protocol.places import amounts_of, units_of


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


# --- units that have numbers


def gpu_slots(*workers: bytes, gpus: tuple[int, ...] = (0, 2, 3)) -> Slots:
    slots = Slots(amounts=f"gpu={len(gpus)}", units=(("gpu", gpus),))
    for worker_id in workers:
        slots.worker_ready(worker_id, ("add",))
    return slots


def units_given(slots: Slots) -> dict[int, str]:
    """Task -> the units that its worker is told of."""
    return {
        int.from_bytes(task[0], "big"): "" if task[4] is None else task[4].get("units", "")
        for _, tasks in slots.assign(0.0)
        for task in tasks
    }


def test_each_task_is_told_which_units_it_has_and_no_two_have_the_same() -> None:
    slots = gpu_slots(b"v", b"w", b"x", b"y")
    slots.take([assignment(1, "gpu=1"), assignment(2, "gpu=2"), assignment(3, "gpu=1"), assignment(4)], 0.0)
    assert units_given(slots) == {1: "gpu=0", 2: "gpu=2+3", 4: ""}
    slots.done(b"v", (outcome(1),), 0.1)
    assert units_given(slots) == {3: "gpu=0"}


def test_a_task_that_waits_again_is_given_units_anew() -> None:
    slots = gpu_slots(b"v", b"w", gpus=(5,))
    slots.take([assignment(1, "gpu=1")], 0.0)
    assert units_given(slots) == {1: "gpu=5"}
    slots.worker_lost(b"v", 0)
    slots.take([assignment(1, "gpu=1", attempt=2)], 0.1)
    assert units_given(slots) == {1: "gpu=5"}


def test_a_worker_is_given_the_gpus_that_it_had_before() -> None:
    slots = gpu_slots(b"v", b"w", b"x", gpus=(0, 1))
    slots.take([assignment(1, "gpu=1"), assignment(2, "gpu=1")], 0.0)
    assert units_given(slots) == {1: "gpu=0", 2: "gpu=1"}
    had = {
        int.from_bytes(next(iter(slot.running)), "big"): each for each, slot in slots.workers.items() if slot.running
    }
    slots.done(had[2], (outcome(2),), 0.1)
    slots.take([assignment(3, "gpu=1")], 0.2)
    assert units_given(slots) == {3: "gpu=1"}
    assert assignment(3)[0] in slots.workers[had[2]].running, "and not the worker that has had none"


def test_a_worker_that_had_other_gpus_is_replaced_where_no_other_is_free() -> None:
    slots = gpu_slots(b"v", gpus=(0, 1))
    slots.take([assignment(1, "gpu=1")], 0.0)
    assert units_given(slots) == {1: "gpu=0"}
    slots.done(b"v", (outcome(1),), 0.1)
    slots.take([assignment(2, "gpu=2"), assignment(3)], 0.2)
    assert units_given(slots) == {3: ""}, "what needs no GPU passes"
    assert slots.leaving == {b"v": "it may have opened other GPUs than those that are free"}
    slots.done(b"v", (outcome(3),), 0.3)
    slots.worker_ready(b"w", ("add",))
    assert units_given(slots) == {2: "gpu=0+1"}


def test_units_of_other_resources_go_to_any_worker() -> None:
    slots = Slots(amounts="port=2", units=(("port", (8_001, 8_002)),))
    slots.worker_ready(b"v", ("add",))
    for number, needs in enumerate(("port=1", "port=2", "port=1")):
        slots.take([assignment(number, needs)], 0.0)
        assert units_given(slots) == {number: "port=8001+8002" if needs == "port=2" else "port=8001"}
        slots.done(b"v", (outcome(number),), 0.1)


@given(rng=st.randoms(use_true_random=False))
def test_whatever_happens_no_two_tasks_have_one_unit_and_no_worker_has_seen_two_sets_of_gpus(rng: Random) -> None:
    slots = gpu_slots(*[bytes([number]) for number in range(3)], gpus=(1, 2, 4))
    units: dict[tuple[bytes, int], tuple[int, ...]] = {}
    seen: dict[bytes, set[tuple[int, ...]]] = {}
    for step in range(60):
        now = step * 0.05
        match rng.randrange(4):
            case 0:
                slots.take([assignment(rng.randrange(8), rng.choice(["", "gpu=1", "gpu=2", "gpu=3"]), step + 1)], now)
            case 1:
                worker_id = rng.choice(sorted(slots.workers))
                for task_id, running in list(slots.workers[worker_id].running.items()):
                    slots.done(worker_id, ((task_id, running[0], int(TaskEnd.SUCCEEDED), b"", 10),), now)
            case 2 if rng.random() < 0.4:
                slots.worker_lost(rng.choice(sorted(slots.workers)), rng.choice((None, 1)))
            case _:
                slots.review(now)
        for _ in slots.take_left():
            pass
        while len(slots.workers) < 3 or slots.leaving:
            slots.worker_ready(rng.randbytes(8), ("add",))
            slots.take_left()
            if len(slots.workers) >= 6:
                break
        for worker_id, tasks in slots.assign(now):
            for task in tasks:
                text = (task[4] or {}).get("units", "")
                units[task[0], task[1]] = numbers = units_of(text).get("gpu", ())
                assert len(numbers) == sum(amount for _, amount in amounts_of((task[4] or {}).get("needs", "")))
                if numbers:
                    seen.setdefault(worker_id, set()).add(numbers)
        had = [
            number
            for slot in slots.workers.values()
            for task_id, running in slot.running.items()
            for number in units[task_id, running[0]]
        ]
        assert len(had) == len(set(had))
        assert set(had) <= {1, 2, 4}
    assert all(len(sets) == 1 for sets in seen.values())
