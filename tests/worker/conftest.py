"""Fixtures: nodes played by the test, closed after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paceline_protocol.messages.children import WorkerReady
from worker.played_node import SAMPLE_TASKS, Nodes, PlayedNode


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    started = Nodes()
    yield started
    started.close()


@pytest.fixture(scope="module")
def node() -> Iterator[PlayedNode]:
    """One node with sample_tasks.py, for the tests whose worker lives on."""
    started = PlayedNode(str(SAMPLE_TASKS))
    started.receive(WorkerReady)
    yield started
    started.close()


@pytest.fixture
def sample(nodes: Nodes) -> PlayedNode:
    """The same for one test alone, which may end the worker."""
    return nodes.start_ready(str(SAMPLE_TASKS))[0]
