"""Valid messages of every kind, made cheaply and at random from the types of their fields.

The types are read once, into one maker for each field. A maker prefers what was heard before of a field of its name:
that way a forged ``term`` is near the real one, an id is one that somebody has, and the message gets as far into a node
as a message can. A new message is among them by itself.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from random import Random
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from option_values import carried
from paceline.core.feature_levels import FEATURE_LEVEL
from paceline_protocol.codec import (
    KINDS,
    decode_calls,
    encode_calls,
    encode_config,
    encode_defaults,
    encode_held,
    encode_outcomes,
    encode_own_schedules,
)
from paceline_protocol.limits import MAX_ATTEMPT, MAX_ENTRY_KIND, MAX_INT
from paceline_protocol.messages.client import Submit
from paceline_protocol.messages.consensus import Config, EntryKind
from paceline_protocol.messages.records import CALL_ID, TASK_ID_BYTES, Assignment, Default, Options, Outcome, TaskEnd
from paceline_protocol.messages.schedules import ScheduleDefinition, When
from paceline_protocol.options import EXCLUSIONS, OPTIONS
from paceline_protocol.payload import pack_args, pack_value

CLASSES: Final[list[type[Any]]] = [cls for cls, _ in KINDS.values()]

Maker = Callable[[str], Any]
"""The name of the field -> a value for it."""

REMEMBERED: Final = 64
HEARD: Final = 0.7
"""How often a value is one that was heard, or near one."""
INTEGERS: Final = (0, 1, 2, 3, 7, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 40, 1 << 40 | 1, 1 << 62, MAX_INT - 1, MAX_INT)
TEXTS: Final = ("", "a", "n0", "n1", "nobody", "node-0:7077", "127.0.0.1:1", "ü\0", "x" * 300)
NAMES: Final = ("reverse", "raise", "no_such_task", "n" * 255)
STEPS: Final = (0, 0, 0, 1, -1, 2, 100)


class Known:
    """What was heard, by the name of the field. ``ids``: tasks that somebody may have."""

    def __init__(self) -> None:
        self.integers: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self.texts: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        # Far from those of clients that behave here: who knows the id of a task may cancel it.
        self.ids: deque[bytes] = deque((bytes([0xF0 + number]) * 16 for number in range(8)), maxlen=REMEMBERED)

    def hear(self, message: Any) -> None:
        """A message was seen on the wire."""
        for name, value in zip(message._fields, message, strict=True):
            kind = type(value)
            if kind is int:
                self.integers[name].append(value)
            elif kind is str:
                self.texts[name].append(value)
            elif kind is tuple:
                self._hear_inside(value)
        if type(message) is Submit:
            self.ids.extend(call[CALL_ID] for call in decode_calls(message.calls)[:8])

    def _hear_inside(self, items: tuple[Any, ...]) -> None:
        for item in items[:8]:
            task_id = item[0] if type(item) is tuple and item else item
            if type(task_id) is bytes and len(task_id) == TASK_ID_BYTES:
                self.ids.append(task_id)


_DEFINITION = ScheduleDefinition("add", b"\x91\xc0", 4, None, When(1, "@daily", "UTC"), owner="tasks")
QUEUES = ("video", "mail.high")
"""Not the one in which tasks wait of whoever behaves: any client may pause that."""


class Samples:
    """Makes valid messages."""

    def __init__(self, random: Random, known: Known | None = None) -> None:
        self.random = random
        self.known = known or Known()
        self._named: dict[str, Maker] = {
            "id": self._id,
            "name": lambda _: random.choice(NAMES),
            "queue-name": lambda _: random.choice(QUEUES),
            "queue-names": lambda _: tuple(random.sample(QUEUES, random.randrange(3))),
            "tags": lambda _: random.choice(("", "ssd", "ssd,zone-a")),
            "amounts": lambda _: random.choice(("", "gpu=2", "gpu=1,memory_mb=500")),
            "entry-kind": lambda _: random.choice((*map(int, EntryKind), MAX_ENTRY_KIND)),
            "assignment": lambda _: self._assignment(),
            "outcome": lambda _: self._outcome(),
            "result": lambda _: (self._id(""), random.choice(ENDS), self._bytes("")),
            "bytes<calls>": lambda _: self.calls(random.randrange(4)),
            "bytes<outcomes>": lambda _: self.outcomes(random.randrange(3)),
            "bytes<held>": lambda _: encode_held((self._id(""), self._attempt()) for _ in range(3)),
            "bytes<defaults>": lambda _: encode_defaults(self._default() for _ in range(random.randrange(3))),
            "bytes<owned>": lambda _: encode_own_schedules([("nightly", _DEFINITION)] * random.randrange(2)),
            "bytes<config>": lambda _: self._config(),
            "bytes<payload>": lambda _: pack_value({"key": random.randrange(9)}),
        }
        self._simple: dict[object, Maker] = {
            int: self._integer,
            bool: lambda _: random.random() < 0.5,
            str: self._text,
            bytes: self._bytes,
        }
        self._makers: dict[type[Any], list[tuple[str, Maker]]] = {}
        for cls in CLASSES:
            hints = get_type_hints(cls, include_extras=True)
            self._makers[cls] = [(name, self._of(hints[name])) for name in cls._fields]

    def fields(self, cls: type[Any]) -> list[Any]:
        """The fields of a valid message of this class."""
        return [make(name) for name, make in self._makers[cls]]

    def message(self, cls: type[Any]) -> Any:
        return cls(*self.fields(cls))

    def calls(self, count: int) -> bytes:
        """Packed, as a Submit has them."""
        random = self.random
        return encode_calls(
            (self._id(""), random.choice(NAMES), random.randrange(10), self._bytes(""), self._options())
            for _ in range(count)
        )

    def outcomes(self, count: int) -> bytes:
        """Packed, as a NodeOutcomes has them."""
        return encode_outcomes([self._outcome() for _ in range(count)])

    # --- makers

    def _of(self, hint: Any) -> Maker:
        if hint in self._simple:
            return self._simple[hint]
        if get_origin(hint) is Annotated:
            bare, mark = get_args(hint)
            if isinstance(mark, str):
                return self._named.get(mark) or self._of(bare)
            numbers = [int(member) for member in mark]
            return lambda _: self.random.choice(numbers)
        parts = get_args(hint)
        if get_origin(hint) is not tuple:
            raise TypeError(f"no maker for {hint}; it needs a row in Samples")
        if parts[-1] is ...:
            item = self._of(parts[0])
            return lambda name: tuple(item(name) for _ in range(self.random.choice((0, 1, 1, 2, 3))))
        makers = [self._of(part) for part in parts]
        return lambda name: tuple(make(name) for make in makers)

    def _integer(self, name: str) -> int:
        random, heard = self.random, self.known.integers.get(name)
        if heard and random.random() < HEARD:
            return max(0, min(MAX_INT, random.choice(heard) + random.choice(STEPS)))
        return random.choice(INTEGERS)

    def _attempt(self) -> int:
        return min(MAX_ATTEMPT, self._integer("attempt"))

    def _text(self, name: str) -> str:
        random, heard = self.random, self.known.texts.get(name)
        return random.choice(heard) if heard and random.random() < HEARD else random.choice(TEXTS)

    def _id(self, _: str) -> bytes:
        return self.random.choice(self.known.ids)

    def _bytes(self, _: str) -> bytes:
        return self.random.choice(ARGUMENTS)

    def _options(self) -> Options | None:
        random = self.random
        if random.random() < 0.6:
            return None
        chosen: dict[str, Any] = {}
        for option in random.sample(OPTIONS, 2):
            chosen[option.key] = random.choice(carried(option.type))
        return {key: value for key, value in chosen.items() if key not in _excluded(chosen)}

    def _assignment(self) -> Assignment:
        random = self.random
        return (self._id(""), random.randrange(1, 4), random.choice(NAMES), self._bytes(""), self._options())

    def _default(self) -> Default:
        return self.random.choice(NAMES), self.random.randrange(10), self._options() or {}

    def _outcome(self) -> Outcome:
        random = self.random
        return (self._id(""), random.randrange(1, 4), random.choice(ENDS), self._bytes(""), random.randrange(1_000))

    def _config(self) -> bytes:
        known = sorted({*self.known.texts.get("sender", ()), "n0"})
        voters = tuple(sorted(self.random.sample(known, self.random.randint(0, min(3, len(known))))))
        return encode_config(Config(voters, level=self.random.randint(1, FEATURE_LEVEL)))


ENDS: Final = [int(end) for end in TaskEnd]
ARGUMENTS: Final = (b"", b"\x91\xc0", pack_args([1, "two"], {}), bytes(16), b"a" * 600, b"\xc1")


def _excluded(options: dict[str, Any]) -> set[str]:
    return {each.other for each in EXCLUSIONS if not each.may_travel and each.holds(options)}
