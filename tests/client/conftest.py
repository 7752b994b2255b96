"""A fake node, and a client that is connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from paceline.client import Client


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node: FakeNode) -> Iterator[Client]:
    with Client(node.address, connect_timeout_s=DEADLINE_S) as client:
        yield client
