"""``delivery``: at most once. What was given up as its node was silent may still start there, for the first time."""

from __future__ import annotations

from simulation.oracle.events import Started
from simulation.oracle.promise import Promise


class AtMostOnce(Promise):
    says = "at most once: no worker starts it twice"

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if story.starts_once and len(story.starts) > 1:
            self.broken("started again, and may once", story)
