"""The options of one call, read once, when its task is made. None stands for a call without options.

Few calls differ in what they ask for, so those that carry the same map share one object, unless there is a moment in
it, of which nearly every call has its own. The map itself is kept as the
client packed it, in its order: it is what the log, snapshots and nodes are given, and voters must write equal bytes.
"""

from __future__ import annotations

from typing import Final

from paceline_protocol.messages.records import AT_MOST_ONCE, COMMITTED, Options
from paceline_protocol.options import OPTIONS, is_logged, is_traced

SHARED_LIMIT: Final = 1_024
"""How many different maps are shared. At the limit sharing begins anew, and tasks keep the objects that they have."""


class CallOptions:
    """The options of a call as plain attributes. Never changed once it is made.

    ``wire``: the client's map. ``max_attempts``: lost attempts that end the task, 0 if that is left to the cluster.
    ``starts_once``: its start is logged before it is made, and there is one. ``waits_for_commit``: its result is passed
    on once its outcome is committed. ``is_logged``: False if only its leader and its client know of it. ``is_traced``:
    it is sampled (``traces.py``). ``not_before_ms``: it may not start before this moment of the wall clock, 0 if at any
    time. ``expires_ms``: it may not start from this moment on, 0 for no such; ``has_moment``: either.
    """

    __slots__ = (
        "expires_ms",
        "has_moment",
        "is_logged",
        "is_traced",
        "max_attempts",
        "not_before_ms",
        "starts_once",
        "waits_for_commit",
        "wire",
    )

    def __init__(self, wire: Options) -> None:
        self.wire: Final = wire
        starts_once = wire.get("delivery") == AT_MOST_ONCE
        max_attempts: int = wire.get("max_attempts", 0)
        self.starts_once: Final[bool] = starts_once
        self.max_attempts: Final[int] = 1 if starts_once else max_attempts
        self.waits_for_commit: Final[bool] = starts_once or wire.get("confirm") == COMMITTED
        self.is_logged: Final[bool] = is_logged(wire)
        self.is_traced: Final[bool] = is_traced(wire)
        not_before_ms: int = wire.get("not_before", 0)
        expires_ms: int = wire.get("expires", 0)
        self.not_before_ms: Final[int] = not_before_ms
        self.expires_ms: Final[int] = expires_ms
        self.has_moment: Final[bool] = bool(not_before_ms or expires_ms)


_VARYING: Final = frozenset(option.key for option in OPTIONS if option.type.varies)
_shared: Final[dict[tuple[tuple[str, object], ...], CallOptions]] = {}


def resolve(wire: Options) -> CallOptions:
    """The options of a map, which the codec has checked."""
    if _VARYING and not _VARYING.isdisjoint(wire):
        return CallOptions(wire)
    key = tuple(wire.items())
    options = _shared.get(key)
    if options is None:
        options = CallOptions(wire)
        if len(_shared) >= SHARED_LIMIT:
            _shared.clear()
        _shared[key] = options
    return options
