"""Runs one target in this process, guided by coverage if atheris is there, and blindly otherwise.

Started by ``fuzz.py``: ``python -m fuzz.guided TARGET SECONDS SEED DIRECTORY``. libFuzzer ends its process by itself,
so what is to be told is in a file by then.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from pathlib import Path
from random import Random

CHECK_EVERY = 64
HANG_S = 25
"""An input that takes longer ends the process, and is saved by libFuzzer."""


def main() -> None:
    name, for_s, seed, directory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    logging.disable(logging.CRITICAL)
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        _blindly(name, for_s, seed, directory)
        return
    with atheris.instrument_imports(include=["paceline", "paceline_protocol", "paceline_bridge"]):
        from fuzz.execution import Execution
        from fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus = directory / f"{name}.corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    execution = Execution(target, directory, directory / f"{name}.json")
    options = [
        f"-max_total_time={max(1, int(for_s))}",
        f"-seed={seed % 2**31 or 1}",
        f"-max_len={target.longest_bytes}",
        f"-artifact_prefix={directory}/{name}-",
        f"-timeout={HANG_S}",
        "-rss_limit_mb=2048",
        str(corpus),
    ]
    atheris.Setup(["fuzz", *options], execution.run)
    atheris.Fuzz()


def _blindly(name: str, for_s: float, seed: int, directory: Path) -> None:
    from fuzz.bytes_mutation import ByteMutator
    from fuzz.execution import Execution
    from fuzz.targets import TARGETS

    target = TARGETS[name]
    directory.mkdir(parents=True, exist_ok=True)
    execution = Execution(target, directory, directory / f"{name}.json")
    mutator = ByteMutator(Random(seed), list(target.seeds()), target.longest_bytes)
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        for _ in range(CHECK_EVERY):
            execution.run(mutator.next())
    execution.write()


if __name__ == "__main__":
    main()
