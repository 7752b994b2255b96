"""Whatever others say, it can be shown."""

from __future__ import annotations

import json
import sys

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
