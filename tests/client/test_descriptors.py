"""A client whose process may open no more files says so, however many are left: libzmq would abort the process."""

from __future__ import annotations

import subprocess
import sys

from client.fake_node import FakeNode

SCRIPT = """
import os, resource, sys
from paceline.client import Client
from paceline.errors import OutOfResources

def outcome(timeout_s):
    try:
        with Client(sys.argv[1], connect_timeout_s=timeout_s) as client:
            return client.submit("echo", "done").result(10)
    except OutOfResources as error:
        assert "ulimit -n" in str(error), error
        return "named"

with Client(sys.argv[1]) as client:  # whatever is imported only now
    client.submit("echo", 1).result(10)
highest = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 16, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []
try:
    while True:
        taken.append(os.eventfd(0))
except OSError:
    pass
for left in range(11):
    print(left, outcome(0.05), flush=True)
    os.close(taken.pop())
print(11, outcome(10.0))
"""


def test_a_client_is_told_that_there_are_no_descriptors_however_few_are_left(node: FakeNode) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, node.address], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended
    assert ended.stdout.split("\n")[:-1] == [*(f"{left} named" for left in range(11)), "11 done"]
