"""Clients that nobody closes: at the exit of the interpreter, and when nobody has them any more."""

from __future__ import annotations

import atexit
import logging
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from paceline.client.driver.lifetime import Lifetime
from paceline.client.future import Future

CLOSE_TIMEOUT_S = 5.0

_logger = logging.getLogger("paceline.client")

has_exited = False
"""The interpreter exits, and all clients that were open are closed."""
_open: set[Lifetime] = set()  # of the clients of this process that were not closed


class Lease:
    """Goes with the last of those that have a client: the Client itself, and its futures."""

    __slots__ = ("__weakref__",)


def watch(lifetime: Lifetime, addresses: tuple[str, ...]) -> Lease:
    """A client is made. It is closed at exit, or when nobody has the lease any more."""
    lease = Lease()
    _open.add(lifetime)
    weakref.finalize(lease, _dropped, lifetime, addresses).atexit = False  # at exit all are closed anyway
    return lease


def is_closed(lifetime: Lifetime) -> None:
    _open.discard(lifetime)


def disown_all(error: Callable[[], Exception]) -> None:
    """In a forked child: what was open belongs to the parent."""
    for lifetime in _open:
        lifetime.disown(error)
    _open.clear()


def _dropped(lifetime: Lifetime, addresses: tuple[str, ...]) -> None:
    """Nobody can use this client any more. In the midst of anything, as the garbage collector runs."""
    _open.discard(lifetime)
    if lifetime.drop():
        where = f" for {', '.join(addresses)}" if addresses else ""
        warnings.warn(
            f"a paceline client{where} was not closed; use `with Client() as client:`, or client.close()",
            ResourceWarning,
            stacklevel=2,
        )


def await_acceptance(future: Future[Any]) -> None:
    """An exit handler of the program's that runs after ours submits: nobody will close its client."""
    try:
        future.accepted(CLOSE_TIMEOUT_S)
    except TimeoutError:
        tell_lost(1, CLOSE_TIMEOUT_S)


def tell_lost(count: int, waited_s: float) -> None:
    """Log how many calls were not accepted in time, if any."""
    if count and waited_s > 0:
        _logger.warning(
            "%d %s not accepted within %g s and may be lost; future.accepted() waits for that before the client closes",
            count,
            "task was" if count == 1 else "tasks were",
            waited_s,
        )


def _close_all() -> None:
    """The interpreter exits: what was submitted has this long to be accepted, by all clusters together."""
    global has_exited
    deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
    lost = 0
    has_exited = True
    while _open:
        lost += _open.pop().close(max(0.0, deadline_s - time.monotonic()))
    tell_lost(lost, CLOSE_TIMEOUT_S)


atexit.register(_close_all)
