"""Which page of the live tasks is asked for: what a caller has said, checked, and the cursor in a form that can be
given away. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from paceline.errors import ConfigError, RequestRefused
from paceline.options import check_graph, shown
from paceline_protocol.limits import MAX_INT, MAX_NAME_CHARS, MAX_STRING_CHARS
from paceline_protocol.messages.live import LiveState
from paceline_protocol.name_patterns import STARS_MAX

ALL_STATES: Final = ("running", "waiting", "delayed")


class ListRequest(NamedTuple):
    """A TasksRequest, or with a ``graph`` a TasksOfGraphRequest, but for its number."""

    name: str
    states: tuple[int, ...]
    node: str
    limit: int
    term: int = 0
    state: int = 0
    part: int = 0
    at: int = 0
    graph: str = ""

    def behind(self, answer: Mapping[str, Any], limit: int) -> ListRequest | None:
        """For the page behind this one; None if this was the last. Raises RequestRefused if another leads by now."""
        if self.term not in (0, answer["term"]):
            raise RequestRefused("another node leads now, and does not know how far the list had come; begin anew")
        if answer["next"] is None:
            return None
        return self._replace(limit=limit, term=answer["term"])._at(answer["next"])

    def _at(self, cursor: Iterable[int]) -> ListRequest:
        state, part, at = cursor
        return self._replace(state=state, part=part, at=at)

    @property
    def cursor(self) -> str:
        """Where this page begins, for whoever asks for it later."""
        return f"{self.term}.{self.state}.{self.part}.{self.at}"


def list_request(
    name: str | None,
    state: str | Iterable[str],
    node: str | None,
    limit: int,
    after: str | None,
    graph: str | None = None,
) -> ListRequest:
    """Raises ConfigError for what can't be looked for."""
    if name is not None and (not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS):
        raise ConfigError(f"a name of a task has 1 to {MAX_NAME_CHARS} characters; leave it out for all")
    if name is not None and name.count("*") > STARS_MAX:
        raise ConfigError(f"the name {shown(name)} can't be looked for: it has more than {STARS_MAX} *")
    if node is not None and (not isinstance(node, str) or not 0 < len(node) <= MAX_STRING_CHARS):
        raise ConfigError("a node is its whole id, as `paceline status` shows it; leave it out for all")
    if type(limit) is not int or limit < 1:
        raise ConfigError(f"limit is {shown(limit)}, and must be a whole number from 1")
    if graph is not None:
        check_graph(graph)
    request = ListRequest(name or "*", _states(state), node or "", limit, graph=graph or "")
    return request if after is None else _continued(request, after)


def _states(state: str | Iterable[str]) -> tuple[int, ...]:
    asked = {state} if isinstance(state, str) else set(state)
    known = {each.name.lower(): int(each) for each in LiveState}
    if not asked or not asked <= known.keys():
        raise ConfigError(f"the state {shown(state)} is none of live tasks; there are {', '.join(ALL_STATES)}")
    return tuple(number for word, number in known.items() if word in asked)


def _continued(request: ListRequest, after: str) -> ListRequest:
    parts = after.split(".") if isinstance(after, str) else []
    if len(parts) != 4 or not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        raise ConfigError(f"{shown(after)} is no place in a list; give what the page before has as `next`")
    term, *cursor = [min(int(part), MAX_INT) for part in parts]
    return request._replace(term=term)._at(cursor)
