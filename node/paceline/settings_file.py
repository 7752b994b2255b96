"""A file of settings: TOML, which a person may have written, or which something else has taken the place of.

Python's parser takes time that grows with the square of the dots in a key, recurses for each bracket, and raises more
than errors of TOML. So what is no file, is too long, or is nested as no settings are, is refused before it is parsed.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from paceline.files import open_regular

NESTING_MAX: Final = 16
"""Brackets within brackets, and dots of one key."""

_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\(?:.|\Z))*?(?:"""|\Z)'  # what is within quotes, or a comment, is none of these
    r"|'''.*?(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\(?:.|\Z))*(?:"|\n|\Z)'
    r"|'[^'\n]*(?:'|\n|\Z)"
    r"|\#[^\n]*"
    r"|[\[\]{}.,=\n]",
    re.DOTALL,
)


def read_settings(path: Path, limit_bytes: int) -> tuple[dict[str, Any], os.stat_result]:
    """The settings of a file, and what it was before they were read. Raises OSError for what can't be read or is no
    file, and ValueError for what is no TOML, or more than a file of settings can be."""
    with open_regular(path) as file:
        found = os.fstat(file.fileno())
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ValueError(f"it has more than {limit_bytes} bytes")
    text = data.decode("utf-8-sig")  # some editors begin with a mark
    check_shape(text)
    try:
        return tomllib.loads(text), found
    except ValueError:  # of which TOMLDecodeError is one
        raise
    except Exception as error:  # what else it raises is no less about the file
        raise ValueError(f"it can't be read as TOML ({type(error).__name__})") from error


def check_shape(text: str) -> None:
    """Raises ValueError for brackets or dots that no settings have. In one pass."""
    depth = dots = 0
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign == ".":
            dots += 1
        elif sign in ("[", "{"):
            depth, dots = depth + 1, 0
        elif sign in ("]", "}"):
            depth, dots = max(0, depth - 1), 0
        elif sign in ("\n", ",", "="):
            dots = 0
        if depth > NESTING_MAX or dots > NESTING_MAX:
            what = "brackets are nested" if depth > NESTING_MAX else "a key has dots"
            raise ValueError(f"in line {text.count(chr(10), 0, token.start()) + 1} {what} more than {NESTING_MAX} deep")
