"""Texts of others, made fit for a terminal, a log or a table.

Whoever speaks to a node may put anything into what it says of itself: escape sequences that change a terminal, line
breaks that forge a line of a log, characters that turn the direction of what follows. All that is shown of others goes
through one of these functions, where it is printed: the printers do so, and not those who make the texts.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    """The text with each character that is not printable as Python writes it: it stays in its line, and changes
    nothing of a terminal."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _escaped(char) for char in text])


def lines(text: str) -> str:
    """The same, but for line breaks, as in tracebacks."""
    return text if text.isprintable() else "\n".join(map(one_line, text.split("\n")))


def json_line(text: str) -> str:
    """A line of JSON with each character that is not printable as JSON escapes it. It reads back as it was."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _json_escaped(char) for char in text])


def cut(text: str, limit_chars: int) -> str:
    """The text, or its beginning, with a sign that there was more."""
    if len(text) <= limit_chars:
        return text
    return text[: limit_chars - 3] + "..." if limit_chars > 3 else text[:limit_chars]


def excerpt(text: str, limit_chars: int, limit_lines: int, *, keep_end: bool = False) -> str:
    """The first (or last) lines of a text, and of these so many characters; with a sign where something is left out."""
    shown = text[-limit_chars:] if keep_end else text[:limit_chars]
    kept = shown.split("\n")
    kept = kept[-limit_lines:] if keep_end else kept[:limit_lines]
    shown = "\n".join(kept)
    if len(shown) == len(text):
        return text
    return f"...{shown}" if keep_end else f"{shown}..."


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _json_escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join([f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)])
