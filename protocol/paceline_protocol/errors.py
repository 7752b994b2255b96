"""Every error of the protocol, on one page.

Two questions decide the class. Whose fault is it: :class:`LocalProtocolError` is a value that we must not send,
:class:`RemoteProtocolError` is bytes that the other side must not have sent. And which layer: a :class:`ProtocolError`
is about frames, a :class:`PayloadError` about the Python values inside them, which frames carry undecoded.

The encoding functions raise LocalProtocolError and LimitExceeded and nothing else. The decoding functions raise
RemoteProtocolError and LimitExceeded and nothing else, whatever bytes they get.
"""

from __future__ import annotations

from typing import Any, Final

from paceline_protocol.coded import shown_class
from paceline_protocol.limits import PAYLOAD_LIMIT_MAX_BYTES
from paceline_protocol.texts import cut, one_line


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
        self.advice = advice or (
            "convert it to plain values (numbers, str, bytes, list, dict, ...) before sending, or give its class a "
            "codec (paceline.codecs.register)"
        )
        super().__init__(f"{path} is of type {type_name}, which can't be sent; {self.advice}")


class FoundReference(UnserializableValue):
    """There is a future in a value, and whoever packs has not said what becomes of it."""

    def __init__(self) -> None:
        advice = "a future stands for a result among the arguments of a call; here give its result()"
        super().__init__("the value", "Future", advice)


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


class ClassUnavailable(PayloadError):
    """A value is of a class that this process does not have under its name, or that is another kind of thing here.
    ``class_name``: as it travels, ``shop.orders:Order``. ``codec``: the name of the value's codec."""

    def __init__(self, codec: str, class_name: str, why: str) -> None:
        self.codec = codec
        self.class_name = class_name
        self.why = why
        super().__init__(f"a value of the class {shown_class(class_name)} can't be made here: {why}")


class FieldsDiffer(PayloadError):
    """A value has other fields than its class has here, or a name that is no member of it. ``missing``: what the class
    has and the value has not; ``unknown``: what the value has and the class has not."""

    def __init__(self, class_name: str, missing: tuple[str, ...], unknown: tuple[str, ...]) -> None:
        self.class_name = class_name
        self.missing = missing
        self.unknown = unknown
        differs = [f"the value lacks {_listed(missing)}"] if missing else []
        differs += [f"the class here lacks {_listed(unknown)}"] if unknown else []
        super().__init__(
            f"a value of the class {shown_class(class_name)} is of another version of it: {', and '.join(differs)}; "
            "run the same version of its module where the value is sent and where it arrives"
        )


class UnknownCodec(PayloadError):
    """A value travels by a codec that this process does not know."""

    def __init__(self, codec: str, class_name: str) -> None:
        self.codec = codec
        self.class_name = class_name
        super().__init__(
            f"a value of the class {shown_class(class_name)} travels by the codec {shown_class(codec)}, which is not "
            "known here; have the module of the task register it (paceline.codecs.register), and import that module "
            "where the result is asked for"
        )


class CodecFailed(PayloadError):
    """What a user's codec has made of the state of a value is no value of its class, or it raised."""

    def __init__(self, codec: str, class_name: str, why: str) -> None:
        self.codec = codec
        self.class_name = class_name
        self.why = why
        super().__init__(
            f"the codec {shown_class(codec)} makes no value of the class {shown_class(class_name)}: {why}; its encode "
            "and its decode have to fit together, and be the same where the value is sent and where it arrives"
        )


_LISTED: Final = 10
_NAME_CHARS: Final = 60


def _listed(names: tuple[str, ...]) -> str:
    shown = [cut(one_line(name), _NAME_CHARS) for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown) + more
