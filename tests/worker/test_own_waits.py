"""What a worker says of a task that waits for another one, and when it says nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from paceline.worker import current
from paceline.worker.own_waits import OwnWaits
from paceline_protocol.codec import decode
from paceline_protocol.messages.children import GoesOn, Waits

ID, OTHER = b"i" * 16, b"o" * 16


class Said:
    """What was sent, and when what stood before was told."""

    def __init__(self) -> None:
        self.messages: list[object] = []
        self.waits = OwnWaits(
            lambda frame: self.messages.append(decode(frame)), lambda: self.messages.append("flush")
        ).waits


@pytest.fixture
def said() -> Iterator[Said]:
    """A worker has begun the second of the tasks that it was given."""
    before, waited = current.run, set(current.has_waited)
    run = [(b"b" * 16, 1, "before", b"", None), (ID, 1, "mine", b"", None)]
    current.run = (memoryview(bytearray(8 * 4)).cast("Q"), 0, run)
    current.run[0][0] = 2
    yield Said()
    current.run = before
    current.has_waited.clear()
    current.has_waited.update(waited)


def test_it_says_what_its_task_waits_for_once_what_stood_before_is_told_and_that_it_goes_on(said: Said) -> None:
    goes_on = said.waits(OTHER)
    assert said.messages == ["flush", Waits(ID, OTHER)]
    assert goes_on is not None
    goes_on()
    assert said.messages[2:] == [GoesOn(ID)]
    assert "mine" in current.has_waited


def test_where_no_task_runs_it_says_nothing(said: Said) -> None:
    current.run = None
    assert said.waits(OTHER) is None
    assert said.messages == []


def test_another_thread_says_nothing_as_its_task_may_compute_meanwhile(said: Said) -> None:
    found: list[object] = ["nothing yet"]
    thread = threading.Thread(target=lambda: found.append(said.waits(OTHER)))
    thread.start()
    thread.join(10)
    assert (found, said.messages) == (["nothing yet", None], [])


def test_a_process_that_a_task_has_forked_says_nothing(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert said.waits(OTHER) is None
    assert said.messages == []
