"""Values of options as calls carry them, for whatever makes calls."""

from __future__ import annotations

from typing import Any

from paceline_protocol.limits import MAX_INPUTS, MAX_QUEUE_CHARS
from paceline_protocol.moments import FROM_NOW_MAX_MS
from paceline_protocol.option_types import (
    ERRORS_CHARS,
    KEY_CHARS,
    Errors,
    Key,
    Moment,
    Needs,
    OptionType,
    Origin,
    QueueName,
    Tags,
    TaskIds,
    Units,
)
from paceline_protocol.places import AMOUNT_MAX, PLACE_NAME_CHARS, TAGS_LIMIT

MANY_NAMES = [f"{number:0{PLACE_NAME_CHARS}}" for number in range(TAGS_LIMIT)]
TOO_MANY = ",".join([f"{number:02}" for number in range(TAGS_LIMIT + 1)])


def carried(type: OptionType) -> tuple[Any, ...]:
    """What a call may carry of this type, the ends of its range among them."""
    if isinstance(type, Errors):
        return "E", "ValueError,requests.exceptions.Timeout", "x" * ERRORS_CHARS
    if isinstance(type, Origin):
        return "0f" * 16, "0" * 32
    if isinstance(type, QueueName):
        return "default", "orders", "Video.high-1:a_b", "q" * MAX_QUEUE_CHARS
    if isinstance(type, Key):
        return 0, "k", "order 42", "\U0001f600" * KEY_CHARS
    if isinstance(type, Tags):
        return 0, "ssd", "ssd,zone-a", ",".join(sorted(MANY_NAMES))
    if isinstance(type, Needs):
        return 0, "gpu=1", f"gpu=2,memory_mb={AMOUNT_MAX}", ",".join([f"{name}={AMOUNT_MAX}" for name in MANY_NAMES])
    if isinstance(type, Units):
        return "gpu=0", "gpu=0+2+65535,port=8001", "+".join([f"gpu={10_000}", *map(str, range(10_001, 11_024))])
    if isinstance(type, TaskIds):
        return 0, b"i" * 16, bytes(32), bytes(16 * MAX_INPUTS)
    lowest = -FROM_NOW_MAX_MS if isinstance(type, Moment) else 0
    return tuple(dict.fromkeys((lowest, 0, min(1, type.highest), min(5_000, type.highest), type.highest)))


def not_carried(type: OptionType) -> tuple[Any, ...]:
    """What it may not."""
    if isinstance(type, Errors):
        return "", "x" * (ERRORS_CHARS + 1), "\u00fc", 1, True, None, b"E", 1.5, ("E",)
    if isinstance(type, Origin):
        return "", "0f" * 15, "0F" * 16, "0f" * 16 + "\n", 1, None, b"0f" * 16
    if isinstance(type, QueueName):
        return "", "q" * (MAX_QUEUE_CHARS + 1), "a b", "a/b", "a\n", "\u00fc", 0, 1, True, None, b"orders"
    if isinstance(type, Key):
        return "", "k" * (KEY_CHARS + 1), "a\n", "\udcff", 1, True, None, b"k", 1.5, ("k",)
    if isinstance(type, Tags):
        return "", "a b", "b,a", "a,a", "a,", "x" * (PLACE_NAME_CHARS + 1), TOO_MANY, 1, True, None, b"ssd", ("ssd",)
    if isinstance(type, Units):
        wrong = ("gpu=", "gpu", "gpu=00", "gpu=1+0", "gpu=1+1", "gpu=65536", "b=1,a=1", "gpu=1+", "gpu=+1", "gpu=-1")
        many = "+".join([f"gpu={10_000}", *map(str, range(10_001, 11_025))])
        return *wrong, "", many, "=1", "gpu=\u0661", 0, 1, True, None, b"gpu=0", {"gpu": 1}
    if isinstance(type, Needs):
        wrong = ("gpu", "gpu=", "gpu=0", "gpu=01", "gpu=-1", "gpu=1.5", "b=1,a=1", "a=1,a=2", f"gpu={AMOUNT_MAX + 1}")
        return *wrong, "", "=1", "a=\u0661", TOO_MANY.replace(",", "=1,") + "=1", 1, True, None, b"gpu=1", {"gpu": 1}
    if isinstance(type, TaskIds):
        return b"", b"i" * 15, b"i" * 17, bytes(16 * (MAX_INPUTS + 1)), "i" * 16, 1, True, None, (b"i" * 16,)
    lowest = -FROM_NOW_MAX_MS if isinstance(type, Moment) else 0
    return type.highest + 1, lowest - 1, True, None, "1", b"1", 1.5, (1,)
