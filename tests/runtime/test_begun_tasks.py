"""The memory that a worker shares with its node: what user code does to it does not end the node."""

from __future__ import annotations

import fcntl
import os
import sys

import pytest

from paceline.runtime.children.begun_tasks import NUMBERS, BegunTasks

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
