"""A node keeps the last that its tasks have said, within bounds."""

from __future__ import annotations

from paceline.core.work.kept_remarks import KEPT_BYTES, KEPT_S, KEPT_TASKS, TASK_BYTES, KeptRemarks
from paceline_protocol.codec import decode, encode
from paceline_protocol.limits import MAX_INT, OUTPUT_BYTES, PROGRESS_BYTES, REMARKS_BYTES
from paceline_protocol.messages.work import RemarkAnswer

W = b"worker 1"


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def said(kept: KeptRemarks, number: int, attempt: int = 1, *, at: float = 1.0, **what: bytes | int) -> None:
    progress, output, skipped = what.get("progress", b""), what.get("output", b""), what.get("skipped", 0)
    assert isinstance(progress, bytes)
    assert isinstance(output, bytes)
    assert isinstance(skipped, int)
    kept.add(W, (tid(number), attempt, progress, output, skipped), at, round(at * 1_000))


def test_the_latest_progress_is_kept_and_the_end_of_the_output() -> None:
    kept = KeptRemarks()
    said(kept, 1, progress=b"1", output=b"one\n")
    said(kept, 1, at=2.0, output=b"two\n")
    said(kept, 1, at=3.0, progress=b"3")
    said(kept, 1, at=4.0)
    remark = kept.of(tid(1))
    assert remark is not None
    assert (remark.progress, remark.progress_ms, remark.heard_ms) == (b"3", 3_000, 4_000)
    assert (remark.output, remark.skipped) == (b"one\ntwo\n", 0)
    said(kept, 1, output=b"x" * OUTPUT_BYTES)
    assert (remark.output, remark.skipped) == (b"x" * OUTPUT_BYTES, 8)


def test_output_that_its_worker_has_left_out_leaves_no_gap_in_what_is_kept() -> None:
    kept = KeptRemarks()
    said(kept, 1, output=b"before")
    said(kept, 1, output=b"after", skipped=100)
    remark = kept.of(tid(1))
    assert remark is not None
    assert (remark.output, remark.skipped) == (b"after", 106)


def test_what_is_kept_can_be_told_whatever_number_user_code_has_said() -> None:
    kept = KeptRemarks()
    for _ in range(2):
        said(kept, 1, output=b"x", skipped=MAX_INT)
    remark = kept.of(tid(1))
    assert remark is not None
    told = RemarkAnswer(1, 1, tid(1), remark.attempt, 0, 0, b"", remark.output, remark.skipped)
    assert decode(encode(told)) == told


def test_a_later_attempt_begins_anew_and_an_earlier_one_counts_for_nothing() -> None:
    kept = KeptRemarks()
    said(kept, 1, 2, progress=b"second", output=b"of the second")
    said(kept, 1, 1, progress=b"first", output=b"of the first")
    remark = kept.of(tid(1))
    assert remark is not None
    assert (remark.attempt, remark.progress, remark.output) == (2, b"second", b"of the second")
    said(kept, 1, 3)
    remark = kept.of(tid(1))
    assert remark is not None
    assert (remark.attempt, remark.progress, remark.output) == (3, b"", b"")


def test_what_no_worker_of_ours_says_is_not_kept() -> None:
    kept = KeptRemarks()
    said(kept, 1, progress=b"x" * (PROGRESS_BYTES + 1))
    said(kept, 1, output=b"x" * (REMARKS_BYTES + 1))
    assert len(kept) == 0


def test_those_that_do_not_run_make_way_first_and_the_one_heard_longest_ago_before_others() -> None:
    kept = KeptRemarks()
    for number in range(KEPT_TASKS + 2):
        said(kept, number)
    assert kept.is_full
    kept.make_room({tid(0), tid(2)})
    assert len(kept) == KEPT_TASKS
    assert [number for number in range(6) if kept.of(tid(number)) is None] == [1, 3]
    running = {tid(number) for number in range(KEPT_TASKS + 10)}
    for number in range(KEPT_TASKS + 2, KEPT_TASKS + 5):
        said(kept, number)
    kept.make_room(running)
    assert len(kept) == KEPT_TASKS
    assert kept.of(tid(0)) is None, "all of them run, and there are too many"


def test_they_are_bounded_in_bytes() -> None:
    kept = KeptRemarks()
    for number in range(KEPT_BYTES // OUTPUT_BYTES + 10):
        said(kept, number, output=b"x" * OUTPUT_BYTES)
        if kept.is_full:
            kept.make_room(set())
    assert len(kept) == KEPT_BYTES // (OUTPUT_BYTES + TASK_BYTES)
    assert kept.of(tid(0)) is None


def test_a_task_that_has_ended_is_forgotten_after_a_while_and_one_that_runs_is_not() -> None:
    kept = KeptRemarks()
    said(kept, 1, at=1.0)
    said(kept, 2, at=1.0)
    said(kept, 3, at=100.0)
    kept.forget({tid(2)}, 1.0 + KEPT_S - 1)
    assert len(kept) == 3
    kept.forget({tid(2)}, 1.0 + KEPT_S)
    assert kept.of(tid(1)) is None
    assert kept.of(tid(2)) is not None
    assert kept.of(tid(3)) is not None
