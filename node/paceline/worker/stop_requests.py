"""Whether the task that runs is asked to stop, as somebody wants it cancelled.

The node writes that into the memory that it shares with this worker: the number of the task, as the worker counts those
that it has begun. So a request is for that one alone, whenever it is seen. A signal has the main thread look, and its
handler strikes in whatever the task does by then; ``soft_limit.py`` says what that means. A task that nothing strikes
in looks by itself (``current.py``).

A signal that comes just before the main thread begins to wait in a system call ends no wait, and nobody looks. So the
worker writes down what it has seen, and until then its node sends another signal with each Beat.

Of several tasks for which one function runs each may be asked to stop, so that their numbers stand in that memory one
beside the other. Nothing strikes in the function while any of them is wanted: only when all of them are to stop.

Not among the compiled modules, for the reason that is given there.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final, NoReturn

from paceline.errors import Cancelled
from paceline.stop_signal import ASKED_NUMBERS, STOP_SIGNAL

BEGUN: Final = 0
STOP: Final = 2
SEEN: Final = 3
RUNS: Final = 3
ASKED: Final = 4
"""Where they stand among the numbers of ``begun_tasks.py``."""


class StopRequests:
    """Of one worker, in whose main thread this is made."""

    def __init__(self, numbers: memoryview) -> None:
        self._numbers = numbers
        self._strike: Callable[[], object] | None = None  # in the task that runs, once
        self._together = range(0)  # the numbers of those for which one function runs
        signal.signal(STOP_SIGNAL, self._look)

    @property
    def is_asked(self) -> bool:
        """Whether the task that runs, or has just run, is asked to stop; of several at once, all of them."""
        if self._together:
            return all(map(self.is_asked_of, self._together))
        return self._numbers[STOP] == self._numbers[BEGUN] != 0

    def begin_together(self, numbers: range) -> None:
        """One function runs for these tasks from now on; range(0): for one again."""
        self._together = numbers

    def is_asked_of(self, number: int) -> bool:
        """Whether the task of this number is asked to stop: one of several for which one function runs, or is about
        to."""
        return self._numbers[ASKED + number % ASKED_NUMBERS] == number

    def call(
        self,
        strike: Callable[[], object],
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """The result of the function, or what it raises; ``strike`` is called in it, once, when it is asked to stop."""
        try:
            self._strike = strike
            self._look()  # it may have been asked before
            return function(*args, **kwargs)
        finally:
            self._strike = None

    def _look(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._numbers[SEEN] = self._numbers[STOP]
        strike = self._strike
        if strike is not None and self.is_asked:
            self._strike = None
            strike()


def raise_cancelled() -> NoReturn:
    """Strikes in a task that asks for ``cancel_raises``."""
    raise Cancelled
