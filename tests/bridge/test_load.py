"""Broker, bridges and leader die under load."""

from __future__ import annotations

import os
import shutil

import pytest

from bridge.bridge_load import Load, report, run
from paceline_bench.harness.rabbitmq_server import RABBITMQ_PROGRAMS


@pytest.mark.timeout(900)  # it has limits of its own
@pytest.mark.skipif(
    not os.environ.get("CI") and not any(map(shutil.which, RABBITMQ_PROGRAMS)),
    reason="rabbitmq-server is not installed",
)
def test_no_message_is_lost_and_none_has_two_outcomes_whatever_dies() -> None:
    load = Load(messages=3000, broker_restarts=1, bridge_kills=2, leader_kills=1, seed=2)
    told: list[str] = []
    wrong = run(load, told.append)
    assert not wrong, "\n".join([*told, report(load), *wrong])
