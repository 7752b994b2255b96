"""How attempts were lost, for the error of a task that has none left."""

from __future__ import annotations

from paceline.core.scheduling.losses import KEPT_LOSSES, LOSSES_LIMIT, Losses, loss_on
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES

TASK, OTHER = b"t" * 16, b"o" * 16


def test_the_last_loss_is_told_first_and_those_that_are_alike_together() -> None:
    losses = Losses()
    for loss in ("on node a: killed by SIGSEGV", "on node b: exit code 3", "on node a: killed by SIGSEGV"):
        losses.add(TASK, loss)
    assert losses.all_of(TASK, "on node c: exit code 7") == (
        "last on node c: exit code 7; before that 2 times on node a: killed by SIGSEGV; on node b: exit code 3"
    )
    assert losses.all_of(OTHER, "on node c: exit code 7") == "last on node c: exit code 7"


def test_nothing_is_remembered_of_a_task_that_has_ended() -> None:
    losses = Losses()
    losses.add(TASK, "on node a: killed")
    assert losses
    losses.forget(TASK)
    losses.forget(OTHER)
    assert not losses


def test_what_is_remembered_is_bounded_in_tasks_in_losses_and_in_their_length() -> None:
    losses = Losses()
    for number in range(LOSSES_LIMIT + 1):
        losses.add(number.to_bytes(16, "big"), "on node a: killed")
    assert len(losses._by_id) == LOSSES_LIMIT
    assert losses.all_of(bytes(16), "on node b: killed") == "last on node b: killed", "the oldest is forgotten"
    for number in range(2 * KEPT_LOSSES):
        losses.add(TASK, f"on node {number}: killed")
    assert losses._by_id[TASK] == [f"on node {number}: killed" for number in range(KEPT_LOSSES, 2 * KEPT_LOSSES)]
    assert len(loss_on("a", b"x" * 10_000)) < SUMMARY_LIMIT_BYTES + 20
    assert loss_on("a", b"\xff") == "on node a: \ufffd"
