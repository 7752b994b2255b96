"""Several futures of one client together: as they end, until so many have ended, and all their results in one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from paceline.client.driver.driver import Driver
from paceline.client.future import Future, Sink
from paceline.errors import ConfigError
from paceline.options import check_seconds, shown

ReturnWhen: TypeAlias = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]
"""The constants of concurrent.futures and of asyncio, which have these values."""
_RETURN_WHEN: Final = ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION")
NESTED_LIMIT: Final = 100
"""How deep futures may be nested that are gathered."""


class DoneAndNotDone(NamedTuple):
    """What :meth:`Gathering.wait` returns."""

    done: set[Future[Any]]
    not_done: set[Future[Any]]


class Gathering:
    """The part of a client that waits for several futures."""

    _driver: Driver

    def as_completed(self, futures: Iterable[Future[Any]], timeout: float | None = None) -> Iterator[Future[Any]]:
        """The futures of this client in the order in which they end. TimeoutError: ``timeout`` seconds from now."""
        if timeout is not None:
            check_seconds("timeout", timeout)
        return self._as_completed(futures, timeout)

    def _as_completed(self, futures: Iterable[Future[Any]], timeout: float | None) -> Iterator[Future[Any]]:
        deadline_s = None if timeout is None else time.monotonic() + timeout
        pending = self._own(futures)
        count = len(pending)
        sink = Sink()
        ended = sink.ended
        try:
            self._driver.collect(pending, sink)
            while pending:
                rest_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
                if not ended and not self._driver.wait_until(lambda: ended, rest_s, next(iter(pending))):
                    raise TimeoutError(f"{len(pending)} of {count} tasks did not end within {timeout} s")
                future = ended.popleft()
                if future in pending:  # else it was told twice, as after an interrupt
                    del pending[future]
                    yield future
        finally:
            sink.close()

    def wait(
        self, futures: Iterable[Future[Any]], timeout: float | None = None, return_when: ReturnWhen = "ALL_COMPLETED"
    ) -> DoneAndNotDone:
        """Wait until all of these futures of this client have ended, or the first one has, or the first one with an
        exception (``return_when``, as in concurrent.futures); at most ``timeout`` seconds. Which have ended by then,
        and which have not: that these have not is no error."""
        if return_when not in _RETURN_WHEN:
            raise ConfigError(f"return_when is {shown(return_when)}, and must be one of {', '.join(_RETURN_WHEN)}")
        if timeout is not None:
            check_seconds("timeout", timeout)
        not_done = self._own(futures)
        done = {future for future in not_done if future.done()}
        failed = any(map(_has_failed, done))
        is_over = return_when == "FIRST_COMPLETED" if done else False
        if not (is_over or (return_when == "FIRST_EXCEPTION" and failed)):
            try:
                for future in self._as_completed([each for each in not_done if each not in done], timeout):
                    done.add(future)
                    if return_when == "FIRST_COMPLETED" or (return_when == "FIRST_EXCEPTION" and _has_failed(future)):
                        break
            except TimeoutError:
                pass
        done.update(future for future in not_done if future.done())
        return DoneAndNotDone(done, {future for future in not_done if future not in done})

    def gather(self, futures: Any, *, timeout: float | None = None, return_exceptions: bool = False) -> Any:
        """The results of futures of this client, in the shape in which the futures are given: one, or lists, tuples,
        sets and dicts of them, in each other as you like. What is no future stays as it is.

        The first exception is raised as soon as a task ends with it, and all others go on. With ``return_exceptions``
        an exception is a result as others. TimeoutError: ``timeout`` seconds from now; all go on.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        found: list[Future[Any]] = []
        _find(futures, found, 0)
        for future in self._as_completed(found, timeout):
            if not return_exceptions and _has_failed(future):
                future.result(0)
        return _results(futures, return_exceptions)

    def _own(self, futures: Iterable[Future[Any]]) -> dict[Future[Any], None]:
        """Each of them once. Raises TypeError for what is none of this client."""
        own = dict.fromkeys(futures)
        for future in own:
            if not isinstance(future, Future):
                raise TypeError(f"{future!r} is no future of this client; give what submit() returned")
            if not future.is_of(self._driver):
                raise TypeError(f"{future!r} is of another client; give each client its own")
        return own


def _has_failed(future: Future[Any]) -> bool:
    return future.exception(0) is not None


def _find(value: Any, found: list[Future[Any]], depth: int) -> None:
    """Raises ValueError for what is nested too deep, as what is in itself is."""
    if isinstance(value, Future):
        found.append(value)
    elif isinstance(value, list | tuple | set | frozenset | dict):
        if depth == NESTED_LIMIT:
            raise ValueError(
                f"futures are nested in more than {NESTED_LIMIT} lists or dicts; gather them level by level"
            )
        for item in value.values() if isinstance(value, dict) else value:
            _find(item, found, depth + 1)


def _results(value: Any, return_exceptions: bool) -> Any:
    """The same with a result in the place of each future, which has ended."""
    if isinstance(value, Future):
        error = value.exception(0) if return_exceptions else None
        return value.result(0) if error is None else error
    if isinstance(value, dict):
        return {key: _results(item, return_exceptions) for key, item in value.items()}
    if isinstance(value, list | set | frozenset | tuple):
        items = [_results(item, return_exceptions) for item in value]
        if hasattr(value, "_fields"):  # a NamedTuple takes its fields one by one
            return type(value)(*items)
        return items if isinstance(value, list) else type(value)(items)
    return value
