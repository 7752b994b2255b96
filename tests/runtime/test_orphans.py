"""What a node that is process 1 does with the orphans that it is given."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEADLINE_S = 60.0

# It becomes the parent of orphans as process 1 is, which no other process of a test can be.
SUBREAPER = """
import ctypes, os, subprocess, sys, time
from paceline.runtime.orphans import Orphans
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
deadline = time.monotonic() + 30.0
def wait_until(condition):
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
def children():
    threads = os.listdir("/proc/self/task")
    return {int(pid) for tid in threads for pid in open(f"/proc/self/task/{tid}/children").read().split()}
def has_ended(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
woken = []
own = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
orphans = Orphans(lambda: {own.pid}, lambda: woken.append(True))
orphans.watch()
wait_until(lambda: has_ended(own.pid))
for _ in range(5):
    subprocess.run([sys.executable, "-c", "import os; os.fork() or os._exit(0)"], check=True)
wait_until(lambda: len(children()) == 6 and all(map(has_ended, children())))
assert woken
first = orphans.reap()
assert own.pid in children(), "its own child is its pool's to wait for"
assert own.wait() == 7
assert orphans.are_due or first == 5
assert first + orphans.reap() == 5
assert not children()
assert not orphans.are_due
assert orphans.reap() == 0
print("all is well")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="makes itself a parent of orphans as Linux allows")
def test_orphans_are_waited_for_and_the_exit_codes_of_its_own_children_are_left_to_their_pools() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SUBREAPER], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "all is well\n"), ended.stderr
