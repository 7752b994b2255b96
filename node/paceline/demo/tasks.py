"""The tasks of the demo. A cluster of one's own runs them too: ``paceline node paceline.demo.tasks``."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from paceline.worker.registry import task

NOTES_VARIABLE = "PACELINE_DEMO_NOTES"
"""Environment: the file that ``note`` writes to."""

_WORD = re.compile(r"[A-Za-z_]\w+")


@task
def count_words(path: str) -> dict[str, int]:
    """How often each word stands in a file; a word has two characters or more."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return dict(Counter(_WORD.findall(text)))


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def note(text: str) -> None:
    """Adds a line to the demo's file, if this is the demo."""
    path = os.environ.get(NOTES_VARIABLE)
    if path is not None:
        with open(path, "ab", buffering=0) as file:
            file.write(text.encode() + b"\n")
