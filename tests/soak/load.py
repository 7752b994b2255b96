"""The client of a soak: as ``hosts.load``, with tasks of every kind."""

from __future__ import annotations

import threading
from typing import Any

from hosts import load
from paceline.client import Future
from paceline.errors import PacelineError
from soak.kinds import kind_of, seen


class MixedLoad(load.Load):
    def submit_next(self, number: int) -> None:
        kind = kind_of(number)
        future = self._submit(number, kind.target, self._runs, *kind.more(number), number)
        if kind.is_cancelled:  # the answer may take as long as a failover, and the load goes on
            threading.Thread(target=self._cancel, args=(number, future), daemon=True).start()

    def _cancel(self, number: int, future: Future[Any]) -> None:
        try:
            future.cancel()
        except (PacelineError, TimeoutError) as error:  # then it ends as any other
            self._write("not cancelled", number, error=repr(error))

    def seen(self, result: Any) -> Any:
        return seen(result)


if __name__ == "__main__":
    load.main(MixedLoad)
