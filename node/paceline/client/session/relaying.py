"""A session for a relay, which passes on what others want.

It names the tasks that the cluster has accepted, in ``output.accepted``. And what a result's Update brought is
acknowledged only once the shell has called :meth:`RelaySession.release` for each of its results (``receipts.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from paceline.client.session.session import Session


class RelaySession(Session):
    """A session whose results the cluster keeps until they are released."""

    _relays: ClassVar[bool] = True

    def ask_again(self, ids: Iterable[bytes], now: float) -> None:
        """Have the ends of these accepted tasks told here, if another session submitted the same ones since."""
        if self._epoch is not None:
            accepted = set(self.ledger.accepted_ids())
            self._epoch.wait_for(task_id for task_id in ids if task_id in accepted)

    def look_up(self, task_id: bytes, now: float) -> None:
        """Have the end of this task told here if the cluster has it, and ResultUnknown otherwise."""
        if not self.ledger.tasks:
            self._begin_waiting(now)
        self.ledger.add_accepted(task_id)
        if self._epoch is not None:
            self._epoch.wait_for((task_id,))
        else:
            self.connect(now)

    def release(self, ids: Iterable[bytes], now: float) -> None:
        """The cluster may forget the results of these tasks. Ids of which no result is held are ignored: what came
        before the last change of leaders, the cluster keeps until its own limits drop it."""
        if self._epoch is not None:
            self._epoch.receipts.release(ids, now)
