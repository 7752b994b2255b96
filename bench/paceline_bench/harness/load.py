"""An open loop: tasks are sent when they are due, however slowly the results come.

- When each is due is fixed beforehand, from a seed. A load that waits for results before it sends more slows down with
  the system that it measures, and leaves out the very tasks that would have waited (coordinated omission: Gil Tene,
  wrk2). So a latency begins when the task was *due*. One that is sent late, because the sender itself was held up, has
  waited all the same.
- The sender is the thread that calls :meth:`Load.send_all`. It submits and never waits for a result. The one thing that
  can hold it up is the client's bound of 200,000 outstanding tasks, and that time counts.
- The receiver is the client's own thread. While there are futures with callbacks it drives the sockets, and it calls
  back as soon as a result is there (client/driver/turns.py), which is when a program could have it. Results that the
  sender's own submit comes upon are called back by the sender, as they would be in any program. Asking the futures in
  the order of submission would be wrong: a fast task behind a slow one would be seen when the slow one ends.
"""

from __future__ import annotations

import ctypes
import gc
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from paceline.client import Future
from paceline.errors import PacelineError

PR_SET_TIMERSLACK = 29
SWITCH_INTERVAL_S = 0.0005
POLL_S = 0.001


def poisson(rate_per_s: float, seconds: float, seed: int) -> list[float]:
    """The moments of a Poisson process, in seconds from its start: independent tasks, so many a second on average."""
    draw = random.Random(seed).expovariate
    moments_s: list[float] = []
    moment_s = draw(rate_per_s)
    while moment_s < seconds:
        moments_s.append(moment_s)
        moment_s += draw(rate_per_s)
    return moments_s


class Load:
    """The tasks of one schedule: when each was due, sent and done (perf_counter, seconds).

    ``submit`` is given the number of a task, and must give a future whose result is that number.
    """

    def __init__(self, submit: Callable[[int], Future[int]], due_s: Sequence[float], started_at_s: float) -> None:
        self.started_at_s = started_at_s
        self.due_at_s = [started_at_s + moment_s for moment_s in due_s]
        self.sent_at_s: list[float] = []
        self.done_at_s: list[float | None] = [None] * len(self.due_at_s)
        self.futures: list[Future[int]] = []
        self._submit = submit

    def send(self, number: int) -> None:
        self.sent_at_s.append(time.perf_counter())
        future = self._submit(number)
        self.futures.append(future)
        future.add_done_callback(lambda _: self._done(number))

    def _done(self, number: int) -> None:
        self.done_at_s[number] = time.perf_counter()

    def send_all(self) -> None:
        """Send each when it is due; at once what is overdue."""
        clock, sleep, send = time.perf_counter, time.sleep, self.send
        with _exact_sleeps(), _prompt_switches(), _no_collector():
            for number, due_at_s in enumerate(self.due_at_s):
                rest_s = due_at_s - clock()
                if rest_s > 0:
                    sleep(rest_s)
                send(number)

    def wait(self, timeout_s: float) -> int:
        """Waits for every task, so long for all of them together. Returns how many did not give the right result."""
        deadline_s = time.perf_counter() + timeout_s
        # To ask the futures meanwhile would keep the interpreter from the receiver, and the last results would be late.
        for number in range(len(self.futures)):
            while self.done_at_s[number] is None and time.perf_counter() < deadline_s:
                time.sleep(POLL_S)
        wrong = 0
        for number, future in enumerate(self.futures):
            try:
                wrong += future.result(timeout=0) != number
            except (PacelineError, TimeoutError):
                wrong += 1
        return wrong

    def play(self, timeout_s: float) -> int:
        """All of it: :meth:`send_all`, then :meth:`wait`, and nothing in between. The collector would come upon all
        that it has missed, and stand in the way of the last results."""
        with _prompt_switches(), _no_collector():
            self.send_all()
            return self.wait(timeout_s)

    def latencies_s(self) -> list[float | None]:
        """From when each task was due to its result; None: it has none."""
        return [
            None if done_s is None else max(0.0, done_s - due_s)
            for due_s, done_s in zip(self.due_at_s, self.done_at_s, strict=True)
        ]

    def behind_s(self) -> list[float]:
        """By how much the sender was behind its schedule, for each task that was sent."""
        return [max(0.0, sent_s - due_s) for due_s, sent_s in zip(self.due_at_s, self.sent_at_s, strict=False)]


@contextmanager
def _exact_sleeps() -> Iterator[None]:
    """Linux ends the sleeps of a thread up to 50 us late, to end several at once; that would be in every latency."""
    if sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0)  # the default: processes that are started later inherit it


@contextmanager
def _prompt_switches() -> Iterator[None]:
    """A thread that is due gets the interpreter from one that computes after 5 ms, by default. The receiver must not
    hold up the sender for so long: they stand for programs that do not know each other."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Walking over a million futures would hold up the sender, and no program but this one keeps them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
