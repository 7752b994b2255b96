"""A client of a simulated cluster that cancels all tasks of a name and a state, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from paceline.client.session.sweep import Sweep
from paceline.errors import RequestRefused

if TYPE_CHECKING:
    from simulation.clients import SimulatedClient


class SimulatedSweep:
    """``found``: what was to be cancelled, since it ``began_at`` last: it begins anew when another node comes to lead.
    ``first_page_at``: when it had its first answer."""

    def __init__(self, client: SimulatedClient, name: str, state: Iterable[str]) -> None:
        self._client = client
        self._name = name
        self._state = tuple(state)
        self._begin()

    def _begin(self) -> None:
        self.found: set[bytes] = set()
        self.first_page_at = inf
        self.began_at = self._client.world.now
        self._sweep = Sweep(self._name, self._state, all_names=False)
        self._asked_at: dict[bytes, float] = {}  # of the page at hand
        self._ask()

    def _ask(self) -> None:
        world = self._client.world
        self._page = self._client.session.find(self._sweep.next, world.now)

    def step(self) -> bool:
        """Go on, if there is an answer. True: all is cancelled."""
        client, now, stories = self._client, self._client.world.now, self._client.world.stories
        body = client.pages.pop(self._page, None)
        if body is not None:
            try:
                new = self._sweep.found(body)
            except RequestRefused:
                client.world.events["sweep that ends with its leader"] += 1
                self._begin()
                return False
            self.first_page_at = min(self.first_page_at, now)
            self._asked_at = dict.fromkeys(new, now)
            self.found.update(new)
            self._page = 0
            for task_id in new:
                client.cancel(task_id)
        if self._page:
            return False
        became = {
            task_id: state
            for task_id, asked_at in self._asked_at.items()
            for asked, _, state in stories[task_id].cancels
            if asked == asked_at
        }
        if became.keys() != self._asked_at.keys():
            return False
        self._sweep.became(became)
        if not self._sweep.is_over:
            self._ask()
        return self._sweep.is_over
