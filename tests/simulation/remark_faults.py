"""Ways to break what is told of running tasks; as those of ``peer_faults.py``."""

from __future__ import annotations

from paceline.core.work.kept_remarks import KeptRemarks, Remark
from simulation.peer_faults import Method


def tell_of_another_task(true: Method) -> Method:
    def of(self: KeptRemarks, task_id: bytes) -> Remark | None:
        return next(reversed(self._kept.values())) if self._kept else None

    return of
