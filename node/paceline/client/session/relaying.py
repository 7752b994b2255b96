"""The session of a relay, a client that submits for others.

It reports the tasks that the cluster has accepted, in ``output.accepted``. And it acknowledges an Update only once the
shell has called :meth:`RelaySession.release` for each of its results (``receipts.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

from paceline.client.session.session import Session


class RelaySession(Session):
    """A session whose results the cluster keeps until they are released."""

    _relays: ClassVar[bool] = True

    def wait_for(self, ids: Collection[bytes], now: float) -> None:
        """Have the leader report the ends of these tasks, which another session submitted, to this one. Of those that
        this one has submitted, or waits for already, it is told anyway."""
        if not self.ledger.tasks:
            self._begin_waiting(now)
        others = [task_id for task_id in ids if task_id not in self.ledger]
        self.ledger.add_accepted(others)
        if self._epoch is not None:
            self._epoch.wait_for(others, now)
        else:
            self.connect(now)

    def ask_again(self, ids: Iterable[bytes], now: float) -> None:
        """Have the leader report the ends of these accepted tasks to this session, if another session has submitted
        them since."""
        if self._epoch is not None:
            self._epoch.wait_for(filter(self.ledger.waits_for, ids), now)

    def release(self, ids: Iterable[bytes], now: float) -> None:
        """The cluster may forget the results of these tasks. Ids without a held result are ignored: results that
        arrived before the last change of leaders stay in the cluster until its own limits drop them."""
        if self._epoch is not None:
            self._epoch.receipts.release(ids, now)
