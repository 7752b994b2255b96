"""The event loop in which a worker runs ``async def`` tasks. The worker imports this module with the first such task:
importing asyncio takes a fifth of a worker's start.

Each task runs in a context of its own. Coroutines that it left running are cancelled, as ``asyncio.run`` does. The loop
itself is kept: making one costs more than a short task, and connections that a module keeps stay usable.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any


class Loop:
    """An event loop for one coroutine at a time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result, or what it raises."""
        try:
            return self._runner.run(coroutine, context=contextvars.copy_context())
        finally:
            left = asyncio.all_tasks(self._runner.get_loop())
            if left:
                self._runner.run(_cancel(left))


async def _cancel(left: set[asyncio.Task[Any]]) -> None:
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
