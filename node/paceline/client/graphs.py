"""Graphs: tasks under one name, counted, listed and cancelled as one, whoever submitted them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from paceline.client.questions import unpacked
from paceline.errors import GraphUnknown
from paceline.options import check_graph, check_seconds

if TYPE_CHECKING:
    from paceline.client.client import Client
    from paceline.client.driver.driver import Driver

LIVE: Final = ("running", "waiting", "delayed", "depending")
ENDS: Final = ("succeeded", "failed", "cancelled", "lost", "expired", "timed_out", "upstream_failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphProgress:
    """How many tasks of one graph are where, as the leader told it.

    ``total``: all that the cluster has of it. Each of them is counted once in what follows: ``running``, a node has
    been given it; ``waiting``, for a node; ``delayed``, for its moment, or somebody holds it; ``depending``, on tasks
    that have not ended; ``logging``, it has ended, and the log does not have that yet; and how the others ended.
    """

    name: str
    total: int
    running: int
    waiting: int
    delayed: int
    depending: int
    logging: int
    succeeded: int
    failed: int
    cancelled: int
    lost: int
    expired: int
    timed_out: int
    upstream_failed: int

    @property
    def ended(self) -> int:
        """How many have ended, by the log."""
        return sum(getattr(self, end) for end in ENDS)

    @property
    def is_over(self) -> bool:
        """Whether all that it has so far have ended."""
        return self.ended == self.total


class Graph:
    """The tasks of a client's cluster that have this name in common (``graph=``)."""

    __slots__ = ("_client", "name")

    def __init__(self, client: Client, name: str) -> None:
        check_graph(name)
        self._client = client
        self.name = str.__str__(name)

    def progress(self, timeout: float = 30.0) -> GraphProgress:
        """How many of its tasks are where. What this client has submitted before is counted, if it was taken.

        Raises GraphUnknown if the cluster knows no task of it, or has forgotten it since, RequestRefused if nodes are
        older, TimeoutError if the leader does not answer in time."""
        check_seconds("timeout", timeout)
        rows = unpacked(self._client._driver.graphs(self.name, "", timeout), timeout)["graphs"]
        if not rows:
            raise GraphUnknown(self.name)
        return _progress_of(rows[0])

    def cancel(self, timeout: float = 60.0) -> dict[str, int]:
        """Cancel all its tasks that have not ended: what runs is asked to stop, and not waited for. What its tasks
        submit while this is done may stay; then call it again.

        Returns and raises what ``client.cancel_where`` does."""
        return self._client.cancel_where(state=LIVE[:3], graph=self.name, timeout=timeout)

    def __repr__(self) -> str:
        return f"<graph {self.name}>"


class GraphQuestions:
    """The part of a Client that asks for graphs."""

    _driver: Driver

    def graphs(self, timeout: float = 30.0) -> list[GraphProgress]:
        """All that the cluster knows, by name: those of which some task has not ended, and of the others the 10,000
        that ended last. Raises as :meth:`Graph.progress`, but for GraphUnknown."""
        check_seconds("timeout", timeout)
        found: list[GraphProgress] = []
        after: str | None = ""
        while after is not None:
            answer = unpacked(self._driver.graphs("", after, timeout), timeout)
            found += map(_progress_of, answer["graphs"])
            after = answer["next"]
        return found


def _progress_of(row: Mapping[str, Any]) -> GraphProgress:
    plain = ("name", "total", *LIVE, "logging")
    return GraphProgress(**{key: row[key] for key in plain}, **{end: row["ends"].get(end, 0) for end in ENDS})
