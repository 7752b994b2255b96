"""What a client makes of what it is told of running tasks."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.client.progress import output_of, progress_of
from paceline.errors import ResultUnknown
from paceline_protocol.limits import PROGRESS_TEXT_CHARS
from paceline_protocol.payload import pack_value

ID = bytes(16)
TOLD: dict[str, Any] = {
    "known": True,
    "is_open": True,
    "unheard": [],
    "is_settled": True,
    "attempt": 2,
    "node": "n1",
    "heard_ms": 2_000,
    "progress": pack_value((1, 4, "a quarter")),
    "progress_ms": 1_000,
    "output": b"printed",
    "skipped": 10,
}


def body(**changes: Any) -> bytes:
    return pack_value(TOLD | changes)


def test_progress_has_what_the_task_said_and_when_and_where() -> None:
    told = progress_of(ID, body())
    assert told is not None
    assert (told.done, told.total, told.text, told.fraction) == (1, 4, "a quarter", 0.25)
    assert (told.attempt, told.node) == (2, "n1")
    assert told.at is not None
    assert (told.at.timestamp(), told.heard_at.timestamp()) == (1.0, 2.0)


def test_of_a_task_that_says_nothing_there_is_none_and_of_one_that_only_lives_no_number() -> None:
    assert progress_of(ID, body(attempt=None, heard_ms=None, progress=None, progress_ms=None)) is None
    told = progress_of(ID, body(progress=None, progress_ms=None))
    assert told is not None
    assert (told.done, told.total, told.text, told.at, told.fraction) == (None, None, "", None, None)


def test_an_id_that_the_cluster_does_not_know_is_an_error_that_says_so() -> None:
    for ask in (progress_of, output_of):
        with pytest.raises(ResultUnknown, match=f"{ID.hex()}: no task of this id"):
            ask(ID, body(known=False, attempt=None))


@pytest.mark.parametrize(
    "said",
    [
        b"\xc1",
        pack_value(None),
        pack_value((1, 2)),
        pack_value(("1", 2, "")),
        pack_value((-1, 2, "")),
        pack_value((float("nan"), 2, "")),
        pack_value((1, float("inf"), "")),
        pack_value((10**400, None, "")),
        pack_value((1, 2, b"")),
    ],
)
def test_what_no_worker_of_ours_says_counts_as_nothing_said(said: bytes) -> None:
    told = progress_of(ID, body(progress=said))
    assert told is not None
    assert (told.done, told.total, told.text) == (None, None, "")


def test_a_text_of_any_length_is_cut() -> None:
    told = progress_of(ID, body(progress=pack_value((1, None, "x" * 10_000))))
    assert told is not None
    assert (told.done, told.total, len(told.text)) == (1, None, PROGRESS_TEXT_CHARS)


@pytest.mark.parametrize(("done", "total", "fraction"), [(3, 2, 1.0), (0, 0, 1.0), (0, 4, 0.0), (1.5, 3, 0.5)])
def test_a_fraction_is_between_0_and_1(done: float, total: float, fraction: float) -> None:
    told = progress_of(ID, body(progress=pack_value((done, total, ""))))
    assert told is not None
    assert told.fraction == fraction


def test_output_begins_with_a_whole_character_and_says_what_is_not_kept() -> None:
    told = output_of(ID, body(output="äb".encode()[1:]))
    assert (told.text, told.skipped, told.size) == ("b", 11, 1)
    assert (told.attempt, told.node) == (2, "n1")
    assert output_of(ID, body(output=b"\xff\xfe")).text == "\ufffd\ufffd"
    nothing = output_of(ID, body(output=b"", skipped=0, attempt=None, heard_ms=None, node=""))
    assert (nothing.text, nothing.heard_at) == ("", None)
