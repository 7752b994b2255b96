"""The client of a soak: as ``hosts.load``, with tasks of every kind. It looks for dead tasks as a person would, writes
down which there are, and discards them; and for the records of others."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from hosts import load
from paceline.client import Client, Future
from paceline.errors import PacelineError
from soak.kinds import KINDS, kind_of, seen

LOOK_S = 2.0
SETTLE_S = 8.0
"""How long dead tasks are looked for once everything has ended."""


class MixedLoad(load.Load):
    def __init__(self, client: Client, arguments: argparse.Namespace) -> None:
        super().__init__(client, arguments)
        self._kept: dict[bytes, int] = {}  # tasks that may be dead, and were not found dead yet; by one thread each way
        self._recorded: dict[Future[Any], int] = {}  # tasks whose records were not looked for yet; likewise
        threading.Thread(target=self._look_again, daemon=True).start()

    def submit_next(self, number: int) -> None:
        kind = kind_of(number)
        future = self._submit(number, kind.target, self._runs, *kind.more(number), number)
        if kind.is_kept_dead:
            self._kept[future.task_id] = number
        if kind.has_record:
            self._recorded[future] = number
        if kind.cancel_after_s is not None:  # the answer may take as long as a failover, and the load goes on
            asked = threading.Timer(kind.cancel_after_s, self._cancel, args=(number, future))
            asked.daemon = True
            asked.start()

    def _cancel(self, number: int, future: Future[Any]) -> None:
        try:
            future.cancel()
        except (PacelineError, TimeoutError) as error:  # then it ends as any other
            self._write("not cancelled", number, error=repr(error))

    def _look_again(self) -> None:
        while not self._stop.wait(LOOK_S):
            self._take_dead()
            self._take_records()

    def _take_records(self) -> None:
        """What is told of those that have ended is written down."""
        try:
            for future, number in list(self._recorded.items()):
                if future.done():
                    lost = self._client.record(future).lost_attempts
                    if lost is None:
                        continue  # its end is not logged yet
                    self._write("record", number, lost=lost)
                    del self._recorded[future]
        except (PacelineError, TimeoutError) as error:
            self._write("not asked for records", error=repr(error))

    def _take_dead(self) -> None:
        """What is found dead is written down, and kept no longer."""
        try:
            for name in sorted({kind.target.name for kind in KINDS if kind.is_kept_dead}):
                found = [record.task_id for record in self._client.dead_tasks(name)]
                for task_id in found:
                    if task_id in self._kept:
                        lost = self._client.record(task_id).lost_attempts
                        self._write("dead", self._kept.pop(task_id), lost=lost)
                if found:
                    self._client.discard(found)
        except (PacelineError, TimeoutError) as error:
            self._write("not asked for dead tasks", error=repr(error))

    def settle(self) -> None:
        """All dead tasks and all records are found: none comes any more."""
        end_s = time.monotonic() + SETTLE_S
        while (self._kept or self._recorded) and time.monotonic() < end_s:
            self._take_dead()
            self._take_records()
            time.sleep(min(LOOK_S, 0.2))  # the cluster may have no leader

    def seen(self, result: Any) -> Any:
        return seen(result)


if __name__ == "__main__":
    load.main(MixedLoad)
