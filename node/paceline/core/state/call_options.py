"""The options of one call, read once, when its task is made. None stands for a call without options.

Few calls differ in what they ask for, so those that carry the same map share one object, unless there is a moment in
it, of which nearly every call has its own; what is alike in the maps of those is shared. A map is given out as the
client packed it, in its order: it is what the log, snapshots and nodes are given, and voters must write equal bytes.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from paceline_protocol.inputs import AFTER, INPUTS, has_inputs, is_enveloped, split
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.records import AT_MOST_ONCE, CANCEL, COMMITTED, Options
from paceline_protocol.option_types import KEY_CHARS
from paceline_protocol.options import (
    AFFINITY_WAIT_S,
    BACKOFF_MAX_S,
    BACKOFF_S,
    DEFAULT_QUEUE,
    OPTIONS,
    UNIQUE_FOR_S,
    is_logged,
    is_traced,
    together,
)
from paceline_protocol.places import Amounts, amounts_of

SHARED_LIMIT: Final = 1_024
"""How many different maps are shared. At the limit sharing begins anew, and tasks keep the objects that they have."""


@mypyc_attr(acyclic=True)
class CallOptions:
    """The options of a call as plain attributes, and as properties where it fails or ends: of those with a moment there
    may be a million. Never changed once it is made.

    ``max_attempts``: lost attempts that end the task, 0 if that is left to the cluster. ``starts_once``: its start
    is logged before it is made, and there is one. ``waits_for_commit``: its result is passed on once its outcome is
    committed. ``is_logged``: False if only its leader and its client know of it. ``is_traced``: it is sampled
    (``traces.py``). ``not_before_ms``: it may not start before this moment of the wall clock, 0 if at any time.
    ``expires_ms``: it may not start from this moment on, 0 for no such. ``deadline_ms``: nor may it run on, then;
    what has a deadline expires by then, too. ``retries``: how often it is tried again after it has failed;
    ``backoff_ms``, ``backoff_max_ms`` and ``has_jitter``: when. ``has_moment``: it has one of the moments, may be
    given one by a retry, or is held. ``result_ttl_ms``: how long its result is kept for whoever asks, 0 for no
    longer than its submitter needs; with a key for as long as that is held after its end, too. ``keep_dead_ms``:
    how long it is kept if it dies, 0 for not at all; ``may_be_kept``: it has one of the two; ``accepted_ms``: when
    it was admitted, if that is to be remembered. ``ends_with_client``: it is cancelled when its client is gone.
    ``is_limited``: only so many of its name and key may run at once, or start in a period.
    ``is_keyed``: its id follows from a key, and it holds that key until its result is kept no longer.
    ``is_placed``: it asks for tags, takes amounts of what its node declares, has an affinity, or is handed to its
    function with others. ``tags`` and ``needs``: which, as text, and ``amounts`` the latter.
    ``is_in_graph``: it belongs to a graph; ``graph``: which.
    ``has_inputs``: it depends on tasks; ``input_bytes``: what it takes to send it their results, which the leader sets
    once they have ended: the one thing here that is not of the call, and of no other, as no two share their inputs.
    ``extra_bytes``: what the texts among its options take, and what is kept of as many failures as it may have.
    """

    __slots__ = (
        "_has_own",
        "_map",
        "ends_with_client",
        "expires_ms",
        "extra_bytes",
        "has_inputs",
        "has_moment",
        "input_bytes",
        "is_in_graph",
        "is_keyed",
        "is_limited",
        "is_logged",
        "is_placed",
        "is_traced",
        "may_be_kept",
        "not_before_ms",
        "starts_once",
        "waits_for_commit",
    )

    def __init__(self, wire: Options) -> None:
        shape = _shape_of(wire)
        self._has_own: Final = shape is not None
        self._map: Final[Options] = wire if shape is None else shape  # with 0 for each moment of its own
        starts_once = wire.get("delivery") == AT_MOST_ONCE
        self.starts_once: Final[bool] = starts_once
        is_keyed = bool(wire.get("idempotency_key", 0))
        self.is_keyed: Final[bool] = is_keyed
        # Were a call with a key told early, and nobody remembered that, the next one would run.
        self.waits_for_commit: Final[bool] = starts_once or is_keyed or wire.get("confirm") == COMMITTED
        self.is_logged: Final[bool] = is_logged(wire)
        self.is_traced: Final[bool] = is_traced(wire)
        self.is_placed: Final[bool] = "needs" in wire or "tags" in wire or "affinity" in wire or "batch" in wire
        self.is_in_graph: Final[bool] = bool(wire.get("graph", 0))
        self.ends_with_client: Final[bool] = wire.get("on_client_lost") == CANCEL
        not_before_ms: int = wire.get("not_before", 0)
        expires_ms: int = wire.get("expires", 0)
        self.not_before_ms: Final[int] = not_before_ms
        deadline_ms: int = wire.get("deadline", 0)
        expires_ms = min(expires_ms or deadline_ms, deadline_ms or expires_ms)
        self.expires_ms: Final[int] = expires_ms
        retries: int = wire.get("retries", 0)
        self.has_moment: Final[bool] = bool(not_before_ms or expires_ms or retries or wire.get("held", 0))
        self.may_be_kept: Final[bool] = bool(is_keyed or wire.get("result_ttl", 0) or wire.get("keep_dead", 0))
        texts_bytes = sum([len(value) for value in wire.values() if isinstance(value, str)])  # nearly all are ASCII
        if "fair_key" in wire:
            texts_bytes += LINE_BYTES
        self.is_limited: Final[bool] = bool(wire.get("max_running", 0) or wire.get("rate", 0))
        if self.is_limited:
            texts_bytes += GATE_BYTES
        if is_keyed:
            texts_bytes += KEY_BYTES
        self.has_inputs: Final[bool] = has_inputs(wire)
        self.input_bytes = 0
        if self.has_inputs:
            texts_bytes += INPUT_BYTES * len(self.input_ids)
        self.extra_bytes: Final[int] = texts_bytes + FAILURE_BYTES * min(retries, KEPT_FAILURES)

    @property
    def queue(self) -> str:
        """In which it waits."""
        queue: str = self._map.get("queue", DEFAULT_QUEUE)
        return queue

    @property
    def is_held(self) -> bool:
        """Whether it does not start until somebody releases it."""
        return bool(self._map.get("held", 0))

    @property
    def fair_key(self) -> str:
        """With which it waits for its turn, "" for none."""
        return self._text("fair_key")

    @property
    def graph(self) -> str:
        """To which it belongs, "" for none."""
        return self._text("graph")

    @property
    def tags(self) -> str:
        return self._text("tags")

    @property
    def needs(self) -> str:
        return self._text("needs")

    @property
    def affinity(self) -> str:
        """The text that tasks have in common which are best on one node, "" for none."""
        return self._text("affinity")

    @property
    def affinity_wait_s(self) -> float:
        return (self._number("affinity_wait") or _AFFINITY_WAIT_MS) / 1_000

    @property
    def batch(self) -> int:
        """How many calls its function is called with at once, at most."""
        return max(1, self._number("batch"))

    @property
    def together(self) -> tuple[tuple[str, int | str | bytes], ...]:
        """What it has in common with those that it may be handed out with, () for none."""
        return together(self._map) if self.is_placed else ()

    @property
    def amounts(self) -> Amounts:
        needs = self.needs
        found = _amounts.get(needs)
        if found is None:
            if len(_amounts) >= SHARED_LIMIT:
                _amounts.clear()
            found = _amounts[needs] = amounts_of(needs)
        return found

    @property
    def max_running(self) -> int:
        """How many of its name and ``limit_key`` may be at nodes at a time; 0 for any number."""
        return self._number("max_running")

    @property
    def rate(self) -> int:
        """How many of its name and ``limit_key`` may start in a period (``rates.py``); 0 for any number."""
        return self._number("rate")

    @property
    def limit_key(self) -> str:
        """What is counted for its limit beside its name, "" for all of that."""
        key: int | str = self._map.get("limit_key", 0)
        return key if isinstance(key, str) else ""

    @property
    def max_attempts(self) -> int:
        return 1 if self.starts_once else self._number("max_attempts")

    @property
    def retries(self) -> int:
        return self._number("retries")

    @property
    def backoff_ms(self) -> int:
        return self._number("backoff") or _BACKOFF_MS

    @property
    def backoff_max_ms(self) -> int:
        return self._number("backoff_max") or _BACKOFF_MAX_MS

    @property
    def has_jitter(self) -> bool:
        return not self._number("jitter")

    @property
    def result_ttl_ms(self) -> int:
        ttl_ms = self._number("result_ttl")
        return max(ttl_ms, self._number("unique_for") or _UNIQUE_FOR_MS) if self.is_keyed else ttl_ms

    @property
    def input_ids(self) -> list[bytes]:
        """The tasks that it depends on, each once."""
        return list(dict.fromkeys([*self.carried_ids, *split(self._map.get(AFTER, 0))]))

    @property
    def carried_ids(self) -> list[bytes]:
        """Those of them whose results it is called with."""
        return split(self._map.get(INPUTS, 0))

    @property
    def is_enveloped(self) -> bool:
        """Whether there are any."""
        return is_enveloped(self._map)

    @property
    def allows_failed_inputs(self) -> bool:
        return bool(self._number("allow_failed_inputs"))

    @property
    def keep_dead_ms(self) -> int:
        return self._number("keep_dead")

    @property
    def deadline_ms(self) -> int:
        return self._number("deadline")

    @property
    def accepted_ms(self) -> int:
        return self._number("accepted")

    def _text(self, key: str) -> str:
        """Of an option whose 0 is for none."""
        value: int | str = self._map.get(key, 0)
        return value if isinstance(value, str) else ""

    def _number(self, key: str) -> int:
        number: int = self._map.get(key, 0)
        return number

    @property
    def wire(self) -> Options:
        """The map, as its client packed it. Not to be changed."""
        if not self._has_own:
            return self._map
        wire = dict(self._map)
        if "not_before" in wire:
            wire["not_before"] = self.not_before_ms
        if "expires" in wire:
            wire["expires"] = self.expires_ms
        return wire


KEPT_FAILURES: Final = 4
"""Of a task that fails more often: its first failure and the last ones."""
FAILURE_BYTES: Final = 200 + SUMMARY_LIMIT_BYTES
"""What is kept of one takes so much at most."""
KEY_BYTES: Final = 4 * KEY_CHARS
"""What a key may take beyond a byte for each of its characters, as Python holds them."""
INPUT_BYTES: Final = 250
"""What the leader takes for each task that a task depends on."""
LINE_BYTES: Final = 1_000
"""What a line of its own takes, in which a task with a fair key may wait, and such a key beyond a byte for each of its
characters."""
_AFFINITY_WAIT_MS: Final = int(AFFINITY_WAIT_S * 1000)
GATE_BYTES: Final = 2_000
"""What a gate of its own takes, at which a task with a limit may wait, and its key beyond a byte for each of its
characters."""
_UNIQUE_FOR_MS: Final = UNIQUE_FOR_S * 1000
_BACKOFF_MS: Final = int(BACKOFF_S * 1000)
_BACKOFF_MAX_MS: Final = int(BACKOFF_MAX_S * 1000)
_VARYING: Final = frozenset(option.key for option in OPTIONS if option.type.varies)
_MOMENTS: Final = frozenset(("not_before", "expires"))
_OTHERS: Final = _VARYING - _MOMENTS
_shared: Final[dict[tuple[tuple[str, object], ...], CallOptions]] = {}
_amounts: Final[dict[str, Amounts]] = {}
_shapes: Final[dict[tuple[tuple[str, object], ...], Options]] = {}


def _shape_of(wire: Options) -> Options | None:
    """The map with 0 for each of _MOMENTS, one for all calls that differ in those alone. None if there is neither of
    them, or something else of which nearly every call has its own: then it keeps its map."""
    if _MOMENTS.isdisjoint(wire) or not _OTHERS.isdisjoint(wire):
        return None
    shape = {key: 0 if key in _MOMENTS else value for key, value in wire.items()}
    key = tuple(shape.items())
    found = _shapes.get(key)
    if found is None:
        if len(_shapes) >= SHARED_LIMIT:
            _shapes.clear()
        _shapes[key] = found = shape
    return found


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
