"""A client process: submits numbered tasks at a steady rate and writes down what became of each.

Started by :class:`hosts.stream.Stream`, on whichever host it is told to. The schedule is open-loop: a cluster that
stands still does not slow it down. It writes JSON lines, times in seconds of the monotonic clock (which all processes
of a machine share), and reads commands from stdin, a line each:

    hold COUNT GATE    submit COUNT tasks that end once the file GATE is there, and tell when each is accepted
    stop               submit no more, wait until everything has ended, leave

The end of stdin means stop.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from typing import Any

from paceline.client import Client, Future, NamedTask
from paceline.errors import PacelineError

END_TIMEOUT_S = 40.0
FAILOVER_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 20.0
HELD_FROM = 500_000
"""Held tasks are numbered from here on after the first number."""


class Load:
    def __init__(self, client: Client, arguments: argparse.Namespace) -> None:
        self._client = client
        self._first: int = arguments.first
        self._runs: str = arguments.runs
        self._rate_per_s: float = arguments.rate
        self._record = os.open(arguments.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._stop = threading.Event()
        self._futures: dict[int, Future[Any]] = {}
        self._held = 0
        self._ended: queue.SimpleQueue[tuple[int, float, Future[Any]] | None] = queue.SimpleQueue()

    def run(self) -> None:
        writer = threading.Thread(target=self._write_ends)
        writer.start()
        threading.Thread(target=self._read_commands, daemon=True).start()
        self._write("started")
        started_s = time.monotonic()
        count = 0
        while not self._stop.wait(max(0.0, started_s + count / self._rate_per_s - time.monotonic())):
            self.submit_next(self._first + count)
            count += 1
        deadline_s = time.monotonic() + END_TIMEOUT_S
        for number, future in list(self._futures.items()):
            try:
                future.exception(max(0.0, deadline_s - time.monotonic()))
            except TimeoutError:
                self._write("pending", number)
        self.settle()
        self._client.close()  # by then the callbacks of all that has ended were called
        self._ended.put(None)
        writer.join()
        self._write("finished")

    def settle(self) -> None:
        """What is left to do once everything has ended."""

    def submit_next(self, number: int) -> None:
        """The task of this number, which is due now."""
        self._submit(number, "host_tasks.note", self._runs, number)

    def _submit(self, number: int, target: str | NamedTask, *arguments: object) -> Future[Any]:
        self._write("submitted", number)  # before, so that nothing ends that is not known
        future: Future[Any] = self._client.submit(target, *arguments)
        self._futures[number] = future
        future.add_done_callback(lambda ended: self._ended.put((number, time.monotonic(), ended)))
        return future

    def _hold(self, count: int, gate: str) -> None:
        for _ in range(count):
            number = self._first + HELD_FROM + self._held
            self._held += 1
            future = self._submit(number, "host_tasks.note_behind", gate, self._runs, number)
            threading.Thread(target=self._await_accepted, args=(number, future), daemon=True).start()

    def _await_accepted(self, number: int, future: Future[Any]) -> None:
        try:
            future.accepted()
        except PacelineError as error:
            self._write("refused", number, error=repr(error))
        else:
            self._write("accepted", number)

    def _read_commands(self) -> None:
        for line in sys.stdin:
            match line.split():
                case ["hold", count, gate]:
                    self._hold(int(count), gate)
                case ["stop"]:
                    break
                case other:
                    raise ValueError(f"no such command: {other}")
        self._stop.set()

    def _write_ends(self) -> None:
        while (ended := self._ended.get()) is not None:
            number, at_s, future = ended
            self._futures.pop(number, None)
            error = future.exception(0)
            if error is None:
                self._write("ended", number, at_s, result=self.seen(future.result(0)))
            else:
                self._write("ended", number, at_s, error=repr(error))

    def seen(self, result: Any) -> Any:
        """What is written down of a result."""
        return result

    def _write(self, event: str, number: int = -1, at_s: float | None = None, **more: Any) -> None:
        line = {"event": event, "number": number, "at_s": time.monotonic() if at_s is None else at_s, **more}
        os.write(self._record, (json.dumps(line) + "\n").encode())


def main(load: type[Load] = Load) -> None:
    parser = argparse.ArgumentParser(description="A steady load; started by the tests.")
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--record", required=True, help="where to write what happened")
    parser.add_argument("--runs", required=True, help="where the tasks write that they ran")
    parser.add_argument("--rate", type=float, required=True, help="tasks a second")
    parser.add_argument("--first", type=int, required=True, help="the number of the first task")
    arguments = parser.parse_args()
    with Client(
        *arguments.addresses,
        cluster=arguments.cluster,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        failover_timeout_s=FAILOVER_TIMEOUT_S,
    ) as client:
        load(client, arguments).run()


if __name__ == "__main__":
    main()
