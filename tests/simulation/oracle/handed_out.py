"""A worker starts what a leader has handed out, and each of these once, whatever the network repeats."""

from __future__ import annotations

from simulation.oracle.events import Started
from simulation.oracle.promise import Promise


class HandedOut(Promise):
    says = "nothing starts more often than a leader has handed it out"

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if len(story.starts) > story.dispatches:
            self.broken(f"handed out {story.dispatches} times", story)
