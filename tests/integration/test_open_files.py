"""A real node that may open few files, and strangers without a key who take them all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until
from paceline import Cluster
from paceline.config import parse_address
from paceline.runtime.journal.recovery import find_segments
from paceline.runtime.journal.writer import SEGMENT_BYTES

SOFT, HARD = 80, 96
RESULT_BYTES = 1 << 20


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One node with a journal, which may open HARD files."""
    cluster = Cluster.local(TASKS, nodes=1, workers=1, journal="fsync")
    limited = f'ulimit -S -n {SOFT} && ulimit -H -n {HARD} && exec "$@"'
    cluster._command = ["sh", "-c", limited, "sh", *cluster._command]
    with cluster:
        yield cluster


def journal_of(cluster: Cluster) -> Path:
    assert cluster._scratch is not None
    return cluster._scratch.path / "node0" / "journal"


def test_strangers_who_take_every_file_of_a_node_stop_neither_its_journal_nor_its_clients(cluster: Cluster) -> None:
    (node,) = cluster.nodes
    (first,) = find_segments(journal_of(cluster))
    with cluster.client() as client, ExitStack() as strangers:
        assert client.submit("sample_tasks.open_files_limit").result(DEADLINE_S) == [SOFT, HARD]

        def has_no_more() -> bool:
            stranger = strangers.enter_context(socket.socket())
            stranger.setblocking(False)
            stranger.connect_ex(parse_address(node.address))
            return "can open no more files" in node._log_path.read_text()

        wait_until(has_no_more, "so many strangers that it has no more")
        futures = [
            client.submit("sample_tasks.return_bytes", RESULT_BYTES) for _ in range(SEGMENT_BYTES // RESULT_BYTES + 1)
        ]
        for future in futures:
            assert len(future.result(DEADLINE_S)) == RESULT_BYTES
        worker_crash = client.submit("sample_tasks.crash", 3, max_attempts=1)
        assert worker_crash.exception(DEADLINE_S) is not None
        assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49, "by another worker"
        wait_until(lambda: find_segments(journal_of(cluster))[-1] > first, "a new segment is begun")
    with cluster.client() as another:
        assert another.submit("sample_tasks.square", 8).result(DEADLINE_S) == 64
    assert node.alive
    assert "can't write" not in node._log_path.read_text()
