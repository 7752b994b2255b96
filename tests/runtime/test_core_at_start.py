"""What of a configuration reaches the core."""

from __future__ import annotations

import pytest

from paceline.config import NodeConfig
from paceline.runtime.core_at_start import settings_of


@pytest.mark.parametrize(("workers", "runs_tasks"), [(0, False), (1, True)])
def test_a_node_with_no_workers_says_that_it_is_to_have_none(workers: int, runs_tasks: bool) -> None:
    assert settings_of(NodeConfig(modules=("tasks",), workers=workers)).runs_tasks is runs_tasks
