"""Every error of the protocol, on one page.

Two questions decide the class. Whose fault is it: :class:`LocalProtocolError` is a value that we must not send,
:class:`RemoteProtocolError` is bytes that the other side must not have sent. And which layer: a :class:`ProtocolError`
is about frames, a :class:`PayloadError` about the Python values inside them, which frames carry undecoded.

The encoding functions raise LocalProtocolError and LimitExceeded and nothing else. The decoding functions raise
RemoteProtocolError and LimitExceeded and nothing else, whatever bytes they get.
"""

from __future__ import annotations

from typing import Any

from paceline_protocol.limits import PAYLOAD_LIMIT_MAX_BYTES


class CopyableError(Exception):
    """An exception that survives pickle, copy and deepcopy: its copy has the same text and attributes. Python's own way
    would call ``__init__`` with the text."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_anew, (type(self), *self.args), self.__dict__ or None


def _made_anew(cls: type[BaseException], *args: Any) -> BaseException:
    return cls.__new__(cls, *args)


class ProtocolError(CopyableError):
    """The base of the errors about frames."""


class LocalProtocolError(ProtocolError):
    """We were about to send what no peer may accept: a mistake in the calling code, whose message names the field."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what it must not. Drop the frame and count it; the connection ends when they repeat."""


class MalformedFrame(RemoteProtocolError):
    """The bytes are no message of this protocol: not paceline at all, cut short, or a field of another type."""


class PeerViolation(RemoteProtocolError):
    """A node sent a well-formed message that it can't have meant: it contradicts what is committed, what that node was
    told, or what any node may say. Nothing of the message counts, and the receiver says so and goes on."""


class VersionMismatch(RemoteProtocolError):
    """The frame is of another protocol version. Nothing past its version byte was read."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.ours = ours
        self.theirs = theirs
        super().__init__(
            f"protocol version {ours} here, {theirs} in the frame; upgrade paceline on the side with the lower one"
        )


class LimitExceeded(ProtocolError):
    """A count or a length is past the limit of docs/protocol.md. Either side may have caused it."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(f"{what}: {size}, and at most {limit} are allowed")


class FrameTooLarge(LimitExceeded):
    """A frame is past MAX_FRAME_BYTES."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("bytes in one frame", size, limit)


class PayloadError(CopyableError):
    """The base of the errors about arguments and results."""


class UnserializableValue(PayloadError):
    """A value has no form on the wire. ``path`` says where it is: "argument 2, key 'x'"."""

    def __init__(self, path: str, type_name: str, advice: str = "") -> None:
        self.path = path
        self.type_name = type_name
        self.advice = advice or "convert it to plain values (numbers, str, bytes, list, dict, ...) before sending"
        super().__init__(f"{path} is of type {type_name}, which can't be sent; {self.advice}")


class PayloadTooLarge(PayloadError):
    """Packed arguments or a packed result are past the limit. ``size`` may be the least that they are."""

    def __init__(self, size: int, limit: int, *, is_least: bool = False) -> None:
        self.size = size
        self.limit = limit
        least = "at least " if is_least else ""
        raised = f", or start the nodes with a --payload-limit of up to {PAYLOAD_LIMIT_MAX_BYTES >> 20} MiB"
        super().__init__(
            f"{least}{size} bytes of packed values, and at most {limit} may be sent; send a reference (a path, a URL) "
            f"to large data{raised if size <= PAYLOAD_LIMIT_MAX_BYTES else ''}"
        )


class UnpackedTooLarge(PayloadError):
    """Packed values are within their limit, and the collections in them would take far more memory than that."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"{size} bytes of packed values hold so many collections that they would take more than {limit >> 20} MiB "
            "as Python objects; send fewer and longer ones, an array of numpy, or a reference (a path, a URL)"
        )


class MalformedPayload(PayloadError):
    """The bytes are no packed value: damaged, written by something else, or not readable on this machine."""
