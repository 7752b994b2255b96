"""Whether the task that runs is asked to stop, as somebody wants it cancelled.

The node writes that into the memory that it shares with this worker: the number of the task, as the worker counts those
that it has begun. So a request is for that one alone, whenever it is seen. A signal has the main thread look, and its
handler strikes in whatever the task does by then; ``soft_limit.py`` says what that means. A task that nothing strikes
in looks by itself (``current.py``).

A signal that comes just before the main thread begins to wait in a system call ends no wait, and nobody looks. So the
worker writes down what it has seen, and until then its node sends another signal with each Beat.

Not among the compiled modules, for the reason that is given there.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final, NoReturn

from paceline.errors import Cancelled
from paceline.stop_signal import STOP_SIGNAL

BEGUN: Final = 0
STOP: Final = 2
SEEN: Final = 3
RUNS: Final = 3
"""Where they stand among the numbers of ``begun_tasks.py``."""


class StopRequests:
    """Of one worker, in whose main thread this is made."""

    def __init__(self, numbers: memoryview) -> None:
        self._numbers = numbers
        self._strike: Callable[[], object] | None = None  # in the task that runs, once
        signal.signal(STOP_SIGNAL, self._look)

    @property
    def is_asked(self) -> bool:
        """Whether the task that runs, or has just run, is asked to stop."""
        return self._numbers[STOP] == self._numbers[BEGUN] != 0

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
