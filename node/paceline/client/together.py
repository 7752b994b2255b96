"""Calls that are submitted in one go, so that those that depend on others travel with them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from paceline.client.future import Future
from paceline.client.inherited import labelled
from paceline.client.targets import Target, parts_of
from paceline.errors import UpstreamFailed
from paceline.options import check_graph

if TYPE_CHECKING:
    from paceline.client.client import Client
    from paceline.client.driver.driver import PackedCall


class Together:
    """Takes calls, and submits all of them once its block ends without an error. For one thread. Nobody may wait for
    one of their futures before."""

    def __init__(self, client: Client, graph: str | None = None) -> None:
        if graph is not None:
            check_graph(graph)
        self._graph = graph
        self._client = client
        self._calls: list[tuple[Future[Any], PackedCall]] = []
        self._futures: dict[bytes, Future[Any]] = {}

    def submit(self, target: Target, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ``Client.submit``, in the end."""
        client = self._client
        try:
            name, priority, packed, options = client._pack(target, args, kwargs)
        except UpstreamFailed as error:
            return client._driver.ended(parts_of(target)[0], error)
        if self._graph is not None:
            options = labelled(options, self._graph)
        call = name, priority, packed, options
        new = client._driver.future_for(call)
        future = self._futures.setdefault(new.task_id, new)
        if future is new:  # otherwise they have one key, and are one task
            self._calls.append((future, call))
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._client._driver.submit_together(self._calls)
