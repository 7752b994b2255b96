"""How futures learn of their ends: which calls are under way, and the callbacks that are due.

All but :meth:`Resolver.run_callbacks` is called under the lock of the turns (``turns.py``). Callbacks run outside it:
they may submit, and wait for other futures.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from paceline.client.driver.interrupts import is_main_thread, is_of_handler
from paceline.client.future import REFUSED, Callback, Future
from paceline.client.session.output import Output
from paceline.client.session.sampling import Sampler
from paceline_protocol.messages.records import CALL_ID, Call

_logger = logging.getLogger("paceline.client")


class Resolver:
    """``eager``: how many futures have callbacks that wait; a relay counts as one, for ever. ``ended``: the futures
    whose callbacks are due."""

    def __init__(self, sampler: Sampler, pack_again: Callable[[Call, str], Exception | None] | None = None) -> None:
        """``pack_again``: takes a call that depends on a result which the cluster does not have, and why that is. It
        submits it again, or returns why it can't be."""
        self.ended: deque[Future[Any]] = deque()
        self._futures: dict[bytes, Future[Any]] = {}
        self._made_again: dict[bytes, Future[Any]] = {}  # of tasks that anybody may have submitted, also this client
        self._watched: dict[Future[Any], None] = {}  # those of both that have callbacks
        self._sampler = sampler
        self._relay: Callable[[Output], None] | None = None
        self._pack_again = pack_again

    @property
    def eager(self) -> int:
        return len(self._watched) + (self._relay is not None)

    def open_ids(self) -> list[bytes] | None:
        """The tasks that have not ended, as far as anybody has their futures. None: a relay knows them."""
        return None if self._relay is not None else [*self._futures, *self._made_again]

    def add(self, future: Future[Any]) -> None:
        """The call of this future is submitted."""
        self._futures[future.task_id] = future

    def open_future(self, task_id: bytes) -> Future[Any] | None:
        """That of a call with this id that was submitted here and has not ended."""
        return self._futures.get(task_id)

    def made_again(self, task_id: bytes) -> Future[Any] | None:
        """The future that was made of this id, if it has not ended."""
        return self._made_again.get(task_id)

    def add_made_again(self, future: Future[Any]) -> None:
        """Somebody wants to know how this task ends, or ended."""
        self._made_again[future.task_id] = future

    def relay_to(self, relay: Callable[[Output], None]) -> None:
        """From now on ``relay`` takes what the session has to say, and counts on hearing it promptly."""
        self._relay = relay

    def resolve(self, output: Output) -> None:
        """Take what became of calls. To be done again if it is interrupted, which changes nothing of what was done."""
        results, failed = output.results, output.failed
        if self._relay is not None:
            if results or failed or output.accepted or output.postponed:
                self._relay(output)
            return
        if results:
            for task_id, state, payload in results:
                self._end(task_id, state, payload)
            results.clear()
        while output.over:
            call, detail = output.over[0]
            error = None if self._pack_again is None else self._pack_again(call, detail)
            if error is not None:
                self._end(call[CALL_ID], REFUSED, error)
            output.over.pop(0)
        if failed:
            for task_id, error in failed:
                self._end(task_id, REFUSED, error)
            failed.clear()

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Fail every future that has not ended: the client is closed, and they never will."""
        for task_id in [*self._futures, *self._made_again]:
            self._end(task_id, REFUSED, error())

    def _end(self, task_id: bytes, state: int, payload: bytes | Exception) -> None:
        if self._made_again:
            made_again = self._made_again.get(task_id)
            if made_again is not None:
                self._resolve(made_again, state, payload)
                self._made_again.pop(task_id, None)
        future = self._futures.get(task_id)
        if future is None:
            return
        under_way = self._sampler.under_way
        if under_way and task_id in under_way:
            self._sampler.came_back(task_id, monotonic_ns())
        self._resolve(future, state, payload)
        self._futures.pop(task_id, None)

    def _resolve(self, future: Future[Any], state: int, payload: bytes | Exception) -> None:
        future.resolve(state, payload)
        if future in self._watched:
            self.ended.append(future)
            del self._watched[future]

    def add_callback(self, future: Future[Any], callback: Callback) -> bool:
        """False: the future has ended, and the caller calls back, outside the lock."""
        if future.done():
            return False
        self._watched[future] = None  # first: with no callback it does no harm
        future.watch(callback)
        return True

    def remove_callback(self, future: Future[Any], callback: Callback) -> int:
        """How many were kept."""
        removed = future.unwatch(callback)
        if not future.has_callbacks:
            self._watched.pop(future, None)
        return removed

    def run_callbacks(self) -> None:
        """Outside the lock. Raises what a signal handler raised in one, as Ctrl-C does, once all have run."""
        interrupt: BaseException | None = None
        while self.ended:
            try:
                future = self.ended.popleft()
            except IndexError:
                break  # another thread took it
            for callback in future.take_callbacks():
                interrupt = _call(callback, future) or interrupt
        if interrupt is not None:
            raise interrupt


def call_back(callback: Callback, future: Future[Any]) -> None:
    """Call one callback, as :meth:`Resolver.run_callbacks` does."""
    interrupt = _call(callback, future)
    if interrupt is not None:
        raise interrupt


def _call(callback: Callback, future: Future[Any]) -> BaseException | None:
    """Whatever it raises is logged. sys.exit() in a callback would end whichever thread runs it, and its waits. What a
    signal handler raises is the program's, and returned."""
    try:
        callback(future)
    except BaseException as error:
        _logger.exception("a callback of %r failed", future)
        if is_of_handler(error) or (isinstance(error, KeyboardInterrupt) and is_main_thread()):
            return error
    return None
