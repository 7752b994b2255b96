"""The tasks of the demo. A cluster of one's own runs them too: ``paceline node paceline.demo.tasks``."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from paceline.worker.registry import task

_WORD = re.compile(r"[A-Za-z_]\w+")


@task
def count_words(path: str) -> dict[str, int]:
    """How often each word stands in a file; a word has two characters or more."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return dict(Counter(_WORD.findall(text)))
