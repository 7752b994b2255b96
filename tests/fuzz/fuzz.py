"""Fuzzes whatever takes bytes from outside, and says what that met. Used as ``./dev fuzz``.

* ``frame``, ``payload``, ``message``, ...: one decoder each, guided by coverage (``targets.py`` has the table).
* ``memory-ROLE``: nodes in one process, to which that role speaks as nobody should (``world.py``).
* ``live``, ``live-ROLE``, ``live-keys``, ``live-keys-node``: the process of a real node, and a client beside that is
  measured (``live.py``).

Everything that is found is saved in a directory, with the command that does it again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from fuzz.execution import Execution, Report
from fuzz.live import LIVE
from fuzz.memory import MIXES, Ended, run
from fuzz.target import scratch_of
from fuzz.targets import TARGETS

ALL: Final = (*TARGETS, *MIXES, *LIVE)
MODULES: Final = {**dict.fromkeys(TARGETS, "guided"), **dict.fromkeys(MIXES, "memory"), **dict.fromkeys(LIVE, "live")}
END_WITHIN_S: Final = 300.0
"""From when a process should have ended until it is killed."""
COVERAGE: Final = re.compile(r"\bcov: (\d+)")


def fuzz(target: str, for_s: float, seed: int, directory: Path) -> Report:
    """One target, in a process of its own."""
    command = [sys.executable, "-m", f"fuzz.{MODULES[target]}", target, str(for_s), str(seed), str(directory)]
    log, path = directory / f"{target}.log", directory / f"{target}.json"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            code = process.wait(for_s + END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        shutil.rmtree(scratch_of(process.pid), ignore_errors=True)  # libFuzzer ends a process without its own clean-up
    text = log.read_text(errors="replace")
    report = Report(**json.loads(path.read_text())) if path.exists() else Report(target)
    report.crashes = {where: (found, said) for where, (found, said) in report.crashes.items()}
    report.coverage = max(map(int, COVERAGE.findall(text)), default=0)
    for saved in directory.glob(f"{target}-*-*"):  # by libFuzzer itself: an input that ended or held up the process
        if re.match(rf"{re.escape(target)}-(crash|timeout|oom)-", saved.name):
            report.crashes[saved.name] = (str(saved), "the process ended, or the input took too long")
    if code and not report.crashes:
        report.crashes[f"it ended with {code}"] = (str(log), text[-500:])
    return report


def table(reports: list[Report]) -> str:
    """What was met, for people."""
    head = ("target", "executions", "edges", "kinds", "found", "slowest", "", "MiB", "processor s")
    rows = [
        (
            each.target,
            f"{each.executions:,}",
            str(each.coverage or "-"),
            str(len(each.kinds)),
            str(len(each.crashes)),
            f"{each.slowest_s * 1e3:,.1f} ms",
            each.slowest,
            str(each.peak_bytes >> 20),
            f"{each.processor_s:,.0f}",
        )
        for each in reports
    ]
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )


def again(target: str, path: str) -> str:
    """The command that does once more what was found."""
    if target in TARGETS:
        return f"./dev fuzz {target} --replay {path}"
    seed = re.search(r"-seed-(\d+)", path)
    return f"./dev fuzz {target} --seed {seed[1]} --trace" if seed else f"see {path}"


def replay(target: str, path: Path) -> int:
    """One input again. Returns the exit code."""
    execution = Execution(TARGETS[target], Path(tempfile.gettempdir()) / "paceline-fuzz-again")
    execution.run(path.read_bytes())
    for where, (_, said) in execution.report.crashes.items():
        print(f"{where}: {said}")
    print(f"{', '.join(execution._kinds)}; {execution.report.slowest_s * 1e3:.1f} ms")
    return 1 if execution.report.crashes else 0


def trace(target: str, seed: int) -> int:
    """One run again, with its story. Returns the exit code."""
    try:
        run(seed, MIXES[target], trace=print)
    except Ended as ended:
        print(f"{ended}\n{ended.detail}")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all by default: {', '.join(ALL)}")
    parser.add_argument("--for", dest="for_s", type=float, default=10.0, metavar="SECONDS", help="for each target")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="the first; by default another each time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="targets at a time")
    parser.add_argument("--trace", action="store_true", help="tell the story of one seed of a memory target")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved input through one target")
    asked = parser.parse_args()
    if unknown := [target for target in asked.targets if target not in ALL]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(ALL)}")
    if asked.replay is not None or asked.trace:
        logging.disable(logging.CRITICAL)
        one = asked.targets[0] if len(asked.targets) == 1 else ""
        if asked.replay is not None and one in TARGETS:
            return replay(one, asked.replay)
        if asked.trace and one in MIXES and asked.seed is not None:
            return trace(one, asked.seed)
        parser.error("--replay takes one target of bytes, and --trace one memory target and a --seed")
    seed = asked.seed if asked.seed is not None else int(time.time()) % 1_000_000 * 1_000
    directory = Path(tempfile.mkdtemp(prefix="paceline-fuzz-"))
    targets = asked.targets or list(ALL)
    print(f"seed {seed}; what is found is saved in {directory}", flush=True)
    with ThreadPoolExecutor(asked.jobs) as pool:
        reports = list(pool.map(lambda target: fuzz(target, asked.for_s, seed, directory), targets))
    return tell(reports, directory)


def tell(reports: list[Report], directory: Path) -> int:
    """Print all of it. Returns the exit code."""
    print(table(reports))
    for report in reports:
        if report.target in LIVE:
            print((directory / f"{report.target}.log").read_text(errors="replace").strip())
    for report in reports:
        for where, (path, said) in report.crashes.items():
            print(f"\n{report.target}: {where}\n  {said}\n  {again(report.target, path)}")
    return 1 if any(report.crashes for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
