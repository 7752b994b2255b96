"""A cluster in the place of a pool of threads or processes: ``concurrent.futures.Executor``.

Its futures are those of ``concurrent.futures``, which ``wait``, ``as_completed``, ``asyncio.wrap_future`` and other
libraries look into. Each stands for a future of the client, and ends when that one does: by a callback, so that the
client's thread reads the sockets as long as there are any. Who wants results as fast as they come uses the client.

What is called is a task, or the name of one: a function goes to no other machine by itself.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

from paceline.client.client import Client
from paceline.client.future import Future
from paceline.client.targets import Target
from paceline.errors import ConfigError, TaskCancelled
from paceline.options import check_seconds, shown

T = TypeVar("T")


class ExecutorFuture(concurrent.futures.Future[T], Generic[T]):
    """A future of ``concurrent.futures`` for one task. ``task``: the future that the client has of it, with its id.

    It does not tell whether the task runs: ``running()`` is False until it has ended. An end by cancelling is told as
    others tell it, by ``CancelledError``."""

    def __init__(self, task: Future[T]) -> None:
        super().__init__()
        self.task = task
        self._ends = threading.Lock()

    def cancel(self) -> bool:
        """As :meth:`Future.cancel` of the client: a task that runs is asked to stop, and waited for. Raises what that
        raises, as TimeoutError if the leader has not answered in 5 s."""
        if not self.done():
            self.task.cancel()
            if self.task.done():
                self.end()
        return self.cancelled()

    def end(self) -> None:
        """The task has ended; done again, it changes nothing."""
        with self._ends:
            if self.done():
                return
            try:
                value = self.task.result(0)
            except TaskCancelled:
                super().cancel()
                self.set_running_or_notify_cancel()
            except Exception as error:  # noqa: BLE001 - however it ended, or what came can't be read
                self.set_exception(error)
            else:
                self.set_result(value)


class Executor(concurrent.futures.Executor):
    """Runs tasks on a cluster, as any other ``concurrent.futures.Executor`` runs functions.

    :param client: the client that it uses, which stays open. Without one it makes a ``Client()``, and closes it when it
        is shut down and all has ended.
    """

    def __init__(self, client: Client | None = None) -> None:
        if client is not None and not isinstance(client, Client):
            raise ConfigError(f"client is {shown(client)}; give a paceline.Client, or none for one of its own")
        self._client = Client() if client is None else client
        self._owns_client = client is None
        self._lock = threading.RLock()  # a signal handler may submit at any moment
        self._open: set[ExecutorFuture[Any]] = set()
        self._is_shut_down = False

    @property
    def _max_workers(self) -> int:
        """How many tasks run at a time just now. Libraries look for it to decide how much to submit."""
        nodes = self._client.status()["nodes"]
        return max(1, sum(node.get("slots") or 0 for node in nodes))

    def submit(self, fn: Callable[..., T] | Target, /, *args: Any, **kwargs: Any) -> ExecutorFuture[T]:
        """Run a task on the cluster. Raises RuntimeError after :meth:`shutdown`, and what `Client.submit` raises:
        TypeError for a function that is no task."""
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            future: ExecutorFuture[T] = ExecutorFuture(self._client.submit(cast("Any", fn), *args, **kwargs))
            self._open.add(future)
        # Not by the future itself: that would call back in the loop that runs here, which may not run on.
        self._client._driver.add_done_callback(future.task, lambda _: self._ended(future))
        return future

    def _ended(self, future: ExecutorFuture[Any]) -> None:
        future.end()
        with self._lock:
            self._open.discard(future)
        self._close_if_over()

    def map(
        self,
        fn: Callable[..., T] | Target,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """As that of other executors: it submits all calls at once, or with ``buffersize`` so many ahead of the result
        that is taken, and gives the results in order. The first exception is raised in its place; then, or when the
        iterator is dropped, what has not ended is cancelled. ``chunksize`` makes no difference: calls that come
        together travel together. For arguments that never end there is `Client.map`.

        TimeoutError: ``timeout`` seconds from now.
        """
        for name, value in (("chunksize", chunksize), ("buffersize", buffersize)):
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} is {shown(value)}, and must be a whole number from 1")
        if timeout is not None:
            check_seconds("timeout", timeout)
        deadline_s = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables, strict=False)
        ahead: deque[ExecutorFuture[T]] = deque()
        try:
            for args in itertools.islice(calls, buffersize):
                ahead.append(self.submit(fn, *args))  # one by one: what is submitted is known, whatever comes then
        except BaseException:
            self._abandon(ahead)
            raise
        return self._results(fn, calls if buffersize is not None else iter(()), ahead, deadline_s)

    def _results(
        self,
        fn: Callable[..., T] | Target,
        calls: Iterator[tuple[Any, ...]],
        ahead: deque[ExecutorFuture[T]],
        deadline_s: float | None,
    ) -> Iterator[T]:
        try:
            while ahead:
                args = next(calls, None)
                if args is not None:
                    ahead.append(self.submit(fn, *args))
                yield _first_of(ahead, deadline_s)  # in no variable: it goes once nobody has it
        finally:
            self._abandon(ahead)

    def _abandon(self, futures: Iterable[ExecutorFuture[Any]]) -> None:
        """Ask for their cancellation, and wait for nothing: the garbage collector drops iterators at any moment."""
        self._client._driver.abandon([future.task for future in futures])

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more. ``wait``: until all that was submitted has ended. ``cancel_futures``: all of that is cancelled,
        and asked to stop if it runs."""
        with self._lock:
            self._is_shut_down = True
            left = list(self._open)
        if cancel_futures:
            self._abandon(left)
        if wait:
            self._client.wait([future.task for future in left])
            for future in left:  # whose callbacks may be to come, or were interrupted before they were added
                future.end()
            with self._lock:
                self._open.difference_update(left)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._owns_client and self._is_shut_down and not self._open:
            self._client.close()


def _first_of(ahead: deque[ExecutorFuture[T]], deadline_s: float | None) -> T:
    """The result of the first of these futures, which is taken from them once it has ended."""
    rest_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
    concurrent.futures.wait([ahead[0]], rest_s)
    if not ahead[0].done():
        raise TimeoutError("the next result did not come in time")
    return ahead.popleft().result(0)
