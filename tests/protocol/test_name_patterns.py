"""Patterns of names of tasks, compared with what Python's own say."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from paceline_protocol.name_patterns import NamePattern

NAMES = st.text("ab.[?", max_size=12)


@given(st.text("ab.[?*", max_size=8), NAMES)
@example("a*a", "a")
@example("*ab*ab*", "ab")
@example("*", "")
def test_a_star_stands_for_any_characters_and_all_others_for_themselves(pattern: str, name: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert NamePattern(pattern).matches(name) == bool(re.fullmatch(expression, name, re.DOTALL))


@given(st.text("a*", max_size=5))
def test_what_names_nothing_matches_every_name(pattern: str) -> None:
    assert NamePattern(pattern).names_nothing == (set(pattern) <= {"*"})
