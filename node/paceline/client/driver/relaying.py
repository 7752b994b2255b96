"""What a relay asks of its session beside what any client does. It has no futures: what becomes of tasks is news."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable

from paceline.client.driver.driver import Driver
from paceline.client.future import PENDING, REFUSED
from paceline.client.session.output import Output
from paceline.client.session.relaying import RelaySession

_logger = logging.getLogger("paceline.client")

ACCEPTED = PENDING
POSTPONED = -2
News = tuple[bytes, int, bytes | int | Exception]
"""(task id, state, payload) for a relay: ACCEPTED, POSTPONED with the milliseconds until the task is tried again, how
it ended (TaskEnd), or REFUSED with the exception."""


class RelayDriver:
    """A driver whose calls have no futures. ``news``: what became of tasks, in order; the relay takes it."""

    def __init__(self, driver: Driver, session: RelaySession) -> None:
        self.news: deque[News] = deque()
        self._driver = driver
        self._session = session

    def start(self, on_news: Callable[[], object]) -> None:
        """From now on ``on_news()`` is called under the lock when there is some: it may wake a thread, and nothing
        else. The background thread drives at all times."""
        driver, turns = self._driver, self._driver.turns

        def take(output: Output) -> None:
            self._take(output)
            try:
                on_news()
            except Exception:
                _logger.exception("the program that submits can't be told that there is news")

        def begin(_: float) -> None:
            driver.resolver.relay_to(take)
            driver.background.start()
            driver.background.check("a relay", "start it before")
            turns.undriven.set()

        turns.change(begin)

    def _take(self, output: Output) -> None:
        news = self.news
        news.extend((task_id, ACCEPTED, b"") for task_id in output.accepted)
        news.extend((task_id, POSTPONED, wait_ms) for task_id, wait_ms in output.postponed)
        news.extend(output.results)
        news.extend((task_id, REFUSED, error) for task_id, error in output.failed)
        output.accepted.clear()
        output.postponed.clear()
        output.results.clear()
        output.failed.clear()

    def wait_for(self, ids: Collection[bytes]) -> None:
        """Have the ends of these tasks, which another relay submitted, told here."""
        turns = self._driver.turns

        def wait(now: float) -> None:
            self._session.wait_for(ids, now)
            turns.flush(now)

        turns.change_if_usable(wait)

    def ask_again(self, ids: Iterable[bytes]) -> None:
        """Have the ends of these tasks told here."""
        turns = self._driver.turns

        def ask(now: float) -> None:
            self._session.ask_again(ids, now)
            turns.flush(now)

        turns.change_if_usable(ask)

    def release(self, ids: Iterable[bytes]) -> None:
        """The cluster may forget the results of these tasks."""
        self._driver.turns.change_if_usable(lambda now: self._session.release(ids, now))
