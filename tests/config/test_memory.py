"""How much memory there is, by the machine and by control groups of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline import config as config_module
from paceline.config import NodeConfig
from paceline.errors import ConfigError
from paceline.memory import memory_bytes, oom_kills

MIB = 1 << 20


def machine(root: Path, **files: str) -> Path:
    """A root with so much in it; a dot in a name stands for nothing else, and two underscores for a slash."""
    for name, text in {"proc__meminfo": "MemTotal:       2048000 kB\nMemFree: 1 kB\n", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_bytes(machine(tmp_path)) == 2048000 * 1024


@pytest.mark.parametrize(
    "files",
    [
        {"proc__self__cgroup": "0::/\n", "sys__fs__cgroup__memory.max": "419430400\n"},
        {
            "proc__self__cgroup": "0::/shop/node\n",
            "sys__fs__cgroup__shop__node__memory.max": "max\n",
            "sys__fs__cgroup__shop__memory.max": "419430400\n",
        },
        # In a container that shows the path of its machine, and has its own group mounted as the root.
        {"proc__self__cgroup": "0::/docker/0123\n", "sys__fs__cgroup__memory.max": "419430400\n"},
        {
            "proc__self__cgroup": "9:cpu,memory:/a\n1:name=systemd:/a\n",
            "sys__fs__cgroup__memory__a__memory.limit_in_bytes": "419430400\n",
            "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712\n",
        },
    ],
    ids=["version 2", "a group above", "in a container", "version 1"],
)
def test_the_lowest_limit_of_the_groups_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert memory_bytes(machine(tmp_path, **files)) == 400 * MIB


def test_a_group_without_a_limit_or_that_makes_no_sense_counts_for_nothing(tmp_path: Path) -> None:
    for text in ("max\n", "", "many\n", "0\n", "9223372036854771712\n"):
        root = machine(tmp_path, **{"proc__self__cgroup": "0::/../x\nnonsense\n", "sys__fs__cgroup__memory.max": text})
        assert memory_bytes(root) == 2048000 * 1024


@pytest.mark.parametrize(("memory", "limit_mib"), [(400 * MIB, 100), (64 << 30, 1024), (None, 1024), (20 * MIB, 16)])
def test_waiting_tasks_may_take_a_quarter_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int | None, limit_mib: int
) -> None:
    monkeypatch.setattr(config_module, "memory_bytes", lambda: memory)
    config = NodeConfig(modules=("tasks",))
    config.validate()
    assert config.effective_queue_limit_bytes == limit_mib * MIB


def test_what_is_set_counts_whatever_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "memory_bytes", lambda: 400 * MIB)
    config = NodeConfig(modules=("tasks",), queue_limit_bytes=800 * MIB)
    config.validate()
    assert config.effective_queue_limit_bytes == 800 * MIB


def test_a_limit_of_results_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="--result-limit-mib is 0 MiB"):
        NodeConfig(modules=("tasks",), result_limit_bytes=0).validate()


V1_COUNTS = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"


@pytest.mark.parametrize(
    "files",
    [
        {"proc__self__cgroup": "0::/shop\n", "sys__fs__cgroup__shop__memory.events": "low 0\noom 9\noom_kill 3\n"},
        # In a container that shows the path of its machine, and has its own group mounted as the root.
        {"proc__self__cgroup": "0::/docker/0123\n", "sys__fs__cgroup__memory.events": "oom 9\noom_kill 3\n"},
        {"proc__self__cgroup": "4:memory:/a\n0::/\n", "sys__fs__cgroup__memory__a__memory.oom_control": V1_COUNTS},
        {"proc__self__cgroup": "0::/\n"},
    ],
    ids=["version 2", "in a container", "version 1", "the machine"],
)
def test_the_kernel_counts_whom_it_has_killed_for_memory(tmp_path: Path, files: dict[str, str]) -> None:
    is_of_machine = len(files) == 1
    of_machine = {"proc__vmstat": f"nr_free_pages 1\noom_kill {3 if is_of_machine else 99}\n"}
    assert oom_kills(machine(tmp_path, **of_machine, **files)) == 3


def test_where_the_kernel_counts_nothing_nothing_is_known_of_whom_it_has_killed(tmp_path: Path) -> None:
    assert oom_kills(machine(tmp_path, proc__self__cgroup="0::/\n")) is None
