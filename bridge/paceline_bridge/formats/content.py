"""The body of a message, read as its headers say: compression, type and character set. Pure.

A message is recognised by what is in its body, so more than one may look into it; it is read once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from paceline_bridge.formats import bodies, charsets
from paceline_bridge.message import Message

_UNREAD = object()
_FORMS_KEPT: Final = 64
"""Of 510 bytes of headers each; a producer has one or two."""


class Content:
    """``kind``: the content type without its parameters, "" if there is none. Whatever reads raises
    UnsupportedMessage."""

    def __init__(self, message: Message) -> None:
        self.kind, self.is_binary, self._charset = _form(message.content_type, message.content_encoding)
        self.is_json = self.kind in bodies.JSON_TYPES
        self.is_msgpack = self.kind in bodies.MSGPACK_TYPES
        self._message = message
        self._data: bytes | None = None
        self._json: Any = _UNREAD

    @property
    def data(self) -> bytes:
        """Without its compression."""
        if self._data is None:
            self._data = bodies.decompress(self._message.body, self._message.headers.get("compression"))
        return self._data

    @property
    def codec(self) -> str:
        return charsets.charset_of(self._charset)

    def json(self) -> Any:
        if self._json is _UNREAD:
            self._json = bodies.read_json(self.data, self.codec)
        return self._json

    def kombu_json(self) -> Any:
        return bodies.read_json(self.data, self.codec, kombu=True)

    def msgpack(self) -> Any:
        return bodies.read_msgpack(self.data)

    def text(self) -> str:
        return bodies.read_text(self.data, self.codec)


@lru_cache(_FORMS_KEPT)
def _form(content_type: str | None, encoding: str | None) -> tuple[str, bool, str | None]:
    """(the type without its parameters, whether it is in no character set, the character set if one is said)."""
    kind, _, parameters = (content_type or "").partition(";")
    is_binary = encoding is not None and encoding.lower() in charsets.BINARY
    # A parameter is said for this body; kombu writes an encoding into every message.
    return kind.strip().lower(), is_binary, _charset_in(parameters) or (None if is_binary else encoding)


def _charset_in(parameters: str) -> str | None:
    for parameter in parameters.split(";") if parameters else ():
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value
    return None
