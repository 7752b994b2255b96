"""Every error that paceline raises at its users, on one page.

Each says whose fault it is and what to do, and carries the data that a program needs to act on it. The errors of the
wire (malformed frames, another protocol version) are in ``paceline_protocol.errors``, and nobody catches both by one
name: they are about bytes, these are about tasks, clusters and configuration.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Final

from paceline_protocol.errors import CopyableError
from paceline_protocol.moments import span_ms
from paceline_protocol.texts import cut, excerpt

MODULE_CHARS: Final = 255
IMPORT_ERROR_CHARS: Final = 1_000
IMPORT_ERROR_LINES: Final = 20
IMPORT_TRACEBACK_CHARS: Final = 8_000
IMPORT_TRACEBACK_LINES: Final = 80
"""What is shown of a module that does not import."""


class PacelineError(CopyableError):
    """The base of all errors below. ``exit_code`` is what the command line exits with."""

    exit_code = 1


# --- a task -----------------------------------------------------------------------------------------------------


def failed_before(earlier: tuple[tuple[int, datetime, str], ...]) -> str:
    """What is shown of the attempts that failed before; "" if there are none."""
    lines = [f"attempt {attempt}, {at:%Y-%m-%d %H:%M:%S} UTC: {summary}" for attempt, at, summary in earlier]
    return "\n\nIt had failed before:\n" + "\n".join(lines) if lines else ""


class TaskFailed(PacelineError):
    """The task raised. ``error_type`` is the qualified name of what it raised.

    A built-in exception (ValueError, ...) is raised as itself, with this one as its ``__cause__``, so that
    ``except ValueError`` works and the worker's traceback is still shown. ``earlier``: of a task with retries, the
    attempts that failed before, each (number, when by the leader's clock, the exception in a line); of many the first
    and the last ones.
    """

    exit_code = 20

    def __init__(
        self,
        error_type: str,
        message: str,
        traceback: str = "",
        earlier: tuple[tuple[int, datetime, str], ...] = (),
    ) -> None:
        self.error_type = error_type
        self.message = message
        self.traceback = traceback
        self.earlier = earlier
        text = f"{error_type}: {message}" + (f"\n\nOn the worker:\n{traceback}" if traceback else "")
        super().__init__(text.rstrip("\n") + failed_before(earlier) if earlier else text)


class Retry(CopyableError):
    """Raised by a task that wants to be tried again, as ``raise Retry(delay=30) from error``.

    It needs the option ``retries``, and counts as one of them, whatever ``retry_on`` says. ``delay``: how long it
    waits, in seconds or as a timedelta, in place of its backoff. If no retry is left, the task ends by this exception.
    """

    delay: float | timedelta | None = None
    delay_ms: int | None = None

    def __init__(self, message: str = "", *, delay: float | timedelta | None = None) -> None:
        self.message = message
        self.delay = delay
        try:
            if isinstance(delay, bool) or not (delay is None or isinstance(delay, int | float | timedelta)):
                raise ValueError("it is seconds or a timedelta")
            self.delay_ms = None if delay is None else span_ms(delay)
        except ValueError as error:
            raise ValueError(f"delay {delay!r} can't be used: {error}") from None
        super().__init__(message or "the task asks to be tried again")


class SoftTimeLimitExceeded(CopyableError):
    """Raised in a task that has run for as long as its ``soft_time_limit`` allows, wherever it is by then. A task may
    catch it, and finish. ``limit_s``: that limit."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"the task has run for {limit_s:g} s, which is its soft_time_limit")


class BadBatchResult(CopyableError):
    """A function with ``batch`` has returned what is no list with a result for each of its calls: then each of them
    fails with this. ``name``: of the task. ``calls``: how many there were. ``returned``: what it has returned, in
    words, or how many."""

    def __init__(self, name: str, calls: int, returned: str) -> None:
        self.name = name
        self.calls = calls
        self.returned = returned
        super().__init__(
            f"{name} was called for {calls} calls at once and returned {returned}; with batch it returns a list that "
            "has the result of each call, or an exception, in the order of its arguments"
        )


class Cancelled(BaseException):
    """Raised in a task with ``cancel_raises`` that somebody wants cancelled, wherever it is by then. A task may catch
    it, to leave all in order, and raises it again; or it raises one itself, as it has seen that it is asked to stop."""

    def __init__(self) -> None:
        super().__init__("the task is asked to stop, as somebody wants it cancelled")

    def __reduce__(self) -> tuple[type[Cancelled], tuple[()], dict[str, object] | None]:
        return type(self), (), self.__dict__ or None  # Python's own way would call it with the text


class TaskTimedOut(PacelineError):
    """The task ran for longer than its ``time_limit``, or on at its ``deadline``, and its worker was killed.
    ``limit_s``: that limit, or how long it had run by its deadline. ``deadline``: when that was, in UTC; "" if it was
    the limit. ``earlier``: as of TaskFailed."""

    exit_code = 25

    def __init__(self, limit_s: float, earlier: tuple[tuple[int, datetime, str], ...] = (), deadline: str = "") -> None:
        self.limit_s = limit_s
        self.earlier = earlier
        self.deadline = deadline
        if deadline:
            what = (
                f"the task had not ended by its deadline, {deadline}, and was ended after {limit_s:.3g} s; "
                "give it a later one, or the cluster more workers"
            )
        else:
            what = (
                f"the task ran for longer than its time_limit of {limit_s:g} s, and was ended; give it a "
                "longer one, or let it do less at a time"
            )
        super().__init__(what + failed_before(earlier))


class TaskLost(PacelineError):
    """Every allowed attempt ended with its worker process or its node, as a task that crashes Python does. ``detail``:
    how and where, as far as the leader has heard of it."""

    exit_code = 21

    def __init__(self, attempts: int, detail: str) -> None:
        self.attempts = attempts
        self.detail = detail
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"the task was lost {times} with the worker that ran it ({detail}); "
            "unless it is to start at most once, max_attempts says how often it is tried"
        )


class TaskCancelled(PacelineError):
    """The task was cancelled. ``began``: whether it had begun; then ``how`` says how it came to its end. ``earlier``:
    as of TaskFailed."""

    exit_code = 22

    def __init__(self, how: str = "", earlier: tuple[tuple[int, datetime, str], ...] = ()) -> None:
        self.began = bool(how)
        self.how = how
        self.earlier = earlier
        text = f"the task was cancelled: {how}" if how else "the task was cancelled before it started"
        super().__init__(text + failed_before(earlier))


class TaskExpired(PacelineError):
    """The task had not started by the moment that ``expires`` or ``deadline`` gave it. ``moment``: when that was, in
    UTC."""

    exit_code = 24

    def __init__(self, moment: str) -> None:
        self.moment = moment
        super().__init__(
            f"the task expired at {moment} and was not started; if it was to run, give it a later expires or "
            "deadline, whichever it has, or the cluster more workers"
        )


class UpstreamFailed(PacelineError):
    """A task that this one depends on did not succeed, and so this one never started. ``task_id``: of the task that
    failed first, in hexadecimal digits. It is raised from the error of that task."""

    exit_code = 48

    def __init__(self, message: str, task_id: str = "") -> None:
        self.message = message
        self.task_id = task_id
        super().__init__(f"{message}; with allow_failed_inputs=True it is called with the error as a value")


class InputUnknown(PacelineError):
    """The task was to depend on one of which the cluster has no result, and this client does not have it either."""

    exit_code = 49

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(
            f"{detail}. Depend on tasks that this client has submitted, or on such with a result_ttl; or give the "
            "result itself"
        )


class UnknownTask(PacelineError):
    """No node of the cluster runs a module that registers this name."""

    exit_code = 10

    def __init__(self, name: str, detail: str = "") -> None:
        self.name = name
        super().__init__(
            detail or f"no node knows a task named {name!r}; start the nodes with the module that defines it"
        )


class QueueFull(PacelineError):
    """The cluster holds as many tasks as its limits allow."""

    exit_code = 11

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail}; submit again later, or raise the limit on the nodes")


class ResultUnknown(PacelineError):
    """The cluster has no record of a task that it had accepted: its result was dropped by the retention limits."""

    exit_code = 12

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or "the cluster no longer knows this task; its result was past the retention limit")


class GraphUnknown(PacelineError):
    """The cluster knows no task of a graph."""

    exit_code = 58

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"the cluster knows no graph named {name!r}: no task of it was accepted, or 10,000 graphs have ended since "
            "it did; `paceline graphs ls` lists those that are known"
        )


class IdempotencyKeyUsed(ResultUnknown):
    """A task with this key has ended, and its outcome was dropped by the retention limits before the key was free
    again. The call was not run."""

    exit_code = 17


class ResultExpired(PacelineError):
    """The task ended, and the time is over for which its result was kept: its ``result_ttl``."""

    exit_code = 16

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            detail or "the result of the task was kept for its result_ttl, which is over; give such tasks a longer one"
        )


class FeatureLevelTooLow(PacelineError):
    """The call asks for what not every node of the cluster understands yet: some are of an older version."""

    exit_code = 14


class RequestRefused(PacelineError):
    """A node refused a request for another reason, which the message names."""

    exit_code = 13


class UnknownSchedule(RequestRefused):
    """There is no schedule of this name."""

    exit_code = 18

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is no schedule named {name!r}; `paceline cron ls` shows those that there are")


class ScheduleOwned(RequestRefused):
    """The schedule comes with a module, which some node has, and so is not to be changed or removed by hand."""

    exit_code = 56

    def __init__(self, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        super().__init__(
            f"the schedule {name!r} comes with the module {owner}, and is as @task says there: change it there, and "
            "start the nodes with that, or pause it; one that no node has any more may be removed, and is after ten "
            "minutes"
        )


class NotAllowed(PacelineError):
    """The key of this client does not allow what it asked for; the message says which would."""

    exit_code = 15


# --- a cluster --------------------------------------------------------------------------------------------------


class NoNodeFound(PacelineError):
    """No node answered."""

    exit_code = 30

    def __init__(self, tried: tuple[str, ...], waited_s: float, unresolved: Mapping[str, str] | None = None) -> None:
        self.tried, self.waited_s, self.unresolved = tried, waited_s, dict(unresolved or {})  # why, by address
        names = "".join(f". {name} does not resolve ({why}): is it right?" for name, why in self.unresolved.items())
        where = ", ".join(tried) or "no address was given and none was discovered"
        super().__init__(
            f"no paceline node answered within {waited_s:.1f} s ({where}); start one with `paceline node MODULE`, "
            "or name one that runs with --connect, Client('host:7077') or PACELINE_CONNECT. Give the cluster file that "
            f"the nodes have, and none if they have none: they answer nobody else{names}"
        )


class AccessRefused(NoNodeFound):
    """Nodes were reached, and they refuse what this client shows: its key, or that it is another user's."""

    exit_code = 35

    def __init__(self, tried: tuple[str, ...], waited_s: float, reason: str) -> None:
        super().__init__(tried, waited_s)
        self.reason = reason
        self.args = (f"no node let this client in within {waited_s:.1f} s: {reason}",)


class NoLeader(PacelineError):
    """Nodes answer, but none of them leads: the cluster is forming, or a majority of its voters is gone."""

    exit_code = 31

    def __init__(self, waited_s: float, detail: str = "") -> None:
        self.waited_s = waited_s
        super().__init__(
            f"no leader within {waited_s:.1f} s{': ' + detail if detail else ''}; "
            "`paceline status` shows which nodes are missing"
        )


class IncompatibleVersion(PacelineError):
    """The other side speaks another protocol version."""

    exit_code = 32

    def __init__(self, ours: int, theirs: int) -> None:
        self.ours = ours
        self.theirs = theirs
        older = "this process" if ours < theirs else "the node"
        super().__init__(f"protocol version {ours} here, {theirs} at the node; upgrade paceline on {older}")


class ClientClosed(PacelineError):
    """The client was closed while this was under way."""

    exit_code = 33

    def __init__(self) -> None:
        super().__init__("the client was closed; submit within its `with` block")


class ClusterFailed(PacelineError):
    """A local cluster did not start, or is used while it does not run."""

    exit_code = 34


class OutOfResources(PacelineError):
    """The system gives this process no more threads or descriptors."""

    exit_code = 36

    def __init__(
        self,
        what: str,
        advice: str = "close what this process does not need, as clients that are not used, or raise its limits "
        "(`ulimit -n` for open files, `ulimit -u` for threads)",
    ) -> None:
        super().__init__(f"{what}; {advice}")


class UsedWithinItself(PacelineError):
    """A signal handler or a ``__del__`` uses a client in the midst of a change that its own thread makes to it."""

    exit_code = 37

    def __init__(self) -> None:
        super().__init__(
            "a signal handler or a __del__ uses a client that this thread was just using; it would wait for itself. "
            "Have the handler set a flag, and use the client where the program looks at that, or in another thread"
        )


# --- starting a node --------------------------------------------------------------------------------------------


class ConfigError(PacelineError):
    """A setting can't be used; the message names it and what is allowed."""

    exit_code = 40


class BadSchedule(ConfigError):
    """What can't say when a task is to be run; the message says what can."""

    exit_code = 47


class PortInUse(PacelineError):
    """Another process listens there."""

    exit_code = 41

    def __init__(self, address: str, option: str = "--port") -> None:
        self.address = address
        super().__init__(
            f"{address} is in use, perhaps by another paceline node; "
            f"choose another port with {option}, or 0 for any free one"
        )


class ModuleImportFailed(PacelineError):
    """A module of tasks does not import in a worker, or no worker is ever ready and any of them may be the reason."""

    exit_code = 42

    def __init__(self, module: str, error: str, traceback: str = "") -> None:
        self.module = module
        self.error = error
        self.traceback = traceback
        super().__init__(
            f"{module} does not import in a worker: {error}"
            + (f"\n\n{traceback}" if traceback else "")
            + _advice(module, error)
        )

    @classmethod
    def told_by_worker(cls, module: str, error: str, traceback: str) -> ModuleImportFailed:
        """What a worker says of its module is shown cut: user code wrote it, and it may come again and again."""
        return cls(
            cut(module, MODULE_CHARS),
            excerpt(error, IMPORT_ERROR_CHARS, IMPORT_ERROR_LINES),
            excerpt(traceback, IMPORT_TRACEBACK_CHARS, IMPORT_TRACEBACK_LINES, keep_end=True),
        )

    @classmethod
    def without_a_word(cls, modules: Sequence[str], how: str) -> ModuleImportFailed:
        """Worker after worker ended before it was ready, and said nothing; ``how``: the last of them."""
        error = f"each worker ended before it was ready, the last so: {how}; what they printed is above"
        failed = cls(modules[0], error)
        if len(modules) > 1:
            failed.args = (f"one of {', '.join(modules)} does not import in a worker: {error}",)
        return failed


def _advice(module: str, error: str) -> str:
    if UsedWhileImporting.__name__ in error:
        return ""  # it has its own, and the module imports well anywhere else
    return (
        f"\n`{_to_import(module)}` shows the same without a node; when it shows nothing, start the node again, or send "
        "SIGHUP to one that still runs."
    )


def _to_import(module: str) -> str:
    """The command that imports a module as a worker does: a name, or the path of a file by its stem."""
    path = PurePath(module)
    if path.suffix != ".py":
        return f"python -c 'import {module}'"
    folder = str(path.parent)
    return ("" if folder == "." else f"cd {shlex.quote(folder)} && ") + f"python -c 'import {path.stem}'"


class UsedWhileImporting(PacelineError):
    """A module of tasks uses a cluster while a worker imports it."""

    exit_code = 46

    def __init__(self, what: str, module: str, place: str) -> None:
        self.what = what
        self.module = module
        super().__init__(
            f"{place} uses {what} while a worker imports {module}. Every worker imports it to have its tasks, and runs "
            "what stands outside of functions; put what is for the script alone under\n\n"
            '    if __name__ == "__main__":\n'
        )


class DuplicateTaskName(PacelineError):
    """Two functions register under one name."""

    exit_code = 43

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        super().__init__(
            f"two tasks are named {name!r}: {first} and {second}; give one of them another name with @task(name=...)"
        )


class MissingExtra(PacelineError):
    """A part of paceline was asked for whose packages are not installed."""

    exit_code = 44

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"this needs the package {package}, which is not installed; pip install '.[{extra}]' in a copy of the "
            f"repository of paceline, or pip install {package}"
        )

    @classmethod
    def check(cls, package: str, extra: str) -> None:
        """Raises it if the package is not installed; nothing of it is imported."""
        if importlib.util.find_spec(package) is None:
            raise cls(package, extra)


class NodeOutdated(PacelineError):
    """What the node finds in its data directory, or is sent by its cluster, was written by a later paceline."""

    exit_code = 45

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"{found}. This node is too old for its cluster, and stops before it does what the others don't; upgrade "
            "paceline here and start it again. Its data is as it was"
        )


_START_ANEW = (
    "If its cluster has other voters, move its data directory away and start it again: it joins as a new node and gets "
    "everything from them. If it was the only one, as of one machine or two, what was accepted may be nowhere else: "
    "keep the directory, and put a copy from before in its place; docs/operations.md says what to do without one"
)
"""For a node that can't use its data. How many voters there are is in that data."""


COPIED_ADVICE = (
    "Move it away and start this node: it joins as a new one. If it was moved here after its node had stopped, and no "
    "other copy of it is ever started, start it with --moved, once"
)


class JournalError(PacelineError):
    """The base of what can be wrong with a data directory."""

    exit_code = 60


class DataDirInUse(JournalError):
    """Another process holds the data directory."""

    exit_code = 61

    def __init__(
        self,
        directory: str,
        pid: str,
        advice: str = "two nodes can't share one: give this node another --port or --data-dir",
    ) -> None:
        self.directory = directory
        self.pid = pid
        super().__init__(
            f"the data directory {directory} is in use by {f'process {pid}' if pid else 'another process'}; {advice}"
        )


class JournalCorrupt(JournalError):
    """What was written whole can't be read any more. A node must not vote with what is left of its memory."""

    exit_code = 62

    def __init__(self, path: str, offset: int, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        super().__init__(
            f"{path} is damaged at byte {offset}: {reason}. This node must not vote with what is left. {_START_ANEW}"
        )


class JournalTooNew(JournalError):
    """A later version of paceline wrote the data directory."""

    exit_code = 63

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} was written by a newer paceline: {reason}; install that version again")


class JournalTooOld(JournalError):
    """An earlier version of paceline wrote the data directory, in a format that this one can't read."""

    exit_code = 68

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} was written by an older paceline: {reason}. If tasks in it matter, install that version again, "
            "let them end (`paceline status` shows none queued or running) and stop its nodes. Then move the data "
            "directories away and start this version: it begins with new ones"
        )


class JournalFailed(JournalError):
    """The disk refused a write. The node stops: what it can't write it can't promise."""

    exit_code = 64

    def __init__(self, action: str, path: str, reason: str, advice: str = "make room or replace the disk") -> None:
        super().__init__(
            f"can't {action} {path}: {reason}. The node stops, and nothing that was accepted is lost with it; "
            f"{advice}, then start it again"
        )


class DataDirLost(JournalFailed):
    """The data directory, or a file in it, was moved, deleted or replaced while its node ran. ``now_at``: where it is;
    "" if it was deleted, as far as can be told."""

    exit_code = 70

    def __init__(self, path: str, what: str, now_at: str = "") -> None:
        self.path = path
        self.now_at = now_at
        if now_at:
            rest = (
                f"What this node has written is in {now_at}, and nothing of it is lost: move that back to {path}, "
                "where nothing else may be by then, and start the node again"
            )
        else:
            rest = (
                "It was deleted, and what this node had accepted is gone with it: the other voters have all of that, "
                "if there are any; if it voted alone, tasks that have not ended are lost. Start it again: it joins as "
                "a new node, or begins with nothing; what is left in the directory has to be moved away first"
            )
        Exception.__init__(self, f"{path}: {what}, and this node ran on it. It stops before it promises more. {rest}")


class IdentityUsedUp(JournalError):
    """The node of this data directory was started as often as any node can be."""

    exit_code = 71

    def __init__(self, directory: str, incarnation: int) -> None:
        self.incarnation = incarnation
        super().__init__(f"{directory}: its node can't be started for the {incarnation}th time. {_START_ANEW}")


class IdentityLost(JournalError):
    """The data directory has lost a part, or is a copy or an earlier state of what its node wrote: this node can't tell
    what it has promised."""

    exit_code = 65

    def __init__(self, directory: str, reason: str, advice: str = _START_ANEW) -> None:
        super().__init__(f"{directory}: {reason}. A node that forgot what it promised must not vote. {advice}")


class NodeRunsTwice(JournalError):
    """Another process runs as the same node, or ran on later data of it: a data directory was copied."""

    exit_code = 69

    def __init__(self, node_id: str, address: str, other_address: str) -> None:
        self.node_id, self.address, self.other_address = node_id, address, other_address
        super().__init__(
            f"node {node_id} runs twice, or ran on later data: here at {address}, and at {other_address}. Its data "
            "directory was copied, or put back as it was before. This node ends, as it must not vote twice; move its "
            "directory away and start it: it joins as a new one. If the other one is the copy, stop that, move its "
            "directory away, and start this one with --moved, once"
        )


class TasksCutShort(PacelineError):
    """A node was told to end, and some of what it ran has not ended well: a second signal cut it off, or it was begun,
    may be begun once only, and went on past the drain."""

    exit_code = 72

    def __init__(self, cut: int, lost: int) -> None:
        """How many tasks were cut off by the second signal, and how many are lost for good."""
        self.cut, self.lost = cut, lost
        parts = []
        if cut:
            parts.append(
                f"a second signal ended the node while it ran {cut} tasks: those attempts are lost, as in a crash"
            )
        if lost:
            parts.append(
                f"{lost} tasks with delivery at_most_once went on past the end of the drain and are lost; give the "
                "node a longer --drain-timeout, or the tasks a time_limit"
            )
        super().__init__("; ".join(parts))


class RecoveryRefused(JournalError):
    """`paceline cluster recover` did nothing: it was not told that loss is accepted, or there is nothing to recover."""

    exit_code = 66


class RecoveryUnfinished(JournalError):
    """A recovery was cut off before the end. The node has a new cluster id, and may still lack the votes to lead it."""

    exit_code = 67

    def __init__(self, directory: str) -> None:
        self.directory = directory
        super().__init__(
            f"the recovery of {directory} was cut off before its end; run `paceline cluster recover --unsafe "
            f"--data-dir {directory}` again, then start the node"
        )
