"""Machines on a switch, made of Linux network namespaces: real network stacks, and links that can be broken.

Each host is a namespace with one interface and an address. The switch is a bridge in a namespace of its own, so nothing
of the machine's own network is touched. The kernel may lack netem and iptables, so a fault is one of three things: a
port of the switch that is down, a route that swallows what goes one way, or a token bucket filter, which makes a link
slow or swallows what is large.

Nothing is left behind: processes get SIGKILL when the process that started them dies, however it does, and the
namespaces that such a death leaves are removed by the next run (their names say whose they are).
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

NAMESPACES = Path("/run/netns")
PREFIX = "paceline-hosts"
SUBNET = "10.77.7"
COMMAND_TIMEOUT_S = 10.0
SMALL_PACKET_BYTES = 1_000
END_TIMEOUT_S = 5.0
CLONE_NEWNET = 0x40000000

_OURS = re.compile(rf"{PREFIX}-(?P<pid>\d+)-(?P<started_at>\d+)-\d+-\w+")
_libc = ctypes.CDLL(None, use_errno=True)
_counter = itertools.count()


class NetworkError(Exception):
    """A command that builds or breaks the network failed; the message has its output."""


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the network."""

    name: str
    namespace: str
    address: str  # IPv4
    port: str  # of the switch

    @property
    def inode(self) -> int:
        """What tells a process where it runs: the inode of /proc/self/ns/net there."""
        return (NAMESPACES / self.namespace).stat().st_ino

    def command(self, *command: str) -> list[str]:
        """The same command, run on this host. It has the pid of the command itself, and dies with its parent."""
        return ["ip", "netns", "exec", self.namespace, "setpriv", "--pdeathsig", "KILL", "--", *command]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is on the host for the length of the block. Sockets made there stay there, and so do threads
        that are started in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(NAMESPACES / self.namespace)
            try:
                yield
            finally:
                _set_namespace(home)
        finally:
            os.close(home)


class Hosts:
    """A context manager: hosts that reach each other, by name. They are gone after the block, however it is left."""

    def __init__(self, *names: str) -> None:
        run = f"{PREFIX}-{os.getpid()}-{_started_at(os.getpid())}-{next(_counter)}"
        self.switch = f"{run}-switch"
        self._hosts = {
            name: Host(name, f"{run}-{name}", f"{SUBNET}.{number}", f"port{number}")
            for number, name in enumerate(names, 1)
        }
        self._blackholes: set[tuple[Host, Host]] = set()
        self._down: set[Host] = set()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def __enter__(self) -> Hosts:
        remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _build(self) -> None:
        ip("netns", "add", self.switch)
        # Without snooping the bridge floods multicast, as a plain switch does.
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for host in self:
            ip("netns", "add", host.namespace)
            with host.entered():
                # Packets are taken from senders that a blackhole keeps us from answering; and nothing waits for IPv6.
                Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")
                Path("/proc/sys/net/ipv4/conf/default/rp_filter").write_text("0")
                _disable_ipv6()
            ends = ("link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("-n", self.switch, *ends)
            ip("-n", self.switch, "link", "set", host.port, "master", "br0", "up")
            ip("-n", host.namespace, "link", "set", "lo", "up")
            ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
            # Multicast goes where the default route does.
            ip("-n", host.namespace, "route", "add", "default", "dev", "eth0")

    def close(self) -> None:
        _remove([self.switch, *(host.namespace for host in self)])

    # --- faults -------------------------------------------------------------------------------------------------

    def cut(self, host: Host) -> None:
        """Take the link of a host down: the others lose it, and it sees that its carrier is gone."""
        ip("-n", self.switch, "link", "set", host.port, "down")
        self._down.add(host)

    def join(self, host: Host) -> None:
        """Undo :meth:`cut`."""
        ip("-n", self.switch, "link", "set", host.port, "up")
        self._down.discard(host)

    def blackhole(self, source: Host, target: Host) -> None:
        """Swallow what ``source`` sends to ``target``; the other direction works. Multicast is not swallowed."""
        ip("-n", source.namespace, "route", "add", "blackhole", f"{target.address}/32")
        self._blackholes.add((source, target))

    def silence(self, host: Host) -> None:
        """Nothing that the host sends arrives anywhere."""
        for other in self:
            if other != host:
                self.blackhole(host, other)

    def deafen(self, host: Host) -> None:
        """Nothing that anybody sends to the host arrives."""
        for other in self:
            if other != host:
                self.blackhole(other, host)

    def slow_down(self, host: Host, bytes_per_s: int) -> None:
        """Let the link of a host carry so much each way, as long as the network is there. Raises NetworkError where the
        kernel has no token bucket filter."""
        for way in ((host.namespace, "eth0"), (self.switch, host.port)):
            _fill_bucket(*way, f"{bytes_per_s}bps", "128kb")

    def swallow_large(self, host: Host, *, outgoing: bool = False) -> None:
        """Of what is sent to the host, or by it, nothing arrives that does not fit into SMALL_PACKET_BYTES, and nobody
        is told so, as long as the network is there: a path with an MTU that nobody knows. Raises NetworkError as
        above."""
        way = (host.namespace, "eth0") if outgoing else (self.switch, host.port)
        _fill_bucket(*way, "100mbps", str(SMALL_PACKET_BYTES))

    def heal(self) -> None:
        """Undo every fault."""
        for source, target in list(self._blackholes):
            ip("-n", source.namespace, "route", "delete", "blackhole", f"{target.address}/32")
            self._blackholes.discard((source, target))
        for host in list(self._down):
            self.join(host)


def why_not() -> str:
    """Why no such network can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "setpriv") if shutil.which(tool) is None]
    if missing:
        return f"the command {missing[0]} is missing; install iproute2 and util-linux"
    try:
        with Hosts("probe"):
            return ""
    except (NetworkError, OSError) as error:
        return f"network namespaces are not permitted here: {error}"


def _fill_bucket(namespace: str, device: str, rate: str, burst: str) -> None:
    """Let a device send at this rate, by a token bucket filter: it drops what is larger than its burst."""
    bucket = ("rate", rate, "burst", burst, "latency", "100ms")
    _run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf", *bucket)


def ip(*arguments: str) -> str:
    """Run ``ip``; its output. Raises NetworkError."""
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise NetworkError(f"the command {command[0]} is missing; install iproute2") from None
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def remove_leftovers() -> None:
    """Remove the networks of earlier runs whose process is gone, and what still runs in them."""
    if NAMESPACES.is_dir():
        names = [name for entry in NAMESPACES.iterdir() if (name := _OURS.fullmatch(entry.name))]
        _remove([name[0] for name in names if not _owner_lives(name)])


def _owner_lives(name: re.Match[str]) -> bool:
    try:
        return _started_at(int(name["pid"])) == int(name["started_at"])
    except OSError:
        return False


def _started_at(pid: int) -> int:
    """When a process started, in clock ticks: with its pid it names it for good. Raises OSError if it is gone."""
    # The name of the command is in parentheses, and may hold anything.
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _remove(namespaces: Sequence[str]) -> None:
    """End what runs in these namespaces, and remove them. Another run may be removing the same leftovers."""
    for name in namespaces:
        deadline_s = time.monotonic() + END_TIMEOUT_S
        while pids := _pids_in(name):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it ended by itself
            if time.monotonic() > deadline_s:
                raise NetworkError(f"the processes {pids} don't end, so that {name} can't be removed")
            time.sleep(0.01)
    for name in namespaces:
        if (NAMESPACES / name).exists():
            try:
                ip("netns", "delete", name)
            except NetworkError:
                if (NAMESPACES / name).exists():
                    raise


def _pids_in(namespace: str) -> list[int]:
    if not (NAMESPACES / namespace).exists():
        return []
    try:
        return [int(pid) for pid in ip("netns", "pids", namespace).split()]
    except NetworkError:
        if (NAMESPACES / namespace).exists():
            raise
        return []


def _disable_ipv6() -> None:
    path = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if path.exists():
        path.write_text("1")


def _enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        _set_namespace(descriptor)
    finally:
        os.close(descriptor)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"can't enter a network namespace: {os.strerror(error)}")
