"""The task that runs in this process, as the clients in it need to know it: its options, as its deadline and its graph
are those of the calls that it makes, too; and whom to tell that it waits for another task.

Only a worker knows of it; neither has to import the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from paceline_protocol.messages.records import Options


class ParentDeadline:
    """``ask`` returns the options of the task, None if none runs, or it has no options. ``waits`` takes the id of a
    task that is waited for in this thread; it returns what to call as soon as that is over, None if no task waits by
    that. Both are set by a worker, and None in a process that is none."""

    ask: Callable[[], Options | None] | None = None
    waits: Callable[[bytes], Callable[[], None] | None] | None = None


PARENT: Final = ParentDeadline()
