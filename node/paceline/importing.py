"""Imports that meet each other: what modules of tasks must not use while a worker imports them, and how the parts of
paceline that are imported late find the standard library although a user's file has a name of it.

A script may hold tasks and use them, too. Its workers import it, and what it does outside of functions runs then in
each of them. If that starts a cluster, whose workers import the script again, there is no end to it; and a client that
waits there for a task waits for workers that are not ready before it returns. So both are refused, in words that
multiprocessing has made known. What a task does later is its own business.

The client and the event loop are imported with their first use: a worker that needs neither starts faster. By then the
user's folder is the first on the path, and a file ``random`` there would be taken for what the client needs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType
from typing import Any, Final

from paceline.errors import UsedWhileImporting

_OURS = os.path.dirname(__file__) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_INSTALLED = ("site-packages", "dist-packages")

_own = threading.RLock()  # one late import at a time: what one hides would be there again in the midst of another
_modules: list[str] = []  # that this worker imports now: one, or none


@contextmanager
def importing(module: str) -> Iterator[None]:
    """In the block, a worker imports this module of tasks."""
    _modules.append(module)
    try:
        yield
    finally:
        _modules.pop()


def refuse_while_importing(what: str) -> None:
    """Raises UsedWhileImporting if a worker imports a module of tasks just now, in whichever thread."""
    if _modules:
        raise UsedWhileImporting(what, _modules[-1], _caller())


def _caller() -> str:
    """The line of the user's that is to blame: the innermost that is not of this package."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return "a thread" if frame is None else f"line {frame.f_lineno} of {frame.f_code.co_filename}"


# --- the script that runs ---------------------------------------------------------------------------------------

RUN_AS: Final = ("__main__", "__mp_main__")
"""The names of modules that were started, and not imported; the second under multiprocessing."""


def imported_name(namespace: Mapping[str, Any]) -> str | None:
    """The name under which a worker would import a module that was started here, whose names these are. None if it was
    typed at a prompt."""
    started_by_name = namespace.get("__spec__")
    if started_by_name is not None:
        return str(started_by_name.name)
    file = namespace.get("__file__")
    return None if file is None else os.path.splitext(os.path.basename(file))[0]


# --- late imports ------------------------------------------------------------------------------------------------


def import_own(name: str) -> ModuleType:
    """Import a module of paceline, with the standard library before all else, and give it back."""
    loaded = sys.modules.get(name)
    if loaded is not None and not getattr(loaded.__spec__, "_initializing", False):
        return loaded
    with _own:
        hidden = {each: module for each in sys.stdlib_module_names if _is_users(module := sys.modules.get(each))}
        finder = _StandardLibraryFirst()
        for each in hidden:
            del sys.modules[each]
        sys.meta_path.insert(0, finder)
        try:
            return import_module(name)
        finally:
            sys.meta_path.remove(finder)
            for each, module in hidden.items():
                if module is not None:
                    sys.modules[each] = module


def _after_fork() -> None:
    """In the child: another thread of the parent may have been in a late import."""
    global _own
    _own = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def _is_users(module: ModuleType | None) -> bool:
    """Whether a module that has a name of the standard library is something else."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not _is_standard(file)


def _is_standard(path: str) -> bool:
    return path.startswith(_STANDARD_LIBRARY) and not any(part in path for part in _INSTALLED)


class _StandardLibraryFirst:
    """For the imports of one thread: others may import the user's modules meanwhile."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._path = [path for path in sys.path if _is_standard(path)]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or name not in sys.stdlib_module_names or threading.get_ident() != self._thread:
            return None
        return PathFinder.find_spec(name, self._path, target)
