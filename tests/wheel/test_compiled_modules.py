"""Which modules are compiled: what pyproject.toml says, and what is in the wheel."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modes import COMPILED

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOK = CONFIG["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
PACKAGES = [ROOT / package for package in HOOK["packages"]]


def load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_hook", ROOT / HOOK["path"])
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


hook = load_hook()


def configured() -> list[str]:
    modules: list[str] = hook.modules_of(PACKAGES, HOOK["compiled"], HOOK["interpreted"])
    return modules


def name_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def test_what_every_task_passes_is_compiled_and_what_is_asked_for_seldom_is_not() -> None:
    names = {name_of(path) for path in configured()}
    assert names >= {
        "paceline.client.driver.driver",
        "paceline.client.session.session",
        "paceline.core.node.core",
        "paceline.core.raft.consensus",
        "paceline.core.scheduling.leader",
        "paceline.core.state.task",
        "paceline.core.work.held",
        "paceline.core.work.slots",
        "paceline.core.work.worker_slot",
        "paceline.runtime.reactor",
        "paceline.runtime.transport.zmq_transport",
        "paceline.worker.main",
        "paceline_protocol.codec",
    }
    assert names.isdisjoint(
        {
            "paceline.core.membership.directory",
            "paceline.core.reports.status",
            "paceline.runtime.transport.memory_transport",
            "paceline_protocol.messages.client",
        }
    )


@pytest.mark.parametrize("patterns", [("paceline/core/**/*.py", "nowhere"), ("nowhere", "paceline/core/raft/*.py")])
def test_a_pattern_that_matches_no_module_is_refused_by_name(patterns: tuple[str, str]) -> None:
    compiled, interpreted = (pattern.replace("nowhere", "paceline/core/raft/moved.py") for pattern in patterns)
    with pytest.raises(hook.PatternMatchesNothing, match=r"paceline/core/raft/moved\.py matches no module"):
        hook.modules_of(PACKAGES, [compiled], [interpreted])


def test_no_package_is_compiled_as_a_module() -> None:
    assert not [path for path in configured() if path.endswith("__init__.py")]


@pytest.mark.skipif(not COMPILED, reason="looks at the wheel")
def test_the_wheel_has_the_configured_modules_compiled_and_no_others() -> None:
    compiled = set()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package.name)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        installed = Path(spec.submodule_search_locations[0])
        files = installed.rglob("*.so")
        compiled |= {f"{package.name}/{file.relative_to(installed).as_posix().partition('.')[0]}.py" for file in files}
    assert compiled == set(configured())
