"""Frames that are nearly right: a valid message with one thing wrong with it, as bytes.

What can be wrong is a row of a table (``CHANGES``): a field of another type or at the end of its range, an array of
another length, a length that is announced and not there, a frame that is cut, nested, or of another version. Some
frames are right, or nothing would ever get as far as to what the others could break.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from msgpack import packb

from fuzz.bytes_mutation import CLAIMS, NESTED, ByteMutator
from fuzz.samples import Known, Samples
from paceline_protocol.codec import HEADER_BYTES, MAGIC
from paceline_protocol.messages.message import MESSAGES, PROTOCOL_VERSION
from simulation.hostile_peer import forged

OTHER_TYPES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    1.5,
    1 << 63,
    (1 << 64) - 1,
    "",
    "text",
    b"",
    b"bytes",
    (),
    [[]],
    {},
    {"k": 1},
    {1: 2},
    [None] * 40,
    [[[[[[[[[]]]]]]]]],
    "x" * 5_000,
    b"x" * 70_000,
)
LARGE: Final = (b"\x91" * 60_000, b"\xdc\x40\x00" * 6_000, b"\xdd\xff\xff\xff\xff" * 4_000)
HUGE_EVERY: Final = 200
"""One of so many frames with something nested in them is large: they cost as much as hundreds of the others."""


class Frames:
    """Makes frames. ``known`` is what was heard, which the frames are near to."""

    def __init__(self, random: Random, known: Known | None = None) -> None:
        self.samples = Samples(random, known)
        self.known = self.samples.known
        self._random = random
        self._bytes = ByteMutator(random, [b""], 100_000)
        changes = [(change, weight) for weight, change in CHANGES]
        self._changes = [change for change, _ in changes]
        self._weights = [sum(weight for _, weight in changes[: at + 1]) for at in range(len(changes))]

    def frame(self, cls: type[Any]) -> bytes:
        """A frame of this class, right or wrong."""
        change = self._random.choices(self._changes, cum_weights=self._weights)[0]
        return change(self, cls)

    def right(self, cls: type[Any]) -> bytes:
        return packed(cls, self.samples.fields(cls))

    # --- what can be wrong

    def _extreme(self, cls: type[Any]) -> bytes:
        """A field of its type, at an end of its range or near the true one."""
        fields = self.samples.fields(cls)
        if fields:
            at = self._random.randrange(len(fields))
            fields[at] = forged(fields[at], self._random)
        return packed(cls, fields)

    def _other_type(self, cls: type[Any]) -> bytes:
        fields = self.samples.fields(cls)
        if fields:
            at = self._random.randrange(len(fields))
            fields[at] = self._wrong(fields[at])
        return packed(cls, fields)

    def _wrong(self, value: Any) -> Any:
        """Of another type, or with a part that is."""
        random = self._random
        if type(value) is not tuple or not value or random.random() < 0.4:
            return random.choice(OTHER_TYPES)
        at = random.randrange(len(value))
        return [*value[:at], self._wrong(value[at]), *value[at + 1 :]]

    def _other_count(self, cls: type[Any]) -> bytes:
        """A field too many or too few, or an array that is repeated."""
        random, fields = self._random, self.samples.fields(cls)
        choice = random.randrange(4)
        if choice == 0:
            fields.append(random.choice(OTHER_TYPES))
        elif choice == 1 and fields:
            del fields[random.randrange(len(fields))]
        elif choice == 2:
            random.shuffle(fields)
        else:
            fields = [value * random.choice((2, 50, 400)) if type(value) is tuple else value for value in fields]
        return packed(cls, fields)

    def _changed_bytes(self, cls: type[Any]) -> bytes:
        return self._bytes.changed(self.right(cls))

    def _claim(self, cls: type[Any]) -> bytes:
        """The body is, or begins with, a length that is not there."""
        return head(cls) + self._random.choice(CLAIMS) + self._random.choice((b"", b"\x01", b"\x90" * 50))

    def _nested(self, cls: type[Any]) -> bytes:
        is_large = not self._random.randrange(HUGE_EVERY)
        return head(cls) + self._random.choice(LARGE if is_large else NESTED)

    def _other_head(self, cls: type[Any]) -> bytes:
        """Another magic, version or kind before a body that is right."""
        frame = bytearray(self.right(cls))
        frame[self._random.randrange(HEADER_BYTES)] = self._random.randrange(256)
        return bytes(frame)

    def _noise(self, _: type[Any]) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 3, 4, 20, 300)))


CHANGES: Final[tuple[tuple[int, Callable[[Frames, type[Any]], bytes]], ...]] = (
    (30, Frames.right),
    (22, Frames._extreme),
    (14, Frames._other_type),
    (8, Frames._other_count),
    (12, Frames._changed_bytes),
    (4, Frames._claim),
    (3, Frames._nested),
    (4, Frames._other_head),
    (3, Frames._noise),
)
"""(how often, what is wrong). A new kind of mistake is a row here."""


def head(cls: type[Any]) -> bytes:
    """The first bytes of a frame."""
    return bytes((MAGIC, PROTOCOL_VERSION, MESSAGES[cls].kind))


def packed(cls: type[Any], fields: list[Any]) -> bytes:
    """A frame with these fields, whether they are right or not."""
    try:
        return head(cls) + packb(fields, unicode_errors="surrogatepass")
    except (ValueError, OverflowError):  # what msgpack has no form for
        return head(cls)
