"""The character sets that texts may be in. Pure.

Python's codecs are no list of these: some take time that grows with the square of the text, as punycode and idna do,
some are no character sets, and each name that is asked for is imported and kept. So a sender's name is looked for in a
table of those that take time in proportion, and nowhere else.
"""

from __future__ import annotations

from encodings.aliases import aliases

from paceline_bridge.message import UnsupportedMessage
from paceline_bridge.texts import quoted

DEFAULT = "utf-8"
BINARY = ("binary", "ascii-8bit")
"""What kombu calls a body that is in no character set: it leaves a text as bytes, and reads JSON as UTF-8."""
_BOM = "\ufeff"
_ALLOWED = frozenset(
    (
        *("ascii", "latin_1", "utf_8", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"),
        *(f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
        *(f"cp{page}" for page in (437, 850, 852, 858, 866, 874, *range(1250, 1259))),
        *("koi8_r", "koi8_u", "mac_roman", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949"),
        *("gb2312", "gbk", "gb18030", "big5", "cp950"),
    )
)


def _key(name: str) -> str:
    return name.strip().strip("\"'").lower().replace("_", "-").replace(" ", "-")


_NAMES = {_key(alias): codec for alias, codec in aliases.items() if codec in _ALLOWED}
_NAMES |= {_key(codec): codec for codec in _ALLOWED}
_NAMES |= {"utf-8-sig": "utf_8"}


def charset_of(name: str | None) -> str:
    """The codec of a name. Raises UnsupportedMessage for what is none that texts may be in."""
    codec = (_NAMES.get(name) or _NAMES.get(_key(name))) if name else DEFAULT
    if codec is None:
        raise UnsupportedMessage(
            "bad-body", f"the character set {quoted(name)} is none that the bridge reads; write UTF-8, the default"
        )
    return codec


def decoded(data: bytes, codec: str) -> str:
    """The text, without a byte order mark. Raises ValueError."""
    return data.decode(codec).removeprefix(_BOM)
