"""What is told of tasks that fail, and of tasks that are not there; and how often."""

from __future__ import annotations

from paceline_bridge import replies
from paceline_bridge.config import BridgeConfig
from paceline_bridge.troubles import INTERVAL_S, NAMES_LIMIT, SEEN_LIMIT, Bindings, Failures, Seen
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import pack_error


def test_the_first_failure_is_told_at_once_and_the_next_ones_together() -> None:
    failures = Failures()
    first = failures.note("a", "KeyError: x", 0.0)
    assert first == "a task a failed, and nobody waits for its result: KeyError: x"
    assert [failures.note("a", "KeyError: y", moment) for moment in (0.1, INTERVAL_S - 0.1)] == [None, None]
    assert failures.note("b", "KeyError: x", 0.1) is not None, "another task has a line of its own"
    told = failures.note("a", "KeyError: z", INTERVAL_S)
    assert told is not None
    assert told.endswith("KeyError: z; 2 more like this since the last line")
    again = failures.note("a", "KeyError: z", 2 * INTERVAL_S)
    assert again is not None
    assert "more" not in again


def test_what_is_known_of_failures_is_bounded() -> None:
    failures = Failures()
    for number in range(3 * NAMES_LIMIT):
        failures.note(str(number), "", 0.0)
        failures.note(str(number), "", 0.0)
    assert len(failures._repeats._next_s) <= NAMES_LIMIT
    assert len(failures._repeats._untold) <= NAMES_LIMIT


def test_an_id_that_comes_again_is_known_unless_its_task_was_refused_and_few_are_kept() -> None:
    seen = Seen()
    assert [seen.note(b"a"), seen.note(b"a")] == [False, True]
    seen.forget(b"a")
    assert not seen.note(b"a")
    for number in range(SEEN_LIMIT):
        seen.note(number.to_bytes(16))
    assert not seen.note(b"a")
    assert len(seen._ids) == SEEN_LIMIT


def test_an_end_in_one_line() -> None:
    try:
        raise KeyError("two\nlines" + "x" * 1000)
    except KeyError as error:
        packed = pack_error(error, "")
    assert replies.summary(TaskEnd.FAILED, packed).startswith("KeyError: 'two\\nlines")
    assert len(replies.summary(TaskEnd.FAILED, packed)) == replies.SUMMARY_LIMIT_CHARS
    assert replies.summary(TaskEnd.CANCELLED, b"") == "it was cancelled"
    assert "can't be read" in replies.summary(TaskEnd.LOST, b"\xc1")


def test_a_task_is_missed_once_the_cluster_says_which_it_has_and_is_told_once() -> None:
    config = BridgeConfig(urls=("amqp://h",), queues={"q": "tasks.q", "celery": ""}, tasks={"shop.add": "tasks.add"})
    bindings = Bindings(config)
    assert list(bindings.check({})) == []
    assert list(bindings.check({"tasks": None})) == []
    [(is_warning, text)] = bindings.check({"tasks": ["tasks.add"]})
    assert is_warning
    assert text.startswith("--queue q=tasks.q: no node has a task tasks.q")
    assert text.endswith("The nodes have: tasks.add")
    assert list(bindings.check({"tasks": ["tasks.add"]})) == []
    assert list(bindings.check({"tasks": ["tasks.add", "tasks.q"]})) == [
        (False, "--queue q=tasks.q: now a node has a task tasks.q")
    ]
    [(_, text)] = bindings.check({"tasks": ["tasks.q"]})
    assert text.startswith("--task shop.add=tasks.add: no node has a task tasks.add")
