"""Late imports of paceline's own, where a user's file has a name of the standard library."""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import pytest

from paceline import importing

DEADLINE_S = 10.0


def test_late_imports_of_two_threads_find_the_standard_library_both(monkeypatch: pytest.MonkeyPatch) -> None:
    users = ModuleType("random")
    users.__file__ = "/home/someone/random.py"
    monkeypatch.setitem(sys.modules, "random", users)
    first_is_in, second_is_in, first_has_ended = threading.Event(), threading.Event(), threading.Event()
    saw_users: dict[str, bool] = {}

    def import_module(name: str) -> ModuleType:
        if name == "the.first":
            first_is_in.set()
            second_is_in.wait(0.3)  # in vain, as it has to wait
        else:
            second_is_in.set()
            assert first_has_ended.wait(DEADLINE_S)
        saw_users[name] = sys.modules.get("random") is users
        return users

    monkeypatch.setattr(importing, "import_module", import_module)
    first = threading.Thread(target=importing.import_own, args=("the.first",))
    second = threading.Thread(target=importing.import_own, args=("the.second",))
    first.start()
    assert first_is_in.wait(DEADLINE_S)
    second.start()
    first.join(DEADLINE_S)
    first_has_ended.set()
    second.join(DEADLINE_S)
    assert saw_users == {"the.first": False, "the.second": False}
    assert sys.modules["random"] is users
