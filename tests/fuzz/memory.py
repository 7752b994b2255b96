"""The speakers of ``speakers.py`` in one process and in virtual time, seed after seed: ``python -m fuzz.memory``.

One run is one ``FuzzWorld``. Its seed decides who speaks to how many nodes, and everything else.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Final

from fuzz.execution import Report, peak_bytes
from fuzz.speakers import ROLES
from fuzz.world import FuzzWorld

FRAMES: Final = 15_000
"""Of one run."""
NODES: Final = (1, 3, 3)
RSS_LIMIT_BYTES: Final = 1 << 30
MIXES: Final[dict[str, tuple[str, ...]]] = {
    **{f"memory-{role}": (role,) for role in ROLES},
    "memory-all": tuple(ROLES),
    "memory-untrusted": tuple(role for role in ROLES if role != "node"),
}
"""Who speaks, by the name of the target."""


class Ended(Exception):
    """A run has found something. ``detail``: the messages that were taken last."""

    def __init__(self, cause: BaseException, detail: str) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.where = _where(cause)
        self.detail = detail


def run(
    seed: int, roles: Sequence[str], *, frames: int = FRAMES, trace: Callable[[str], None] | None = None
) -> FuzzWorld:
    """One run. Raises Ended."""
    world = FuzzWorld(seed, roles, nodes=Random(seed).choice(NODES), trace=trace)
    try:
        world.start_all()
        world.speak_until(frames)
        world.finish()
    except Exception as error:
        raise Ended(error, world.last_taken()) from error
    finally:
        world.close()
    return world


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/paceline" in frame.filename] or frames
    said = str(error).partition(":")[0][:60] if type(error).__name__ == "InvariantBroken" else ""
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno} {said}".strip()


def run_many(target: str, for_s: float, seed: int, directory: Path) -> Report:
    """Runs from this seed on until the time is over. What they find is saved with its seed."""
    report, kinds = Report(target), set[str]()
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        began = time.process_time()
        try:
            world = run(seed, MIXES[target])
            report.executions += world.sent_frames
            kinds |= set(world.verdicts.kinds)
        except Ended as ended:
            if ended.where not in report.crashes:
                path = directory / f"{target}-seed-{seed}.txt"
                path.write_text(f"./dev fuzz {target} --seed {seed} --trace\n\n{ended}\n\n{ended.detail}\n")
                report.crashes[ended.where] = (str(path), f"seed {seed}: {str(ended)[:400]}")
        took_s = time.process_time() - began
        if took_s > report.slowest_s:
            report.slowest_s, report.slowest = took_s, f"seed {seed}, all of it"
        report.kinds = dict.fromkeys(kinds, 1)
        report.peak_bytes = peak_bytes()
        report.processor_s = time.process_time()
        if report.peak_bytes > RSS_LIMIT_BYTES:
            report.crashes["too large"] = (str(directory), f"{report.peak_bytes >> 20} MiB after seed {seed}")
            break
        seed += 1
    return report


def main() -> None:
    """``python -m fuzz.memory TARGET SECONDS SEED DIRECTORY``."""
    import logging

    logging.disable(logging.CRITICAL)
    target, for_s, seed, directory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    report = run_many(target, for_s, seed, directory)
    (directory / f"{target}.json").write_text(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
