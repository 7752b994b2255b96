"""Which files the demo counts words in, and how the counts are added up; for the cluster's count and for its check."""

from __future__ import annotations

import sysconfig
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from paceline.demo.tasks import count_words

_NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}


def library_files(root: Path | None = None) -> list[str]:
    """Every .py file of the running Python's standard library, largest first.

    Largest first, so that no big file is left for the end, when the other workers have nothing to do.
    """
    root = root or Path(sysconfig.get_paths()["stdlib"])
    files = [
        path
        for path in root.rglob("*.py")
        if path.is_file() and _NOT_THE_LIBRARY.isdisjoint(path.relative_to(root).parts)
    ]
    files.sort(key=lambda path: (-path.stat().st_size, str(path)))
    return [str(path) for path in files]


def merge(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def count_alone(files: Sequence[str]) -> Counter[str]:
    """Count in this process alone, to check the cluster's count."""
    return merge(count_words(path) for path in files)


def most_frequent(total: Counter[str], number: int = 10) -> list[tuple[str, int]]:
    """The most frequent words; words of equal count by the alphabet, so that two runs print the same."""
    return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:number]
