"""Which graphs there are, and how many of their tasks are where: the body of a GraphsReply. Its keys are listed in
docs/protocol.md."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Final

from paceline.core.scheduling.live_graphs import WORDS
from paceline.core.state.graphs import ACCEPTED, Counts, ends_of

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader
    from paceline.core.state.table import TaskTable
    from paceline_protocol.messages.graphs import GraphsRequest

PAGE_GRAPHS: Final = 200


def graphs(leader: Leader, table: TaskTable, request: GraphsRequest) -> dict[str, Any]:
    """One graph, or a page of them by name. Cost: that of looking at the names of all."""
    section, live = table.graphs, leader.tasks.graphs.by_name
    if request.graph:
        counts = section.counts_of(request.graph)
        is_known = counts is not None or request.graph in live
        return {"graphs": [_row(leader, request.graph, counts)] if is_known else [], "next": None}
    names = {*section.live, *section.over, *live}
    page = nsmallest(PAGE_GRAPHS + 1, [name for name in names if name > request.after])
    following = page[PAGE_GRAPHS - 1] if len(page) > PAGE_GRAPHS else None
    return {
        "graphs": [_row(leader, name, section.counts_of(name)) for name in page[:PAGE_GRAPHS]],
        "next": following,
    }


def _row(leader: Leader, name: str, counts: Counts | None) -> dict[str, Any]:
    """How they ended is by the log, and where the others are by this leader. A task that has ended, and of which the
    log does not have that yet, is in neither, and so ``logging``."""
    where = leader.tasks.graphs.counts_of(name)
    ends = {} if counts is None else ends_of(counts)
    accepted = 0 if counts is None else counts[ACCEPTED]
    known = sum(where) + sum(ends.values())
    return {
        "name": name,
        "total": max(accepted, known),
        "logging": max(0, accepted - known),
        **dict(zip(WORDS, where, strict=True)),
        "ends": ends,
    }
