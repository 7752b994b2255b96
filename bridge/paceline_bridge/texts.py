"""Texts that come from messages, as they enter a log line, a reply or a dead letter: short, and in a log on one line.

Pure.
"""

from __future__ import annotations

from paceline_protocol import texts

LIMIT_CHARS = 1_000


def cut(text: str) -> str:
    """The first LIMIT_CHARS of a text."""
    return texts.cut(text, LIMIT_CHARS)


def quoted(value: object) -> str:
    """A value of a message's as a text that names it. pika marks its large numbers with an L."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = int(value)
    return cut(repr(value[:LIMIT_CHARS] if isinstance(value, str | bytes) else value))


def said(error: BaseException) -> str:
    """What an error says; its name if it says nothing."""
    return cut(str(error)) or type(error).__name__


def one_line(text: str) -> str:
    """For a log: what is not printable, as a line break, is escaped, so that no message writes lines of its own."""
    return texts.one_line(cut(text))
