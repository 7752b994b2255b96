"""The deadline of the task that runs in this process, which the calls that it makes have, too.

Clients ask for it, and only a worker knows it; neither has to import the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final


class ParentDeadline:
    """``ask`` returns milliseconds since 1970, 0 if no task runs, or it has no deadline; set by a worker. None in a
    process that is none."""

    ask: Callable[[], int] | None = None


PARENT: Final = ParentDeadline()
