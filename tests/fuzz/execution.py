"""Runs inputs through a target, within bounds, and keeps what is worth telling of them.

What a target may take follows from its input alone: ``LIMIT_S`` of the processor's time, and ``LIMIT_BYTES`` more than
the process had at its largest so far. More than that is a finding as an exception is. A finding is named after where it
was raised, so that one defect is told and saved once, however many inputs lead to it.
"""

from __future__ import annotations

import json
import resource
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from fuzz.target import Broken, Target

LIMIT_S: Final = 1.0
LIMIT_BYTES: Final = 64 << 20
WRITE_EVERY_S: Final = 0.5


@dataclass
class Report:
    """What was met. ``crashes``: where -> the input that led there, and what was said."""

    target: str
    executions: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest: str = ""
    peak_bytes: int = 0
    processor_s: float = 0.0
    coverage: int = 0
    crashes: dict[str, tuple[str, str]] = field(default_factory=dict)


class Execution:
    """One process that runs one target. ``directory``: where inputs of findings go."""

    def __init__(self, target: Target, directory: Path, report: Path | None = None) -> None:
        self.report = Report(target.name)
        self._target = target
        self._directory = directory
        self._report_path = report
        self._kinds: Counter[str] = Counter()
        self._written_at = time.monotonic()
        self._peak_bytes = peak_bytes()

    def run(self, data: bytes) -> None:
        """One input. Raises nothing: what it leads to is in the report."""
        began = time.process_time()
        try:
            kind = self._target.run(data)
        except RecursionError as error:  # its traceback has no one place
            kind = self._found(data, error, "RecursionError")
        except Exception as error:  # noqa: BLE001 - whatever leaves a target is what it is there for
            kind = self._found(data, error, _place_of(error))
        took_s = time.process_time() - began
        self._kinds[kind] += 1
        self.report.executions += 1
        if took_s > self.report.slowest_s:
            self.report.slowest_s, self.report.slowest = took_s, f"{len(data)} bytes, {kind}"
            if took_s > LIMIT_S:
                self._found(data, Broken(f"{took_s:.1f} s of the processor's time"), f"too slow: {kind}")
        peak = peak_bytes()
        if peak > self._peak_bytes + LIMIT_BYTES:
            self._found(data, Broken(f"{(peak - self._peak_bytes) >> 20} MiB more than before"), f"too large: {kind}")
        self._peak_bytes = peak
        now = time.monotonic()
        if now >= self._written_at + WRITE_EVERY_S:
            self._written_at = now
            self.write()

    def write(self) -> None:
        """Let whoever has started this process read the report as it is now."""
        self.report.kinds = dict(self._kinds)
        self.report.peak_bytes = self._peak_bytes
        self.report.processor_s = time.process_time()
        if self._report_path is not None:
            aside = self._report_path.with_suffix(".new")
            aside.write_text(json.dumps(asdict(self.report)))
            aside.replace(self._report_path)

    def _found(self, data: bytes, error: Exception, place: str) -> str:
        """Keep one input for each place; of several the shortest."""
        known = self.report.crashes.get(place)
        if known is None or len(data) < Path(known[0]).stat().st_size:
            self._directory.mkdir(parents=True, exist_ok=True)
            name = sha256(place.encode()).hexdigest()[:8]
            path = self._directory / f"{self._target.name}-{name}"
            path.write_bytes(data)
            self.report.crashes[place] = (str(path), f"{type(error).__name__}: {error}"[:500])
        return f"!! {place}"


def _place_of(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "paceline" in frame.filename] or frames
    at = ours[-1]
    said = f": {error}" if isinstance(error, Broken) else ""
    return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}{said}"


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
