"""Whatever others say, it can be shown."""

from __future__ import annotations

import json
import sys

import pytest

from paceline_protocol.codec import decode_retries, encode_retries
from paceline_protocol.errors import LocalProtocolError
from paceline_protocol.texts import cut, json_line, lines, one_line

ALL = "".join(map(chr, range(sys.maxunicode + 1)))


def test_whatever_is_in_a_text_it_is_one_printable_line() -> None:
    assert one_line(ALL).isprintable()
    assert one_line("a\r\nb\x1b[2J\x9b\u202e\ud800") == r"a\r\nb\x1b[2J\x9b\u202e\ud800"
    assert one_line("Zürich, 東京") == "Zürich, 東京"


def test_line_breaks_stay_where_they_may() -> None:
    assert lines("one\n  two\x1b[m\r\n") == "one\n  two\\x1b[m\\r\n"


def test_json_stays_what_it_says() -> None:
    backwards = ALL[::-1]  # so that no two surrogates make a pair
    line = json_line(json.dumps(backwards, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == backwards


def test_what_is_cut_is_no_longer_than_it_may_be() -> None:
    assert [cut("abcdef", limit) for limit in (0, 2, 3, 5, 6)] == ["", "ab", "abc", "ab...", "abcdef"]


@pytest.mark.parametrize("unknown", ["\u0378", "\U000e0fff"])
def test_a_line_may_have_characters_that_only_a_later_python_knows(unknown: str) -> None:
    """One that runs the leader or the worker has let it pass, and no follower may stand still for that."""
    assert not unknown.isprintable()
    retries = [(bytes(16), 1, 2_000, 1_000, f"ValueError: {unknown}")]
    assert decode_retries(encode_retries(retries)) == retries


@pytest.mark.parametrize("char", ["\n", "\x1b", "\x9b", "\u202e", "\u2028", "\ue000", "\xa0", "\xad"])
def test_a_line_has_no_character_that_has_an_effect(char: str) -> None:
    with pytest.raises(LocalProtocolError, match="a line of"):
        encode_retries([(bytes(16), 1, 2_000, 1_000, f"ValueError: {char}")])
