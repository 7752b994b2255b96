"""Tasks that do what tasks do, and what they should not."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

from paceline import Cancelled, NamedTask, Retry, SoftTimeLimitExceeded, current_task
from paceline.client.targets import parts_of
from paceline.worker.registry import task

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")
left_running: list[asyncio.Task[Any]] = []


class Opaque:
    """Nothing that can be packed."""


class Leaving(Exception):
    """An exception that ends whoever looks at it."""

    def __str__(self) -> str:
        raise SystemExit(3)

    @property
    def args(self) -> Any:
        raise KeyboardInterrupt


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class Long(Exception):
    def __str__(self) -> str:
        return "x" * 10_000_000


class Hiding(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(3)


class Hidden(Exception, metaclass=Hiding):
    """An exception whose class ends whoever looks at it."""


class Traceless(Exception):
    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise SystemExit(3)


class Classless(Exception):
    @property
    def __class__(self) -> Any:
        raise SystemExit(3)


class NotPacked:
    @property
    def __class__(self) -> Any:
        raise Hidden


@task
def odd_result() -> Any:
    return NotPacked()


@task
def from_device() -> None:
    exec(compile("raise ValueError('from nowhere')", "/dev/zero", "exec"))  # noqa: S102 - a frame that names a device


kept: list[object] = []


@task
async def leave_stubborn(told: str) -> str:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                while not os.path.exists(told):  # nothing goes on here before the outcome is told
                    time.sleep(0.001)

    kept.append(asyncio.ensure_future(stubborn()))
    await asyncio.sleep(0)
    return "at once"


class TimeIsUp(OSError):
    """What a handler of SIGALRM raises. As TimeoutError, it is an OSError without a number."""


def _time_is_up(number: int, frame: object) -> None:
    raise TimeIsUp


@task
def leave_alarm(seconds: float, spends_s: float = 0.0) -> str:
    """A time limit that is not taken back."""
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.001)
    time.sleep(spends_s)
    return "in time"


@task
def leave_alarm_and_raise(seconds: float) -> None:
    leave_alarm.function(seconds)
    raise ValueError("in time")


@task
def leave_bare_alarm_and_raise(seconds: float) -> None:
    """Without a handler, an alarm ends the process."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    raise ValueError("in time")


@task
def leave_bare_alarm(seconds: float, restores: bool = False) -> str:
    """With ``restores`` as a time limit that takes its handler back, and not its alarm."""
    before = signal.signal(signal.SIGALRM, _time_is_up if restores else signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.signal(signal.SIGALRM, before)
    return "in time"


@task
def left_alarm_s() -> float:
    """When an alarm will strike; 0.0 if none will."""
    return signal.getitimer(signal.ITIMER_REAL)[0]


@task
async def leave_bare_alarm_behind(seconds: float) -> str:
    """Set by what its worker cleans up."""

    async def sleep() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    kept.append(asyncio.ensure_future(sleep()))
    await asyncio.sleep(0)
    return "at once"


@task
async def leave_alarm_later(seconds: float) -> str:
    return leave_alarm.function(seconds)


@task
def replace_getpid() -> None:
    os.getpid = lambda: 0


@task
def close_descriptors() -> None:
    os.closerange(3, 4096)


@task
def odd(kind: str) -> None:
    raise {
        "leaving": Leaving(),
        "endless": Endless(),
        "long": Long(),
        "long name": type("x" * 10_000_000, (Exception,), {})(),
        "hidden": Hidden(),
        "traceless": Traceless(),
        "classless": Classless(),
        "odd module": type("Odd", (Exception,), {"__module__": 5})(),
    }[kind]


class Unspeakable(Exception):
    """An exception that breaks whoever looks at it."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    @property
    def args(self) -> Any:
        raise RuntimeError("no arguments")


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def keywords(first: str, *, second: str = "two") -> list[str]:
    return [first, second]


@task
def divide(a: int, b: int) -> float:
    return _divide(a, b)


def _divide(a: int, b: int) -> float:
    return a / b


@task
def chained() -> None:
    try:
        _divide(1, 0)
    except ZeroDivisionError as error:
        raise ValueError("no such fraction") from error


@task
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return await _divide_later(a + b, 1)


async def _divide_later(a: int, b: int) -> int:
    return a // b


@task
async def divide_later(a: int, b: int) -> int:
    return await _divide_later(a, b)


@task
async def exit_later() -> None:
    sys.exit(5)


@task
async def set_context() -> str:
    before = seen.get()
    seen.set("something")
    return before


@task
async def leave_running() -> None:
    left_running.append(asyncio.ensure_future(asyncio.sleep(3600)))


@task
def left_was_cancelled() -> bool:
    return all(left.cancelled() for left in left_running)


@task
def opaque() -> dict[str, Any]:
    return {"inside": Opaque()}


@task
def large(size_bytes: int) -> bytes:
    return bytes(size_bytes)


@task
def unspeakable() -> None:
    raise Unspeakable


@task
def recurse() -> None:
    recurse()


@task
def no_memory() -> None:
    raise MemoryError("as if it were full")


@task
def leave(code: int) -> None:
    sys.exit(code)


@task
def interrupt() -> None:
    raise KeyboardInterrupt


@task
def generator_exit() -> None:
    raise GeneratorExit


@task
def crash(code: int) -> None:
    os._exit(code)


@task
def die(number: int) -> None:
    os.kill(os.getpid(), number)


@task
def take_memory_and_die(size_bytes: int) -> None:
    taken = bytearray(size_bytes)
    taken[::4096] = b"x" * len(taken[::4096])
    os.kill(os.getpid(), signal.SIGKILL)


@task
def interrupt_self() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


@task
def subprocess_dies_of_sigint() -> int:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode


@task
def chatter() -> int:
    print("x" * 100_000)
    print("y" * 100_000, file=sys.stderr)
    return os.write(1, b"raw\n")


@task
def read_stdin() -> str:
    return sys.stdin.read()


@task
def arguments() -> int:
    return len(sys.argv)


@task
def inherited_fds() -> list[str]:
    """What an exec'd process gets from the worker, beyond the standard streams."""
    code = (
        "import os\n"
        "for fd in os.listdir('/proc/self/fd'):\n"
        "    try: print(os.readlink('/proc/self/fd/' + fd)) if int(fd) > 2 else None\n"
        "    except FileNotFoundError: pass\n"  # the listing's own descriptor
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, close_fds=False)
    return run.stdout.split()


def _double(value: int) -> int:
    return 2 * value


@task
def in_processes(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(_double, [1, 2, 3])


@task
def fork_and_return(how: str) -> int:
    """The forked process comes out of the task, as a careless program does. Returns its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "exit":
        sys.exit(7)
    if how == "raise":
        raise ValueError("in the fork")
    return 99


@task
def announce_and_wait(written: str, awaited: str) -> None:
    """Opens two FIFOs, in turn: so the test knows that this runs, and decides when it ends."""
    with open(written, "w"):
        pass
    with open(awaited):
        pass


@task
def start_sleeper(written: str) -> None:
    """Starts a process that holds the FIFO open, then waits for its own end."""
    with open(written, "w") as held:
        subprocess.Popen(["sleep", "3600"], pass_fds=[held.fileno()])
        held.write("started\n")
    select.select([], [], [])


@task
def asks_for_a_retry(delay: float | None = None) -> None:
    raise Retry(delay=delay)


@task
def exits() -> None:
    sys.exit(3)


@task
def fail_as_its_own() -> None:
    raise Long


def _last(how: str) -> None:
    if how == "sleeps":
        time.sleep(60)
    if how == "reads":
        os.read(os.pipe()[0], 1)
    while how == "spins":
        pass


async def _await_long() -> None:
    await asyncio.sleep(60)


@task
def last(how: str) -> Any:
    return _await_long() if how == "awaits" else _last(how)


async def _await_and_finish() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "in part"
    return "all of it"


@task
def last_and_finish(how: str) -> Any:
    if how == "awaits":
        return _await_and_finish()
    try:
        _last(how)
    except SoftTimeLimitExceeded:
        return "in part"


@task
def sleep_for(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@task
async def times_out_by_itself() -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(60)


@task
async def times_out_as_it_ends() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise TimeoutError("the database did not answer")


@task
def block_signals_for(seconds: float) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(seconds)


@task
def unblock_signals() -> str:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    time.sleep(0.01)
    return "not struck"


@task
def tell_current() -> list[Any]:
    running = current_task()
    assert running is not None
    return [running.id, running.name, running.attempt, running.cancelled]


@task
def tell_deadline() -> list[Any]:
    """Its own, and the options of calls that it makes."""
    running = current_task()
    assert running is not None
    calls = [NamedTask("other"), NamedTask("other", deadline=3_600), NamedTask("other", deadline=0.001)]
    return [running.deadline, *(parts_of(call)[2] for call in ("other", *calls, tell_deadline))]


@task
def look(seconds: float) -> bool:
    """Whether it was asked to stop within so long."""
    running = current_task()
    assert running is not None
    end = time.monotonic() + seconds
    while not running.cancelled and time.monotonic() < end:
        time.sleep(0.005)
    return running.cancelled


@task
def last_until_cancelled(how: str) -> str:
    try:
        if how == "sleeps":
            time.sleep(3600)
        else:
            while True:
                pass
    except Cancelled:
        if how == "returns":
            return "in part"
        raise
    return "never"


@task
def stop_by_itself() -> None:
    raise Cancelled


@task
async def await_until_cancelled(how: str) -> str:
    try:
        if how == "blocks":
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                pass
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        if how == "returns":
            return "in part"
        if how == "raises":
            raise OSError("no") from None
        raise
    return "never"
