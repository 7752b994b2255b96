"""The memory that a worker shares with its node: what user code does to it does not end the node."""

from __future__ import annotations

import fcntl
import mmap
import os
import sys

import pytest

from paceline.runtime.children.begun_tasks import NUMBERS, BegunTasks
from paceline.stop_signal import ASKED_NUMBERS
from paceline.worker.stop_requests import ASKED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no such memory elsewhere")


@pytest.mark.parametrize("size", [0, 1, NUMBERS.size - 1, NUMBERS.size + 1, 1 << 20])
def test_a_worker_can_not_change_the_size_of_what_its_node_reads(size: int) -> None:
    """Or the kernel would end the node at its next look (SIGBUS)."""
    shared = BegunTasks()
    with pytest.raises(PermissionError):
        os.ftruncate(shared.fd, size)
    shared.withhold(3)
    assert shared.begun == 0
    shared.close_fd()


def test_a_worker_can_not_lift_that_nor_keep_its_node_from_writing() -> None:
    shared = BegunTasks()
    with pytest.raises(PermissionError):
        fcntl.fcntl(shared.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    shared.close_fd()


def test_whatever_a_worker_writes_there_is_a_number() -> None:
    shared = BegunTasks()
    os.pwrite(shared.fd, b"\xff" * NUMBERS.size, 0)
    assert shared.begun == 2**64 - 1
    shared.close_fd()


def test_of_several_that_it_is_to_stop_each_stands_there_and_is_news_once() -> None:
    begun_tasks = BegunTasks()
    numbers = memoryview(mmap.mmap(begun_tasks.fd, NUMBERS.size)).cast("Q")
    assert [begun_tasks.stop(number) for number in (3, 2)] == [True, True]
    assert (numbers[2], numbers[ASKED + 2], numbers[ASKED + 3], numbers[ASKED + 4]) == (3, 2, 3, 0)
    numbers[3] = 3  # it has seen the last
    assert [begun_tasks.stop(number) for number in (3, 2)] == [False, False]
    later = 2 + ASKED_NUMBERS
    assert begun_tasks.stop(later)
    assert numbers[ASKED + 2] == later
    begun_tasks.close_fd()
