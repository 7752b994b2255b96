"""What a call takes over from the task that makes it: the deadline, unless its own is earlier, and the graph, unless it
says its own.

Who waits for the task has given up by then, and with it on all that the task has others do. And what others do for it
is part of what it is part of.
"""

from __future__ import annotations

import time

from paceline.parent_deadline import PARENT
from paceline_protocol.messages.records import Options
from paceline_protocol.options import by_name, is_by_name, is_logged


def inherited(options: Options | None) -> Options | None:
    """The options of a call that is made here, in a task or outside of any."""
    parents = None if PARENT.ask is None else PARENT.ask()
    if not parents:
        return options
    if graph := parents.get("graph", 0):
        options = labelled(options, graph)
    if deadline_ms := parents.get("deadline", 0):
        options = _ending_by(options, deadline_ms)
    return options


def labelled(options: Options | None, graph: str) -> Options | None:
    """The options of a call that belongs to this graph, unless it says its own, or is not logged, which none counts."""
    if options is not None and ("graph" in options or not is_logged(options)):
        return options
    return _with(options, {"graph": graph})


def _ending_by(options: Options | None, parent_ms: int) -> Options | None:
    """A deadline of its own that counts from its admission is compared by the clock of this machine, and whichever is
    chosen travels as it was given. Of a call by name it counts more than what nodes announce, as all that it says."""
    own_ms: int = 0 if options is None else options.get("deadline", 0)
    ends_ms = own_ms if own_ms >= 0 else time.time_ns() // 1_000_000 - own_ms
    if 0 < ends_ms <= parent_ms:
        return options
    return _with(options, {"deadline": parent_ms})


def _with(options: Options | None, more: Options) -> Options:
    found = {**(options or {}), **more}
    return by_name(found) if options is not None and is_by_name(options) else found
