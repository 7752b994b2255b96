"""Whether the interpreter exits, where Python may start no thread any more.

While its exit handlers run, code runs and waits as ever. But 3.12.1 refuses to start a thread from then on, as 3.11 and
3.13.0 do not. Whoever needs one asks here why it was refused: for want of room, or for good.
"""

from __future__ import annotations

import threading
from typing import Final

NO_THREAD: Final = "Python starts no thread while it exits"


def is_exiting() -> bool:
    """Whether the main thread has ended, which is before the first exit handler runs in it."""
    return not threading.main_thread().is_alive()
