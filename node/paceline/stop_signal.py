"""The signal by which a node has a worker look whether it is asked to stop its task, and how much memory they share for
that.

Real-time signals mean nothing of themselves. Where there are none, nodes share no memory with their workers either, and
send none.
"""

from __future__ import annotations

import signal
from typing import Final

STOP_SIGNAL: Final = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
ASKED_NUMBERS: Final = 1_024
"""Places for the numbers of tasks that a worker is asked to stop: more than it runs at once in one call."""
