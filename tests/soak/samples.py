"""What the nodes use, over time, and whether that grows. Numbers only: ``soak.run`` takes and draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

MIB: Final = 1 << 20
PARTS: Final = 4
"""A soak has so many parts of equal length. The first is the warming up; the last is compared with the second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one process at one moment. ``at_s``: from the start of the soak. A negative number is not known."""

    at_s: float
    who: str
    pid: int
    rss_mib: float
    descriptors: int
    threads: int
    journal_mib: float


@dataclass(frozen=True, slots=True)
class Bound:
    """How much more one measure may be at the end than it was: a factor, and an amount that is noise in any case."""

    measure: str
    factor: float
    slack: float


BOUNDS: Final = (
    Bound("rss_mib", 1.15, 16.0),
    Bound("descriptors", 1.0, 8.0),
    Bound("threads", 1.0, 1.0),
    Bound("journal_mib", 1.25, 24.0),
)


def take(at_s: float, who: str, pid: int, data: Path | None) -> Sample | None:
    """None if the process is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Sample(
                at_s,
                who,
                pid,
                process.memory_info().rss / MIB,
                process.num_fds(),
                process.num_threads(),
                -1.0 if data is None else _size_mib(data),
            )
    except psutil.NoSuchProcess:
        return None


def _size_mib(directory: Path) -> float:
    size = 0
    for path in directory.rglob("*"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            pass  # a segment that was dropped meanwhile
    return size / MIB


def growth(samples: Sequence[Sample], of: str) -> list[str]:
    """What of one process grows, in sentences. Its samples are those of one life: one that was started anew has none
    from before."""
    own = [sample for sample in samples if sample.who == of]
    if len({sample.pid for sample in own}) > 1:
        return [f"{of} was started anew: {sorted({sample.pid for sample in own})}"]
    if len(own) < 2 * PARTS:
        return [f"{of} has {len(own)} samples: too few to tell"]
    length = len(own) // PARTS
    before, after = own[length : 2 * length], own[-length:]
    found = []
    for bound in BOUNDS:
        was, now = (median(getattr(sample, bound.measure) for sample in part) for part in (before, after))
        if now > was * bound.factor + bound.slack:
            found.append(f"{bound.measure} of {of} grows from {was:.1f} to {now:.1f}")
    return found


def as_csv(samples: Sequence[Sample]) -> str:
    header = ",".join(Sample.__slots__)
    return "\n".join([header, *(",".join(map(str, astuple(sample))) for sample in samples)]) + "\n"
