"""The parts of `paceline demo` that need no cluster; the whole is in test_real_nodes.py."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from paceline.cli.demo import as_json_text, as_text
from paceline.demo.run import DemoReport
from paceline.demo.tasks import count_words
from paceline.demo.words import count_alone, library_files, merge, most_frequent


def test_words_are_identifiers_of_two_characters_or_more(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_bytes(b"def add(a, b_c): return a + b_c  # \xff not utf-8\n")
    assert count_words(str(path)) == {"def": 1, "add": 1, "b_c": 2, "return": 1, "not": 1, "utf": 1}


def test_the_library_is_every_python_file_largest_first_and_nothing_installed(tmp_path: Path) -> None:
    for name, text in [("small.py", "x"), ("package/large.py", "x" * 50), ("notes.txt", ""), ("middle.py", "x" * 9)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "other.py").write_text("x" * 99)
    names = [Path(path).relative_to(tmp_path).as_posix() for path in library_files(tmp_path)]
    assert names == ["package/large.py", "middle.py", "small.py"]


def test_merging_the_parts_is_exact(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(str(tmp_path / f"{number}.py"))
        Path(paths[-1]).write_text("word " * (number + 1) + f"only_{number}")
    assert count_alone(paths) == merge(map(count_words, paths)) == Counter(word=6, only_0=1, only_1=1, only_2=1)


def test_words_of_equal_count_are_ordered_by_the_alphabet() -> None:
    assert most_frequent(Counter(b=2, a=2, c=3, d=1), 3) == [("c", 3), ("a", 2), ("b", 2)]


def a_report(**changes: Any) -> DemoReport:
    fields = {
        "files": 10,
        "completed": 10,
        "megabytes": 1.5,
        "words": 1000,
        "elapsed_s": 2.0,
        "failover_s": 0.4,
        "killed_after": 5,
        "old_leader": "a" * 32,
        "new_leader": "b" * 32,
        "top": [("self", 600), ("def", 400)],
        "alone_s": 3.0,
        "matches": True,
    }
    return DemoReport(**(fields | changes))


def test_a_good_report_says_what_was_kept_and_how_long_it_took() -> None:
    text = as_text(a_report())
    assert "0.400 s from the kill to the next completed task" in text
    assert "nothing; 10 of 10 files counted, equal to a count in one process" in text
    assert "5 tasks/s" in text
    assert json.loads(as_json_text(a_report()))["ok"] is True


@pytest.mark.parametrize("changes", [{"matches": False}, {"completed": 9}, {"failover_s": None}])
def test_a_bad_report_is_not_ok(changes: dict[str, Any]) -> None:
    report = a_report(**changes)
    assert not report.ok
    assert json.loads(as_json_text(report))["ok"] is False
    assert "WRONG" in as_text(report) or "did not go on" in as_text(report)
