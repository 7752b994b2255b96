"""The backlog stays with RabbitMQ: how much may be at the cluster."""

from __future__ import annotations

from paceline_bridge.window import WINDOW_MAX, WINDOW_MIN, Window


def status(queued: int, slots: int) -> dict[str, object]:
    return {"queued": queued, "nodes": [{"slots": slots, "alive": True}, {"alive": False}, {"id": "not heard yet"}]}


def test_a_window_that_is_full_while_the_cluster_has_room_grows_to_its_bound() -> None:
    window = Window()
    cluster = status(queued=0, slots=4)
    for second in range(1, 20):
        window.adjust(float(second), window.size, cluster)
    assert window.size == WINDOW_MAX


def test_a_window_that_nobody_fills_stays() -> None:
    window = Window()
    cluster = status(queued=0, slots=4)
    for second in range(1, 20):
        window.adjust(float(second), 3, cluster)
    assert window.size == WINDOW_MIN


def test_a_cluster_that_has_work_waiting_gets_less_and_never_nothing() -> None:
    window = Window()
    window.size = WINDOW_MAX
    cluster = status(queued=5_000, slots=4)
    for second in range(1, 20):
        window.adjust(float(second), window.size, cluster)
    assert window.size == WINDOW_MIN


def test_every_slot_of_a_large_cluster_has_its_task() -> None:
    window = Window()
    cluster = status(queued=5_000, slots=500)
    window.adjust(1.0, 0, cluster)
    assert window.size == 1_000


def test_without_a_status_there_is_a_window_all_the_same() -> None:
    window = Window()
    window.adjust(1.0, 0, {})
    assert window.size == WINDOW_MIN
