"""Asks for /metrics again and again, as Prometheus does, from a process of its own: in the benchmark's it would take
the interpreter from what is measured.

``python -m paceline_bench.harness.scraper HOST:PORT SECONDS`` runs until its stdin ends.
"""

from __future__ import annotations

import http.client
import json
import select
import subprocess
import sys
import time
from types import TracebackType

ANSWER_TIMEOUT_S = 10.0


class Scraper:
    """A context manager. ``answers_s``, once it is left: how long each answer took, in seconds."""

    def __init__(self, address: str, interval_s: float) -> None:
        self.answers_s: list[float] = []
        self._command = [sys.executable, "-m", "paceline_bench.harness.scraper", address, str(interval_s)]

    def __enter__(self) -> Scraper:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has started, and scraped once
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        text, _ = self._process.communicate()
        if kind is None:
            self.answers_s = json.loads(text)


def scrape(address: str) -> float:
    """Seconds from the connection to the last byte. Raises OSError, or ValueError for an answer that is no metrics."""
    started_s = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=ANSWER_TIMEOUT_S)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    text = response.read()
    elapsed_s = time.perf_counter() - started_s
    connection.close()
    if response.status != 200 or b"paceline_build_info" not in text:
        raise ValueError(f"{address} answered {response.status}: {text[:200]!r}")
    return elapsed_s


def main(address: str, interval_s: float) -> None:
    scrape(address)
    print("started", flush=True)
    answers_s: list[float] = []
    due_s = time.monotonic()
    is_over = False
    while not is_over:  # once at least, however soon it is
        answers_s.append(scrape(address))
        due_s += interval_s
        is_over = bool(select.select([sys.stdin], [], [], max(0.0, due_s - time.monotonic()))[0])
    print(json.dumps(answers_s))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
