"""Warnings about tasks: those that fail while no caller waits for them, and those that no node has. Pure.

A plain message whose task fails is acknowledged, since the task has ended. No caller waits, so the failure is logged. A
queue of such messages must not fill the log with as many lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paceline_bridge.config import BridgeConfig
from paceline_bridge.message import Message
from paceline_bridge.texts import one_line, quoted

INTERVAL_S = 10.0
NAMES_LIMIT = 1_000
PATIENT_S = 30 * 60.0
"""For so long RabbitMQ lets a consumer keep a message, unless its ``consumer_timeout`` is set otherwise."""
SEEN_LIMIT = 50_000


class Repeats:
    """When something is to be told that may happen often: the first time, and then once in each INTERVAL_S. At
    NAMES_LIMIT names it forgets all of them."""

    def __init__(self) -> None:
        self._next_s: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def note(self, name: str, now: float) -> int | None:
        """It has happened. Returns how often it was not told since the last time that it was, None if it is not to be
        told now."""
        untold = self._untold.get(name, 0)
        if now < self._next_s.get(name, now):
            self._untold[name] = untold + 1
            return None
        if len(self._next_s) >= NAMES_LIMIT:
            self._next_s.clear()
            self._untold.clear()
        self._untold.pop(name, None)
        self._next_s[name] = now + INTERVAL_S
        return untold

    def line(self, name: str, text: str, now: float) -> str | None:
        """It has happened. Returns the line to log, with how many were left out before it; None if none is due."""
        untold = self.note(name, now)
        if untold is None:
            return None
        return f"{one_line(text)}{f'; {untold} more like this since the last line' if untold else ''}"


class Seen:
    """The tasks that messages asked for, the last SEEN_LIMIT of them, so that an id that is used again is noticed."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}

    def note(self, task_id: bytes) -> bool:
        """A message asks for it. Returns whether one did before."""
        if task_id in self._ids:
            return True
        self._ids[task_id] = None
        if len(self._ids) > SEEN_LIMIT:
            del self._ids[next(iter(self._ids))]
        return False

    def forget(self, task_id: bytes) -> None:
        """The task was refused, and is a new one if it is asked for again."""
        self._ids.pop(task_id, None)


class Failures:
    """One line for a task's first failure, and then one line for all failures of each INTERVAL_S."""

    def __init__(self) -> None:
        self._repeats = Repeats()

    def note(self, name: str, error: str, now: float) -> str | None:
        """Count a failure of a task whose result nobody waits for. Returns the line to log, None if none is due."""
        return self._repeats.line(name, f"a task {name} failed, and nobody waits for its result: {error}", now)


@dataclass(slots=True)
class Troubles:
    """What one bridge has told, across its lives. ``auto_delete``: of each queue that was asked about, whether it is
    one. ``patience``: RabbitMQ's, as a part of PATIENT_S."""

    failures: Failures = field(default_factory=Failures)
    repeats: Repeats = field(default_factory=Repeats)
    seen: Seen = field(default_factory=Seen)
    auto_delete: dict[str, bool] = field(default_factory=dict)
    patience: float = 1.0

    def note_timeout(self, consumer_timeout_s: float) -> None:
        """RabbitMQ gives up consumers that keep a message for so long."""
        self.patience = min(self.patience, consumer_timeout_s / PATIENT_S)

    def duplicate(self, message: Message, now: float) -> str | None:
        """The line to log about a message for a task that another one asked for, None if none is due."""
        said = quoted(message.message_id or message.correlation_id or message.headers.get("id"))[:100]
        text = (
            f"a message of {message.queue} has the id of one before it ({said}), so both are one task, which runs once"
        )
        return self.repeats.line(f"duplicate of {message.queue}", text, now)


class Bindings:
    """The tasks that the settings name, and whether some node has each."""

    def __init__(self, config: BridgeConfig) -> None:
        self._wanted: dict[str, str] = {task: f"--task {name}={task}" for name, task in config.tasks.items()}
        self._wanted.update({task: f"--queue {queue}={task}" for queue, task in config.queues.items() if task})
        self._missing: set[str] = set()

    def check(self, status: Mapping[str, Any]) -> Iterable[tuple[bool, str]]:
        """For each task that is newly missing, or newly there: (whether it is a warning, the line to log). The status
        does not always list the tasks."""
        known = status.get("tasks")
        if not isinstance(known, list):
            return
        for task, setting in self._wanted.items():
            is_missing = task not in known
            if is_missing and task not in self._missing:
                self._missing.add(task)
                yield (
                    True,
                    f"{setting}: no node has a task {task}, so its messages are refused; start a node with the module "
                    f"that has it. The nodes have: {', '.join(known[:20]) or 'none'}{', ...' * (len(known) > 20)}",
                )
            elif not is_missing and task in self._missing:
                self._missing.discard(task)
                yield False, f"{setting}: now a node has a task {task}"
