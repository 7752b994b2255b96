"""Pools of child processes: they start the processes of a node, notice their ends, replace them, and end them.

The rules of this module:

- The node learns of a child's end from the kernel, through a file descriptor that the reactor watches (a pidfd on
  Linux), and not from a timeout: the tasks of a crashed worker are dispatched again at once.
- A child that can't live must not overload the machine. If a child dies within QUICK_DEATH_S of its start, it is
  replaced after a pause, which doubles with each such death in a row. What else says that a child can't live is the
  business of each kind of pool (``worker_pool.py``).
- Each child leads a session of its own. Ctrl-C in a terminal goes to the foreground group, so it reaches only the node,
  which decides when its workers end. (A group alone would do for that, but a background group that writes to a
  terminal with ``tostop`` set is stopped.) When a worker ends, the processes that its task started are killed with it:
  the attempt is run again, and the two must not run side by side.
- A file beside the user's modules hides none of what a child needs to start, even if it is named as a module of Python
  is (signal, logging). A worker adds the directory to its path when it imports them (``worker/registry.py``).
- Each child gets one end of a socket pair. The transport sends and receives on the other end, and nothing here does.
  ``now`` is in seconds of any clock that never goes back.

Linux kills a child when the *thread* that started it ends (``worker/parent.py``), so ``start`` and ``respawn`` must be
called from a thread that lives as long as the node.
"""

from __future__ import annotations

import logging
import os
import resource
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from paceline.runtime.children.begun_tasks import BegunTasks
from paceline.runtime.children.causes import OUT_OF_MEMORY, OomKills, by_the_kernel, of_code
from paceline.runtime.limits import files_of_children, with_reserve
from paceline.runtime.transport.transport import Source

WORKER_ID_BYTES = 8
QUICK_DEATH_S = 1.0
UNLINKED = ", after it had closed its link to the node, which ends it then; os.execv() in a task closes it"
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 10.0
KILLED_END_LIMIT_S = 5.0
"""How long stop waits for children that were killed: one may be stuck in the kernel, on a file system that is gone."""

PAGE_BYTES = resource.getpagesize()
_PF_EXITING = 0x4  # linux/sched.h

_logger = logging.getLogger("paceline.pool")


@dataclass(frozen=True, slots=True)
class Child:
    """A running worker process, or another child of the node."""

    id: bytes  # fresh for each child
    pid: int
    fd: int  # readable once the child has ended
    started_at: float
    process: subprocess.Popen[bytes] = field(repr=False)
    link: socket.socket = field(repr=False)  # frames both ways; its end of file tells either that the other is gone
    begun_tasks: BegunTasks | None = field(default=None, repr=False)  # of a worker


class ChildEnd(NamedTuple):
    """A child has ended. ``how``: in words, "exit code 3" or "killed by SIGSEGV". ``cause``: one of ``causes.py``."""

    id: bytes
    how: str
    cause: str


@dataclass(slots=True, eq=False)
class ChildSlot:
    """The place of one child, and what became of the children that had it before."""

    child: Child | None = None
    failures: int = 0  # children in a row that could not live
    unweighed: Child | None = None  # it has ended, and the pause before its successor is not decided yet
    due: float = 0.0  # when the next child may start


class ChildPool:
    """``size`` processes that run one program. One thread. ``kind``: what they are; none of them has a say in it."""

    def __init__(
        self,
        kind: Source,
        *,
        size: int,
        program: str,
        arguments: tuple[str, ...],
        inherited: tuple[int, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``kind``: as which the transport reports their frames.
        ``program``: a module that python -m runs, whose options are ``--link FD`` and then ``arguments``.
        ``inherited``: descriptors of this process that the children get, too. ``environment``: that of the children;
        None: that of this process."""
        self.kind = kind
        self.program = program
        self._arguments = arguments
        self._inherited = inherited
        self.environment = environment
        self._slots = [ChildSlot() for _ in range(size)]
        self._by_fd: dict[int, ChildSlot] = {}
        self._stopped = False
        self._unlinked: set[bytes] = set()  # children that had closed their links, and lived
        self._killed: set[bytes] = set()  # children that this node has killed
        self._oom_kills = OomKills()
        self.workers: dict[bytes, Child] = {}

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors to watch: each becomes readable when its child has ended."""
        return tuple(self._by_fd)

    def start(self, now: float = float("-inf")) -> None:
        """Start every child. Raises OSError, with none left running. Without ``now`` no first death counts as quick."""
        try:
            for slot in self._slots:
                self._spawn(slot, now)
        except OSError:
            self.stop(0)
            raise

    def reap(self, fd: int) -> ChildEnd | None:
        """The child behind a readable fd has ended.

        None if it has not, or if the fd is not of this pool. Closes the fd: unwatch it before the next respawn, which
        may be given the same number.
        """
        slot = self._by_fd.get(fd)
        if slot is None or slot.child is None or not _readable(fd, 0):
            return None
        child = slot.child
        code, peak_bytes = self._collect(child)
        how, cause = of_code(code)
        if child.id in self._unlinked:
            self._unlinked.remove(child.id)
            how += UNLINKED
        if code != -signal.SIGKILL or child.id in self._killed:
            self._oom_kills.is_no_cause()
        elif self._oom_kills.explains_one():
            how, cause = by_the_kernel(peak_bytes), OUT_OF_MEMORY
        self._forget(slot)
        slot.unweighed = child
        return ChildEnd(child.id, how, cause)

    def child_at(self, fd: int) -> Child | None:
        """The child that this descriptor belongs to: what tells of its end, or its link."""
        return next((child for child in self.workers.values() if fd in (child.fd, child.link.fileno())), None)

    def respawn(self, now: float) -> list[Child]:
        """Replace the children that ended, each once its pause is over. Returns the new ones."""
        started: list[Child] = []
        if self._stopped:
            return started
        for slot in self._slots:
            if slot.child is not None or self._due(slot, now) > now:
                continue
            try:
                started.append(self._spawn(slot, now))
            except OSError as error:  # out of memory, processes or file descriptors: try again later
                slot.failures += 1
                slot.due = now + _pause_s(slot.failures)
                _logger.error("no %s could be started (%s); next try in %.1f s", self.program, error, slot.due - now)
        return started

    def next_respawn(self, now: float) -> float | None:
        """When respawn has something to do next. None while every child lives."""
        if self._stopped:
            return None
        return min((self._due(slot, now) for slot in self._slots if slot.child is None), default=None)

    def kill(self, worker_id: bytes) -> None:
        """Kill a child and the processes that its task started. Its fd becomes readable as at any end. Unknown ids are
        ignored."""
        child = self.workers.get(worker_id)
        if child is not None:
            self._killed.add(worker_id)
            _signal_session(child, signal.SIGKILL)

    def kill_unlinked(self, child: Child) -> None:
        """Kill a child whose link has ended. One that was dying already is told as that, and not as one that lived."""
        if _is_dying(child.pid):
            _signal_session(child, signal.SIGKILL)
        else:
            self._unlinked.add(child.id)
            self.kill(child.id)

    def memory_bytes(self, worker_id: bytes) -> int:
        """The resident memory of a child (proc_pid_statm(5)); 0 if it has ended, or nobody can tell."""
        child = self.workers.get(worker_id)
        try:
            return (
                int(Path(f"/proc/{child.pid}/statm").read_bytes().split()[1]) * PAGE_BYTES if child is not None else 0
            )
        except (OSError, ValueError, IndexError):
            return 0

    def stop(self, deadline_s: float) -> bool:
        """End every child: SIGTERM, and SIGKILL for those left after ``deadline_s``. True if none needed that."""
        self._stopped = True
        for child in self.workers.values():
            _signal_session(child, signal.SIGTERM)
        self._reap_until(deadline_s)
        ended_in_time = not self.workers
        for child in self.workers.values():
            _signal_session(child, signal.SIGKILL)
        self._reap_until(KILLED_END_LIMIT_S)
        for slot in self._slots:
            if slot.child is not None:
                _logger.error("process %d does not end, not even by SIGKILL", slot.child.pid)
                self._forget(slot)
        return ended_in_time

    # --- one child ----------------------------------------------------------------------------------------------

    def _spawn(self, slot: ChildSlot, now: float) -> Child:
        return with_reserve(lambda: self._spawn_into(slot, now))

    def _spawn_into(self, slot: ChildSlot, now: float) -> Child:
        worker_id = secrets.token_bytes(WORKER_ID_BYTES)
        ours, theirs = socket.socketpair()
        begun_tasks: BegunTasks | None = None
        with theirs:
            try:
                begun_tasks = self._begun_tasks()
                process = self._popen(theirs.fileno(), begun_tasks)
            except OSError:
                ours.close()
                raise
            finally:
                if begun_tasks is not None:
                    begun_tasks.close_fd()
        child = Child(worker_id, process.pid, _end_fd(process, ours), now, process, ours, begun_tasks)
        slot.child = child
        self._by_fd[child.fd] = slot
        self.workers[worker_id] = child
        return child

    def _popen(self, link: int, begun_tasks: BegunTasks | None) -> subprocess.Popen[bytes]:
        # -P: what the child imports of ours, and of Python's own, is not looked for in the current directory.
        command = [sys.executable, "-P", "-m", self.program, "--link", str(link)]
        inherited = [link, *self._inherited]
        if begun_tasks is not None:
            command += ["--begun", str(begun_tasks.fd)]
            inherited.append(begun_tasks.fd)
        files = files_of_children()
        if files is not None:
            command += ["--open-files", str(files)]
        return subprocess.Popen(
            [*command, *self._arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            env=self.environment,
            start_new_session=True,
        )

    def _begun_tasks(self) -> BegunTasks | None:
        """What the next child shares with this process beside its link."""
        return None

    def _collect(self, child: Child) -> tuple[int, int]:
        """Of a child that has ended: the return code (see Popen.returncode), and the most memory that it had, in bytes,
        0 if that is not known."""
        if child.fd != child.link.fileno():
            # Kill what its task started, before it is waited for: until then the kernel does not reuse its number.
            _signal_session(child, signal.SIGKILL)
            return _wait(child.process)
        try:
            # The descriptors of an ending process are closed a moment before it can be waited for.
            return child.process.wait(timeout=QUICK_DEATH_S), 0
        except subprocess.TimeoutExpired:
            # Its code has closed the link. Without the link its end can't be noticed.
            self.kill_unlinked(child)
            return child.process.wait(), 0

    def _forget(self, slot: ChildSlot) -> None:
        child = slot.child
        assert child is not None
        slot.child = None
        del self._by_fd[child.fd]
        del self.workers[child.id]
        self._killed.discard(child.id)
        if child.fd != child.link.fileno():
            os.close(child.fd)
        child.link.close()

    def _due(self, slot: ChildSlot, now: float) -> float:
        if slot.unweighed is not None:
            slot.failures = slot.failures + 1 if self._could_not_live(slot.unweighed, now) else 0
            slot.due = now + _pause_s(slot.failures)
            slot.unweighed = None
        return slot.due

    def _could_not_live(self, child: Child, now: float) -> bool:
        """Whether the end of this child is a reason to wait before another is started. Asked once for each."""
        return now - child.started_at < QUICK_DEATH_S

    def _reap_until(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s  # stop blocks, so the clock is its own
        for fd in self.fds:
            if _readable(fd, max(0.0, end - time.monotonic())):
                self.reap(fd)


def _pause_s(failures: int) -> float:
    if failures == 0:
        return 0.0
    return min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(failures - 1, 32))


def _end_fd(process: subprocess.Popen[bytes], link: socket.socket) -> int:
    """A descriptor that is readable once the process has ended."""
    if sys.platform == "linux":
        try:
            return with_reserve(lambda: os.pidfd_open(process.pid))
        except OSError as error:
            # A kernel before 5.3, or a sandbox that forbids it.
            _logger.debug("no pidfd (%s): watching the worker's socket pair instead", error)
    # The worker holds the only other end. A process that a task forks holds it as well, and then hides the worker's end
    # for as long as it lives; the pidfd does not have that flaw.
    return link.fileno()


def _readable(fd: int, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def _is_dying(pid: int) -> bool:
    """Whether a child that was not waited for yet is on its way out (proc_pid_stat(5): the ninth field). True if nobody
    can tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # from the third field on
        return bool(int(told[6]) & _PF_EXITING)
    except (OSError, ValueError, IndexError):
        return True


def _signal_session(child: Child, number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody left, which macOS reports as the latter


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """As :meth:`ChildPool._collect`. The kernel begins to count a child's memory with that of the process which started
    it, so that less than that says nothing of the child."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:  # somebody else has waited for it
        return process.wait(), 0
    process.returncode = os.waitstatus_to_exitcode(status)
    own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return process.returncode, usage.ru_maxrss * 1024 if usage.ru_maxrss > own_kib else 0
