"""What a client is owed, and when it leaves."""

from __future__ import annotations

from paceline.core.clients.sessions import BYTES_PER_UPDATE, ITEM_BYTES, ITEMS_PER_UPDATE, ClientSession
from paceline_protocol.messages.client import Refusal, Update
from paceline_protocol.messages.records import TaskEnd


def session(window_bytes: int = 1 << 30) -> ClientSession:
    return ClientSession(b"key", b"c" * 16, 0.0, window_bytes)


def result(number: int, payload: bytes = b"") -> tuple[bytes, int, bytes]:
    return (number.to_bytes(16, "big"), int(TaskEnd.SUCCEEDED), payload)


def taken(each: ClientSession, now: float) -> list[Update]:
    """The Updates that are due by now, in the order in which they leave."""
    return list(iter(lambda: each.take_update(now), None))


def test_accepted_waits_until_it_is_due() -> None:
    each = session()
    each.add_accepted(1, due=2.0)
    assert taken(each, 1.9) == []
    (update,) = taken(each, 2.0)
    assert update.accepted == (1,)
    assert each.accept_due is None


def test_accepted_travels_with_a_result_that_comes_first() -> None:
    each = session()
    each.add_accepted(1, due=2.0)
    each.add_result(*result(1))
    (update,) = taken(each, 0.0)
    assert (update.accepted, update.results) == ((1,), (result(1),))
    assert taken(each, 5.0) == []


def test_a_prompt_batch_takes_those_that_linger_along() -> None:
    each = session()
    each.add_accepted(1, due=9.0)
    each.add_accepted(2, due=0.0)
    (update,) = taken(each, 0.0)
    assert update.accepted == (1, 2)


def test_a_refusal_leaves_at_once() -> None:
    each = session()
    each.refuse(b"i" * 16, Refusal.QUEUE_FULL, "full")
    (update,) = taken(each, 0.0)
    assert update.refused == ((b"i" * 16, Refusal.QUEUE_FULL, "full"),)


def test_updates_are_numbered_from_one_without_gaps() -> None:
    each = session()
    seqs = []
    for number in range(3):
        each.add_result(*result(number))
        seqs += [update.seq for update in taken(each, 0.0)]
    assert seqs == [1, 2, 3]


def test_many_results_are_cut_into_updates_of_bounded_number_and_size() -> None:
    each = session()
    for number in range(ITEMS_PER_UPDATE + 1):
        each.add_result(*result(number))
    assert [len(update.results) for update in taken(each, 0.0)] == [ITEMS_PER_UPDATE, 1]
    for number in range(3):
        each.add_result(*result(number, b"x" * (BYTES_PER_UPDATE // 2 + 1)))
    assert [len(update.results) for update in taken(each, 0.0)] == [1, 1, 1]


def test_many_refusals_and_accepted_batches_are_cut_too_and_what_is_refused_leaves_first() -> None:
    each = session()
    for number in range(ITEMS_PER_UPDATE + 1):
        each.refuse(number.to_bytes(16, "big"), Refusal.QUEUE_FULL, "full")
        each.add_accepted(number, due=9.0)
    updates = taken(each, 0.0)
    assert [len(update.refused) for update in updates] == [ITEMS_PER_UPDATE, 1]
    assert [len(update.accepted) for update in updates] == [0, ITEMS_PER_UPDATE]
    assert each.accept_due == 9.0
    assert [update.accepted for update in taken(each, 9.0)] == [(ITEMS_PER_UPDATE,)]
    assert each.accept_due is None


def test_results_are_released_when_their_update_is_acknowledged_and_once() -> None:
    each = session()
    for number in range(2):
        each.add_result(*result(number))
        taken(each, 0.0)
    assert each.acknowledge(1, 5.0) == [result(0)[0]]
    assert each.acknowledge(1, 5.0) == []
    assert each.acknowledge(9, 6.0) == [result(1)[0]]
    assert each.heard_at == 6.0


def test_what_is_past_the_window_waits_until_the_client_acknowledges() -> None:
    each = session(window_bytes=2 * (100 + ITEM_BYTES))
    for number in range(5):
        each.add_result(*result(number, b"x" * 100))
        each.refuse(number.to_bytes(16, "big"), Refusal.QUEUE_FULL, "full")
    (first,) = taken(each, 0.0)
    assert (len(first.results), len(first.refused)) == (5, 5), "an Update is not cut for the window"
    assert (each.waiting_bytes, each.has_window) == (0, False)
    each.add_result(*result(9, b"y" * 100))
    each.refuse(b"i" * 16, Refusal.QUEUE_FULL, "full")
    assert taken(each, 1.0) == []
    assert each.waiting_bytes == 100 + ITEM_BYTES + 4 + ITEM_BYTES
    assert len(each.acknowledge(first.seq, 2.0)) == 5
    (second,) = taken(each, 2.0)
    assert (second.seq, second.results) == (2, (result(9, b"y" * 100),))
    assert each.waiting_bytes == 0


def test_so_few_small_results_are_under_way_that_to_hear_of_them_all_takes_little() -> None:
    each = session(window_bytes=4 * ITEMS_PER_UPDATE * ITEM_BYTES)
    for number in range(9 * ITEMS_PER_UPDATE):
        each.add_result(*result(number))
    assert len(taken(each, 0.0)) == 4
    assert len(each.acknowledge(4, 0.0)) == 4 * ITEMS_PER_UPDATE


def test_an_accepted_is_told_past_the_window_unless_a_refusal_waits_that_it_would_contradict() -> None:
    each = session(window_bytes=1)
    each.add_result(*result(1))
    taken(each, 0.0)
    each.add_accepted(1, due=0.0)
    (update,) = taken(each, 0.0)
    assert update.accepted == (1,)
    each.refuse(b"i" * 16, Refusal.QUEUE_FULL, "full")
    each.add_accepted(2, due=0.0)
    assert taken(each, 5.0) == []
    each.acknowledge(2, 6.0)
    (update,) = taken(each, 6.0)
    assert (len(update.refused), update.accepted) == (1, (2,))


def test_a_session_is_idle_only_when_nothing_is_owed_and_nothing_runs() -> None:
    each = session()
    assert each.idle()
    each.open_tasks = 1
    assert not each.idle()
    each.open_tasks = 0
    each.add_accepted(1, 0.0)
    assert not each.idle()
    taken(each, 0.0)
    assert each.idle()
