"""The harness itself: what it builds does what it says, and nothing of it outlives its process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hosts.network import NAMESPACES, Host, Hosts, remove_leftovers
from integration.conftest import DEADLINE_S, wait_until

KILLED_RUN = """
import os, signal, subprocess, sys, psutil
from hosts.network import Hosts
from integration.conftest import wait_until
hosts = Hosts("left").__enter__()
quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
bound = subprocess.Popen(hosts["left"].command("sleep", "1000"), **quiet)
loose = subprocess.Popen(["ip", "netns", "exec", hosts["left"].namespace, "sleep", "1000"], **quiet)
for child in (bound, loose):
    wait_until(lambda: psutil.Process(child.pid).name() == "sleep", "the process has become what it shall be")
    child.send_signal(signal.SIGSTOP)
print(bound.pid, loose.pid, hosts["left"].namespace, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def pair(namespaces: None) -> Iterator[tuple[Hosts, Host, Host]]:
    with Hosts("one", "two") as hosts:
        yield hosts, hosts["one"], hosts["two"]


def arrives(source: Host, target: Host) -> bool:
    """Whether a datagram gets from one host to the other. On a link that works it always does, and at once."""
    with target.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with source.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((target.address, 0))
        receiver.settimeout(0.5)
        try:
            sender.sendto(b"hello", receiver.getsockname())
            return receiver.recv(16) == b"hello"
        except OSError:  # a blackhole refuses at once, a link that is down swallows
            return False


def test_a_link_that_is_down_carries_nothing_and_works_again_after_it(pair: tuple[Hosts, Host, Host]) -> None:
    hosts, one, two = pair
    wait_until(lambda: arrives(one, two) and arrives(two, one), "the link works")
    hosts.cut(two)
    assert not arrives(one, two)
    assert not arrives(two, one)
    hosts.heal()
    wait_until(lambda: arrives(one, two) and arrives(two, one), "the link works again")


def test_a_blackhole_swallows_one_direction_and_no_other(pair: tuple[Hosts, Host, Host]) -> None:
    hosts, one, two = pair
    wait_until(lambda: arrives(one, two) and arrives(two, one), "the link works")
    hosts.silence(one)
    assert not arrives(one, two)
    wait_until(lambda: arrives(two, one), "the other direction works")
    hosts.heal()
    hosts.deafen(one)
    assert not arrives(two, one)
    wait_until(lambda: arrives(one, two), "the other direction works")


def has_ended(pid: str) -> bool:
    """Whether a process is gone, or is a zombie that only waits for whoever inherited it."""
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_a_killed_run_leaves_is_ended_and_removed(namespaces: None) -> None:
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, "-c", KILLED_RUN],
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=environment,
    )
    assert done.returncode == -signal.SIGKILL
    bound, loose, namespace = done.stdout.split()
    wait_until(lambda: has_ended(bound), "a process of ours dies with the one that started it")
    assert not has_ended(loose)
    assert (NAMESPACES / namespace).exists()
    remove_leftovers()
    wait_until(lambda: has_ended(loose), "what was left is ended")
    assert not (NAMESPACES / namespace).exists()
