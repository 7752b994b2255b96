"""msgpack as frames use it: arrays as tuples, plain types only, and bounded before anything is set aside.

Python values in arguments and results are packed by ``payload.py``, in another way.
"""

from __future__ import annotations

from typing import Any, Final

from msgpack import Packer, Unpacker, UnpackException, unpackb  # type: ignore[import-untyped]

from paceline_protocol.errors import LocalProtocolError
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_OPTIONS

_KEPT_PACKERS: Final = 8
_KEPT_BUFFER_BYTES: Final = 256 * 1024
_packers: Final[list[Packer]] = []
"""Packers at rest, as in ``payload.py``: making one sets aside a large buffer, which costs more than a short frame.
pop and append are atomic, so that a packer is never shared by two threads."""


def pack(value: Any, what: str) -> bytes:
    """Raises LocalProtocolError, which says that ``what`` can't be packed."""
    try:
        packer = _packers.pop()
    except IndexError:
        packer = Packer()
    try:
        packed: bytes = packer.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{what} can't be packed: {error}") from error
    # After an error a packer is dropped, and after a large value too, for it keeps its buffer.
    if len(packed) <= _KEPT_BUFFER_BYTES and len(_packers) < _KEPT_PACKERS:
        _packers.append(packer)
    return packed


_SHORT_BYTES: Final = 512
"""Up to this size nested headers announce less than a megabyte."""
_CLAIMED_BYTES: Final = 512 * 1024
"""What long arrays may have set aside in vain, before their items are missed."""
_FEW_HEADS: Final = 8
"""So many bytes that may begin one are looked for. If an id has such a byte, each of its client's tasks has it."""
_SLOT_BYTES: Final = 8
_LONG_ARRAYS: Final = (b"\xdc", b"\xdd")
"""Their first bytes."""
_LONG_BYTES: Final = 64 * 1024
"""Above this size it is worth a loop in Python not to copy what is looked at."""
_WALKED_OBJECTS: Final = 64
_skimmers: Final[list[Unpacker]] = []
"""Kept as packers are: making one clears 64 KiB, which costs more than it takes to look at a frame."""


def unpack(data: bytes | memoryview) -> Any:
    """Unpack with arrays as tuples. Raises ValueError.

    msgpack sets an array aside when it reads its length, before it has seen one item, and nested headers would have it
    set one aside for each. So what is announced is counted first, and has to be there, unless it can't be much.
    """
    size = len(data)
    limit_items = size if size < MAX_BATCH_ITEMS else MAX_BATCH_ITEMS
    try:
        if size > _SHORT_BYTES and not _claims_little(data, limit_items):
            _skim(data, size)
        return unpackb(data, use_list=False, max_array_len=limit_items, max_map_len=MAX_OPTIONS, max_ext_len=0)
    except (TypeError, OverflowError, UnpackException) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def check_whole(data: bytes) -> None:
    """Before ``unpackb``, for what is no frame: raises ValueError unless all that the data announces is there. Nothing
    is built."""
    size = len(data)
    if size > _SHORT_BYTES:
        try:
            _skim(data, size)
        except UnpackException as error:
            raise ValueError(str(error) or type(error).__name__) from error


def _claims_little(data: bytes | memoryview, limit_items: int) -> bool:
    """Whether nested headers can't set much aside, however they are arranged: no more long arrays are open at a time
    than there are bytes that may begin one. Cost: far less than that of a look at each object."""
    if not isinstance(data, bytes):
        return False
    left = min(_FEW_HEADS, _CLAIMED_BYTES // (limit_items * _SLOT_BYTES))
    for head in _LONG_ARRAYS:
        at = data.find(head)  # which skips many bytes at a time, and count() does not
        while at >= 0:
            left -= 1
            if left < 0:
                return False
            at = data.find(head, at + 1)
    return True


def _skim(data: bytes | memoryview, size: int) -> None:
    """Look at what is announced, and build nothing. Raises UnpackException or ValueError unless it is there."""
    if size > _LONG_BYTES:
        if not _is_whole(data, size):
            skimmer = Unpacker(max_buffer_size=size)
            skimmer.feed(data)
            skimmer.skip()
        return
    try:
        skimmer = _skimmers.pop()
    except IndexError:
        skimmer = Unpacker(max_buffer_size=_LONG_BYTES)
    begins_at: int = skimmer.tell()
    skimmer.feed(data)
    skimmer.skip()
    # One that has met an error, or bytes behind the value, is dropped: it keeps what is left.
    if skimmer.tell() - begins_at == size and len(_skimmers) < _KEPT_PACKERS:
        _skimmers.append(skimmer)


def _heads() -> list[tuple[int, int, int, int]]:
    """Of each first byte of an object: (bytes of its head, bytes of the length in it, a length that the first byte has
    itself, how many objects follow for each of that length; 0: bytes follow). Without extensions, which have no place
    in a frame."""
    heads = [(0, 0, 0, 0)] * 256
    for first in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3):
        heads[first] = (1, 0, 0, 0)
    for low in range(16):
        heads[0x80 + low] = (1, 0, low, 2)
        heads[0x90 + low] = (1, 0, low, 1)
    for low in range(32):
        heads[0xA0 + low] = (1, 0, low, 0)
    for first, bytes_of_length in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        heads[first] = (1 + bytes_of_length, bytes_of_length, 0, 0)
    for first, bytes_of_value in ((0xCA, 4), (0xCB, 8), (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        heads[first] = (1 + bytes_of_value, 0, 0, 0)
    for first, bytes_of_value in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        heads[first] = (1 + bytes_of_value, 0, 0, 0)
    for first, bytes_of_length, objects in ((0xDC, 2, 1), (0xDD, 4, 1), (0xDE, 2, 2), (0xDF, 4, 2)):
        heads[first] = (1 + bytes_of_length, bytes_of_length, 0, objects)
    return heads


_HEADS: Final = _heads()


def _is_whole(data: bytes | memoryview, size: int) -> bool:
    """Whether all that a value of a few objects announces is there. False: it is not, or there are more objects than
    this loop looks at."""
    at, left = 0, 1
    for _ in range(_WALKED_OBJECTS):
        if at >= size:
            return False
        head_bytes, length_bytes, length, objects = _HEADS[data[at]]
        if not head_bytes:
            return False
        if length_bytes:
            length = int.from_bytes(data[at + 1 : at + head_bytes])
        at += head_bytes
        left -= 1
        if objects:
            left += length * objects
        else:
            at += length
        if not left:
            return at <= size
    return False
