"""A snapshot is of one instant, however long it takes to pack, and gives back what it was made of."""

from __future__ import annotations

import tracemalloc
from random import Random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from option_values import MANY_NAMES
from paceline.core.feature_levels import NodeTooOld
from paceline.core.raft.pages import Pieces, framed, page_at
from paceline.core.state.snapshots import (
    PAGE_ITEMS,
    SHARED_BYTES,
    STREAM_FORMAT,
    STREAM_NAME,
    Capture,
    digests_of,
    restore,
    snapshot_of,
)
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import encode_calls, encode_kept, encode_outcomes, encode_requeued, join_ids
from paceline_protocol.limits import BATCH_WINDOW_S, MAX_INT, MAX_NAME_CHARS, MAX_QUEUE_CHARS
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import EndRecord, TaskEnd
from paceline_protocol.moments import FROM_NOW_MAX_MS, MOMENT_MAX_MS
from paceline_protocol.option_types import ERRORS_CHARS, KEEP_MAX_DAYS, KEY_CHARS
from paceline_protocol.options import BY_KEY, MAX_RUNNING, RETRIES_MAX
from paceline_protocol.places import AMOUNT_MAX
from paceline_protocol.rates import HIGHEST_RATE

RELEASED_LIMIT_TASKS = 30


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def change(table: TaskTable, random: Random, count: int) -> None:
    """Apply random entries, of tasks that are there and of some that are not."""
    for _ in range(count):
        ids = [task_id(random.randrange(300)) for _ in range(random.randint(1, 8))]
        kind = random.choice(list(EntryKind))
        if kind is EntryKind.ACCEPT:
            calls = [(each, "add", random.randrange(10), random.randbytes(20), None) for each in ids]
            table.apply(kind, encode_calls(calls))
        elif kind is EntryKind.OUTCOME:
            end = int(random.choice(list(TaskEnd)))
            table.apply(kind, encode_outcomes([(each, 1, end, random.randbytes(5), 1) for each in ids]))
        elif kind is EntryKind.DEAD:
            record = EndRecord("add", 4, 1, 0, 1, "n1", 0, 1, 2, 0, ())
            table.apply(kind, encode_kept([((each, 1, 2, random.randbytes(5), 1), record) for each in ids]))
        elif kind is EntryKind.REQUEUE:
            new = [task_id(random.randrange(300)) for _ in ids]
            calls = [(each, "add", 4, random.randbytes(20), None) for each in new]
            table.apply(kind, encode_requeued(zip(ids, calls, strict=True)))
        elif kind in (EntryKind.RELEASE, EntryKind.ATTEMPT, EntryKind.DISCARD):
            table.apply(kind, join_ids(ids))


@given(st.integers(0, 10_000))
def test_what_is_packed_while_the_table_changes_is_the_table_of_before(seed: int) -> None:
    random = Random(seed)
    table = TaskTable(RELEASED_LIMIT_TASKS)
    change(table, random, 60)
    before = snapshot_of(table)
    capture = Capture(table)
    while capture.step():
        change(table, random, 10)
    assert capture.data[:] == before


@given(st.integers(0, 10_000))
def test_what_is_restored_is_what_was_captured_and_goes_on_like_it(seed: int) -> None:
    random = Random(seed)
    table, other = TaskTable(RELEASED_LIMIT_TASKS), TaskTable(RELEASED_LIMIT_TASKS)
    change(table, random, 80)
    change(other, random, 5)
    restore(other, snapshot_of(table))
    assert snapshot_of(other) == snapshot_of(table)
    change(table, Random(seed + 1), 60)
    change(other, Random(seed + 1), 60)
    assert snapshot_of(other) == snapshot_of(table)


def test_no_page_has_more_than_its_share() -> None:
    table = TaskTable()
    for start in range(0, 5_000, 500):
        calls = [(task_id(number), "add", 4, b"x" * 400, None) for number in range(start, start + 500)]
        table.apply(EntryKind.ACCEPT, encode_calls(calls))
    table.apply(EntryKind.ACCEPT, encode_calls([(task_id(9_999), "add", 4, bytes(1 << 20), None)]))
    capture = Capture(table)
    while capture.step():
        pass
    sizes, offset = [], 0
    while offset < len(capture.data):
        page, offset = page_at(capture.data, offset)
        sizes.append(len(page))
    assert max(sizes) < 400 * PAGE_ITEMS + (1 << 20)
    assert len(sizes) > 5
    copy = TaskTable()
    restore(copy, capture.data)
    assert list(copy.tasks) == list(table.tasks)


def test_long_arguments_and_results_are_in_the_stream_as_they_are_in_the_table_and_no_copies() -> None:
    table = TaskTable(RELEASED_LIMIT_TASKS)
    sizes = [0, 1, SHARED_BYTES - 1, SHARED_BYTES, 65_535, 65_536, 300_000, 20, SHARED_BYTES]
    calls = [(task_id(number), "add", 4, Random(number).randbytes(size), None) for number, size in enumerate(sizes)]
    calls.append((task_id(90), "add", 4, bytes(SHARED_BYTES), {"max_attempts": 3}))
    table.apply(EntryKind.ACCEPT, encode_calls([*calls, (task_id(91), "add", 4, b"", None)]))
    table.apply(EntryKind.OUTCOME, encode_outcomes([(task_id(91), 1, 2, b"r" * SHARED_BYTES, 1)]))
    capture = Capture(table)
    while capture.step():
        pass
    pieces = {id(piece) for piece in capture.data.pieces()}
    shared = [task.args for task in table.tasks.values() if len(task.args) >= SHARED_BYTES]
    shared.append(table.results[task_id(91)][1])
    assert len(shared) == 7
    assert pieces >= {id(args) for args in shared}
    pages, offset = [], 0
    while offset < len(capture.data):
        page, offset = page_at(capture.data, offset)
        pages.append(page)
    assert [msgpack.packb(msgpack.unpackb(page, strict_map_key=False)) for page in pages] == pages
    copy = TaskTable(RELEASED_LIMIT_TASKS)
    restore(copy, capture.data)
    assert digests_of(copy) == digests_of(table)


@given(st.lists(st.binary(max_size=40), max_size=12), st.data())
def test_pieces_are_one_stream_to_whoever_slices_them(pages: list[bytes], data: st.DataObject) -> None:
    stream = Pieces(map(framed, pages))
    whole = b"".join(len(page).to_bytes(4, "big") + page for page in pages)
    assert len(stream) == len(whole)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole) + 5))
    assert stream[start:stop] == whole[start:stop]
    offset, found = 0, []
    while offset < len(whole):
        page, offset = page_at(stream, offset)
        found.append(page)
    assert found == pages


@given(st.binary(max_size=60))
def test_a_stream_that_is_none_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        restore(TaskTable(RELEASED_LIMIT_TASKS), data)


def test_a_stream_that_ends_early_is_a_value_error() -> None:
    table = TaskTable(RELEASED_LIMIT_TASKS)
    change(table, Random(1), 50)
    data = snapshot_of(table)
    with pytest.raises(ValueError, match="ends within the page"):
        restore(TaskTable(RELEASED_LIMIT_TASKS), data[:-1])


def pages(*contents: object, stream_format: object = STREAM_FORMAT) -> bytes:
    return b"".join(framed(msgpack.packb(page)) for page in ((STREAM_NAME, stream_format), *contents))


def read(data: bytes) -> TaskTable:
    table = TaskTable(RELEASED_LIMIT_TASKS)
    restore(table, data)
    return table


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pages(stream_format=STREAM_FORMAT + 1), f"has format {STREAM_FORMAT + 1}"),
        (pages(("notes", [("nightly", 1)])), "unknown section 'notes'"),
        (pages(("totals", [("accepted", 1), ("postponed", 2)])), "counts 'postponed'"),
    ],
    ids=["a later format", "an unknown section", "an unknown total"],
)
def test_a_snapshot_of_a_later_version_is_refused_and_says_that_this_node_is_older(data: bytes, said: str) -> None:
    with pytest.raises(NodeTooOld, match=f"{said}.*this node is older"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        framed(msgpack.packb((0, []))),  # as streams began before they had a format
        pages(stream_format="1"),
        pages(stream_format=0),
        pages(("totals", [("accepted",)])),
        pages(("totals", [(1, 2)])),
        pages(("tasks", [(b"id",)])),
        pages((["tasks"], [])),
        pages("tasks"),
    ],
)
def test_pages_that_are_of_another_shape_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        read(data)


def test_what_a_page_announces_is_not_set_aside() -> None:
    page = (b"\xdc\x40\x00" * 1_000).ljust(1 << 20, b"\0")
    data = pages() + framed(page)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(ValueError, match="a page of a snapshot makes no sense"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] - before < 8 << 20, "no more than some copies of the page"
    finally:
        tracemalloc.stop()


def test_what_an_older_version_does_not_count_is_nought_and_what_is_nought_is_not_written() -> None:
    """So a node that knows one total more reads the others' snapshots, and they read its own until it counts."""
    table = read(pages(("totals", [("accepted", 3)])))
    assert set(table.totals.by_name().values()) == {0, 3}
    assert snapshot_of(table) == pages(("totals", [("accepted", 3)]))
    assert snapshot_of(TaskTable(RELEASED_LIMIT_TASKS)) == pages()


def test_sections_may_come_in_any_order_and_in_several_pages() -> None:
    table = read(
        pages(("released", [task_id(1)]), ("tasks", [(task_id(2), "add", 4, b"", None)]), ("released", [task_id(3)]))
    )
    assert (list(table.tasks), list(table.released)) == ([task_id(2)], [task_id(1), task_id(3)])


def test_no_task_takes_more_than_twice_of_what_counts_for_it() -> None:
    """So a node takes every snapshot of a table within its own limits (``Settings.snapshot_limit_bytes``)."""
    options = {"max_attempts": MAX_INT, "confirm": 1, "trace": 1}
    options |= dict.fromkeys(("not_before", "expires"), MOMENT_MAX_MS)
    options |= dict.fromkeys(("backoff", "backoff_max"), FROM_NOW_MAX_MS) | {"retries": RETRIES_MAX, "jitter": 1}
    options |= dict.fromkeys(("retry_on", "dont_retry_on"), "E" * ERRORS_CHARS)
    options |= {"result_ttl": KEEP_MAX_DAYS * 86_400_000, "accepted": MOMENT_MAX_MS}
    options |= {"delivery": 0, "time_limit": FROM_NOW_MAX_MS, "soft_time_limit": FROM_NOW_MAX_MS}
    options |= {"deadline": MOMENT_MAX_MS, "time_left": MOMENT_MAX_MS, "alone": 1}
    options |= {"keep_dead": KEEP_MAX_DAYS * 86_400_000, "requeued_from": "0f" * 16}
    options |= {"cancel_raises": 1, "cancel_grace": FROM_NOW_MAX_MS, "on_client_lost": 1}
    options |= {"held": 1, "queue": MAX_QUEUE_CHARS * "q", "fair_key": KEY_CHARS * "\U0001f600"}
    options |= {"graph": KEY_CHARS * "\U0001f600"}
    options |= {"tags": ",".join(MANY_NAMES), "needs": ",".join([f"{name}={AMOUNT_MAX}" for name in MANY_NAMES])}
    options |= {"units": "gpu=0", "affinity": KEY_CHARS * "\U0001f600", "affinity_wait": FROM_NOW_MAX_MS}
    options |= {"batch": 0, "batch_window": 1_000 * BATCH_WINDOW_S}
    options |= {"max_running": MAX_RUNNING, "rate": HIGHEST_RATE} | dict.fromkeys(
        ("limit_key", "limit_by"), KEY_CHARS * "\U0001f600"
    )
    options |= {"idempotency_key": KEY_CHARS * "\U0001f600", "unique_for": KEEP_MAX_DAYS * 86_400_000}
    options |= {"inputs": bytes(16 * 100), "after": bytes(16 * 100), "allow_failed_inputs": 1}
    calls = [(bytes([number]) * 16, MAX_NAME_CHARS * "\U0001f600", 9, b"", options) for number in range(200)]
    table = TaskTable()
    empty = len(snapshot_of(table))
    table.apply(EntryKind.ACCEPT, encode_calls(calls))
    table.apply(EntryKind.ATTEMPT, join_ids([call[0] for call in calls]))
    assert set(options) == set(BY_KEY) - {"durability", "priority"}, "of which there is nothing in the table"
    assert len(snapshot_of(table)) - empty <= 2 * sum(task.size_bytes() for task in table.tasks.values())
