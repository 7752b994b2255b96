"""What the documentation draws is what the code does."""

from __future__ import annotations

from pathlib import Path

from paceline.core.state.task import EVENT_NAMES, STATE_NAMES, TRANSITIONS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_drawn_states_of_a_task_are_the_table_in_the_code() -> None:
    text = (DOCS / "architecture.md").read_text()
    drawn = text.partition("<!-- transitions: begin -->")[2].partition("<!-- transitions: end -->")[0]
    rows = {
        f"| {STATE_NAMES[old]} | {EVENT_NAMES[event]} | {STATE_NAMES[new]} |"
        for (old, event), new in TRANSITIONS.items()
    }
    assert set(drawn.strip().splitlines()[2:]) == rows
