"""msgpack as frames use it: arrays as tuples, plain types only, and bounded before anything is set aside.

Python values in arguments and results are packed by ``payload.py``, in another way.
"""

from __future__ import annotations

from typing import Any, Final

from msgpack import Packer, unpackb  # type: ignore[import-untyped]

from paceline_protocol.errors import LocalProtocolError
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_OPTIONS

_KEPT_PACKERS: Final = 8
_KEPT_BUFFER_BYTES: Final = 256 * 1024
_packers: list[Packer] = []
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


def unpack(data: bytes | memoryview) -> Any:
    """Unpack with arrays as tuples. Raises ValueError.

    msgpack sets an array aside when it reads its length, before it has seen one item. So the length is bounded by what
    a batch may hold, and by what is there, or a few nested headers would claim gigabytes.
    """
    try:
        return unpackb(
            data,
            use_list=False,
            max_array_len=min(len(data), MAX_BATCH_ITEMS),
            max_map_len=MAX_OPTIONS,
            max_ext_len=0,
        )
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
