"""What a bridge makes of a cluster that refuses it: no message is at fault, and none becomes a dead letter."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from paceline.errors import AccessRefused, NoLeader, NotAllowed
from paceline_bridge.life import Life


@pytest.mark.parametrize(
    "error",
    [
        NotAllowed("the observer 'shop' may not do that"),
        AccessRefused(("node1:7077",), 10.0, "its key was revoked"),
        NoLeader(10.0),
    ],
)
def test_a_bridge_whose_key_does_not_let_it_submit_gives_all_messages_back_and_tries_again(error: Exception) -> None:
    failures: list[str] = []
    life = object.__new__(Life)
    life._link = SimpleNamespace(fail=failures.append)  # type: ignore[assignment]
    life._ledger = SimpleNamespace(entries={})  # type: ignore[assignment]
    life._refused_by_cluster(bytes(16), error)
    assert failures == [str(error)]
