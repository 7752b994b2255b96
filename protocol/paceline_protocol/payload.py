"""Arguments, results and errors as bytes: Python values that come back as they went.

No pickle: unpacking runs no code of the sender's, and a value that has no form here is refused where it is sent, by
name and place, and not silently turned into another. So subclasses of plain types are refused too, unless they have a
codec: an IntEnum that arrives as an int is another value.

Values of classes that have a codec travel in arguments and results alone (WITH_CLASSES), and come back where somebody
builds them (``coded.py``). What nodes read, errors and what they say of themselves, has none.

msgpack's own types are None, bool, int (to 64 bits), float, str, bytes, list and dict. The forms of the others are in
``forms.py``; what unpacking them may take is bounded in ``unpacking.py``.

Three things do not come back exactly: bytearray and memoryview arrive as bytes, a fixed-offset time zone loses its
name, and values that were one object arrive as two equal ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from msgpack import Packer  # type: ignore[import-untyped]

from paceline_protocol.coded import fields_in
from paceline_protocol.errors import MalformedPayload, PayloadTooLarge, UnserializableValue
from paceline_protocol.forms import (
    Unserializable,
    class_name,
    coded_form,
    form_of,
    module_of,
    plain_form_of,
    qualified_name,
)
from paceline_protocol.limits import PAYLOAD_LIMIT_MAX_BYTES
from paceline_protocol.moments import MOMENT_MAX_MS
from paceline_protocol.sizes import SCALARS, at_least
from paceline_protocol.unpacking import Build, Put, unpack

TRACEBACK_LIMIT_BYTES: Final = 64 * 1024
MESSAGE_LIMIT_BYTES: Final = 64 * 1024
ERROR_ARGS_LIMIT_BYTES: Final = 64 * 1024
NAME_LIMIT_BYTES: Final = 4096
ERROR_LIMIT_BYTES: Final = (
    TRACEBACK_LIMIT_BYTES + MESSAGE_LIMIT_BYTES + ERROR_ARGS_LIMIT_BYTES + 2 * NAME_LIMIT_BYTES + 64
)
"""More than a packed error takes that a worker gives."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An exception as it travels. ``args`` is None if they had no form on the wire, or were too large."""

    type_name: str  # __qualname__
    module: str
    message: str  # str(error)
    args: tuple[Any, ...] | None
    traceback: str
    earlier: tuple[tuple[int, int, str], ...] = ()  # attempts that failed before: (attempt, ms since 1970, summary)


_ERROR_HEAD: Final = b"\x95"
_LONGER_ERROR_HEAD: Final = b"\x96"
"""The first byte of an array of 5, and of 6."""

# --- packing ----------------------------------------------------------------------------------------------------

_KEPT_PACKERS: Final = 8
_KEPT_BUFFER_BYTES: Final = 256 * 1024


class Packers:
    """Packers at rest, with what they make of values that msgpack has not: making one costs more than packing a few
    arguments. pop and append are atomic, so that a packer is never shared by two threads."""

    __slots__ = ("at_rest", "form_of")

    def __init__(self, form_of: Callable[[object], object]) -> None:
        self.form_of: Final = form_of
        self.at_rest: Final[list[Packer]] = []


PLAIN: Final = Packers(plain_form_of)
WITH_CLASSES: Final = Packers(form_of)
"""For arguments and results."""


_CANT_BE_PACKED: Final = (Unserializable, BufferError, ValueError)
"""BufferError: of a memoryview that leaves bytes out. ValueError: of one that was released, and of what is too much."""


def _pack(value: object, packers: Packers) -> bytes:
    """Raises what is in _CANT_BE_PACKED."""
    at_rest = packers.at_rest
    try:
        packer = at_rest.pop()
    except IndexError:
        # surrogatepass: a str from os.fsdecode may hold lone surrogates, and comes back as it went.
        packer = Packer(strict_types=True, default=packers.form_of, unicode_errors="surrogatepass")
    packed: bytes = packer.pack(value)
    # After an error a packer is dropped, and after a large value too, for it keeps its buffer.
    if len(packed) <= _KEPT_BUFFER_BYTES and len(at_rest) < _KEPT_PACKERS:
        at_rest.append(packer)
    return packed


def _check_size(values: Sequence[object], limit_bytes: int) -> None:
    if at_least(values, limit_bytes) <= limit_bytes:
        return
    size = at_least(values, max(limit_bytes, PAYLOAD_LIMIT_MAX_BYTES))  # so far, so that the error says what may help
    raise PayloadTooLarge(size, limit_bytes, is_least=True)


def pack_value(value: object, limit_bytes: int | None = None, packers: Packers = PLAIN) -> bytes:
    """Pack one value. Raises UnserializableValue, or PayloadTooLarge past ``limit_bytes``, before it takes the memory
    for that."""
    if limit_bytes is not None and type(value) not in SCALARS:
        _check_size((value,), limit_bytes)
    try:
        packed = _pack(value, packers)
    except _CANT_BE_PACKED:
        raise _located([("the value", value)], packers) from None
    if limit_bytes is not None and len(packed) > limit_bytes:
        raise PayloadTooLarge(len(packed), limit_bytes)
    return packed


def pack_args(
    args: Sequence[Any], kwargs: Mapping[str, Any], limit_bytes: int | None = None, packers: Packers = WITH_CLASSES
) -> bytes:
    """Pack the arguments of a call: one array of the keyword map (nil if empty), then the positional arguments. Raises
    FoundReference if they have a future among them and ``packers`` do not know what becomes of it."""
    # all(): compiled, it is a loop, and a tenth of what issuperset() and map() cost for one value
    if limit_bytes is not None and (kwargs or not all(type(value) in SCALARS for value in args)):
        _check_size((*args, *kwargs.values()) if kwargs else args, limit_bytes)
    try:
        packed = _pack([dict(kwargs) if kwargs else None, *args], packers)
    except _CANT_BE_PACKED:
        places = [(f"argument {number}", value) for number, value in enumerate(args, start=1)]
        places += [(f"argument {name!r}", value) for name, value in kwargs.items()]
        raise _located(places, packers) from None
    if limit_bytes is not None and len(packed) > limit_bytes:
        raise PayloadTooLarge(len(packed), limit_bytes)
    return packed


_TOO_MUCH: Final = "it is nested too deep, holds itself, or is larger than 4 GiB"


def _located(places: list[tuple[str, object]], packers: Packers) -> UnserializableValue:
    """The error for the user, with the place of the value that can't be packed. Runs only once packing has failed.

    Goes down into the first part that fails alone, until no smaller part does.
    """
    path: list[str] = []
    found: object = [value for _, value in places]
    advice = _TOO_MUCH
    inside = places
    while True:
        for step, value in inside:
            try:
                _pack([value], packers)  # in a list, so that it is no less deep than where it failed
            except _CANT_BE_PACKED as error:
                path.append(step)
                found, advice, inside = value, _advice_of(error), _parts(value)
                if advice == _TOO_MUCH:  # so is whatever holds it, and it may go down for ever
                    return UnserializableValue(", ".join(path), _type_name(value), advice)
                break
        else:
            return UnserializableValue(", ".join(path) or "the arguments together", _type_name(found), advice)


def _advice_of(error: Exception) -> str:
    if isinstance(error, Unserializable):
        return error.advice
    if isinstance(error, BufferError):
        return "its bytes do not lie side by side; send bytes(value)"
    return "it was released" if "released" in str(error) else _TOO_MUCH


def _parts(value: object) -> list[tuple[str, object]]:
    if type(value) is dict:
        return [part for key, item in value.items() for part in (("a key", key), (_key_step(key), item))]
    if type(value) in (list, tuple):
        return [(f"item {index}", item) for index, item in enumerate(cast("Sequence[object]", value))]
    if type(value) in (set, frozenset):
        return [("an element", item) for item in cast("Iterable[object]", value)]
    try:
        form = coded_form(value)
    except Unserializable:
        return []
    if form is None:
        return []
    codec, _, state = form
    fields = fields_in(codec, state) or {}
    return [*((f"field {name}", item) for name, item in fields.items()), ("its state", state)]


def _key_step(key: object) -> str:
    """A key as a step of a path. Its repr only where that is known to be short and not to fail."""
    if isinstance(key, str | bytes):
        return f"key {key[:60]!r}"
    if type(key) is int and key.bit_length() <= 64:
        return f"key {key}"
    return f"a key of type {_type_name(key)}"


def _type_name(value: object) -> str:
    return qualified_name(type(value))


# --- unpacking --------------------------------------------------------------------------------------------------


def unpack_value(data: bytes, limit_bytes: int | None = None, build: Build | None = None) -> Any:
    """The value of pack_value. Raises MalformedPayload, UnpackedTooLarge, or PayloadTooLarge past ``limit_bytes``.

    ``build``: makes values of classes, and what it raises is raised. Without it they are CodedValue."""
    if limit_bytes is not None and len(data) > limit_bytes:
        raise PayloadTooLarge(len(data), limit_bytes)
    return unpack(data, build)


def unpack_args(
    data: bytes,
    limit_bytes: int | None = None,
    build: Build | None = None,
    put: Put | None = None,
) -> tuple[list[Any], dict[str, Any]]:
    """The positional and the keyword arguments of pack_args. ``put``: what stands in place of references;
    without it there may be none. Raises as unpack_value does."""
    if limit_bytes is not None and len(data) > limit_bytes:
        raise PayloadTooLarge(len(data), limit_bytes)
    items = unpack(data, build, put)
    if type(items) is not list or not items:
        raise MalformedPayload("not packed arguments: an array is expected, with the keyword arguments first")
    kwargs = items.pop(0)
    if kwargs is None:
        return items, {}
    if type(kwargs) is not dict or not all(type(name) is str for name in kwargs):
        raise MalformedPayload("not packed arguments: the keyword arguments are no map with string keys")
    return items, kwargs


# --- errors -----------------------------------------------------------------------------------------------------


def trim(text: str, limit_bytes: int, *, keep_end: bool = False) -> str:
    """The first (or last) ``limit_bytes`` of a text's UTF-8, less the character that the cut goes through."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return data.decode("utf-8")
    return (data[-limit_bytes:] if keep_end else data[:limit_bytes]).decode("utf-8", "ignore")


def describe_error(error: BaseException, traceback_text: str) -> ErrorInfo:
    """An exception as it travels, within the limits. Never raises: the exception is a user's, and so is its __str__."""
    try:
        message = "".join([str(error)])  # a str of its own, and no subclass with methods of the user's
    except BaseException as broken:  # noqa: BLE001 - whatever the user's __str__ does, the task failed with `error`
        message = f"(its __str__ raised {class_name(type(broken))})"
    args: tuple[Any, ...] | None
    try:
        args = tuple(error.args) + _paths_of(error)
        pack_value([args], ERROR_ARGS_LIMIT_BYTES)  # in a list, as deep as it is nested in the end
    except BaseException:  # noqa: BLE001 - a subclass may make `args` anything
        args = None
    return ErrorInfo(
        type_name=trim(class_name(type(error)), NAME_LIMIT_BYTES),
        module=trim(module_of(type(error)), NAME_LIMIT_BYTES),
        message=trim(message, MESSAGE_LIMIT_BYTES),
        args=args,
        traceback=trim(traceback_text, TRACEBACK_LIMIT_BYTES, keep_end=True),
    )


def _paths_of(error: BaseException) -> tuple[Any, ...]:
    """The arguments of an OSError that ``args`` leaves out: the path, or both of a rename. Without them it would come
    back as another one, that says no more than "No such file or directory"."""
    if not isinstance(error, OSError) or type(error).__module__ != "builtins" or len(error.args) != 2:
        return ()
    first, second = _path_text(error.filename), _path_text(error.filename2)
    if first is None:
        return ()
    return (first,) if second is None else (first, None, second)  # between them is the code of Windows


def _path_text(path: Any) -> Any:
    """A Path as its string. By name, since what is pure imports no pathlib."""
    return str(path) if type(path).__module__.startswith("pathlib") else path


def pack_error_info(info: ErrorInfo) -> bytes:
    """Pack an error that no exception stands for, as when a worker dies. Raises UnserializableValue for its args."""
    error = pack_value([info.type_name, info.module, info.message, info.args, info.traceback])
    return with_earlier(error, info.earlier)


def pack_error(error: BaseException, traceback_text: str) -> bytes:
    """Pack an exception. Its traceback is cut to the last 64 KiB, its message to the first; args go if they can."""
    return pack_error_info(describe_error(error, traceback_text))


def with_earlier(error: bytes, earlier: Sequence[tuple[int, int, str]]) -> bytes:
    """A packed error, with the attempts that failed before it. It is not looked into; what is none stays as it is."""
    if not earlier or error[:1] != _ERROR_HEAD:
        return error
    return _LONGER_ERROR_HEAD + error[1:] + pack_value([list(each) for each in earlier])


def unpack_error(data: bytes) -> ErrorInfo:
    """The inverse of both. Raises MalformedPayload or UnpackedTooLarge."""
    fields = unpack(data)
    if type(fields) is not list or len(fields) not in (5, 6):
        raise MalformedPayload("not a packed error: an array of 5 or 6 is expected")
    type_name, module, message, args, traceback = fields[:5]
    if not all(type(text) is str for text in (type_name, module, message, traceback)):
        raise MalformedPayload("not a packed error: type name, module, message and traceback are strings")
    if args is not None and type(args) is not tuple:
        raise MalformedPayload("not a packed error: args are a tuple or nil")
    return ErrorInfo(type_name, module, message, args, traceback, _unpack_earlier(fields[5:]))


def _unpack_earlier(found: list[Any]) -> tuple[tuple[int, int, str], ...]:
    earlier = found[0] if found else []
    if type(earlier) is not list:
        raise MalformedPayload("not a packed error: the attempts before are an array")
    for each in earlier:
        if type(each) is not list or tuple(map(type, each)) != (int, int, str):
            raise MalformedPayload("not a packed error: an attempt before is two integers and a string")
        if not (each[0] >= 0 and 0 <= each[1] <= MOMENT_MAX_MS):
            raise MalformedPayload("not a packed error: an attempt before has a number and a moment")
    return tuple((attempt, at_ms, summary) for attempt, at_ms, summary in earlier)
