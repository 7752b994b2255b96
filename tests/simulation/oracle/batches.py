"""``batch``: what a function is called for at once."""

from __future__ import annotations

from simulation.oracle.events import CalledTogether
from simulation.oracle.promise import Promise

OF_ONE_CALL = frozenset(
    (
        *("not_before", "expires", "deadline", "idempotency_key", "fair_key", "limit_key"),
        *("queue", "affinity", "graph", "inputs", "after"),
    )
)
"""Options in which calls may differ that go together."""


class Batches(Promise):
    says = "a function is called at once for no more calls than may be, all of one name and with equal options"

    def on_called_together(self, event: CalledTogether) -> None:
        first = self.record.stories[event.calls[0][0]]
        if len(event.calls) > first.options.get("batch", 1):
            self.broken(f"is called for {len(event.calls)} at once", first)
        if len({task_id for task_id, _ in event.calls}) < len(event.calls):
            self.broken("is in one call twice", first)
        for task_id, name in event.calls:
            story = self.record.stories[task_id]
            if name != event.calls[0][1]:
                self.broken(f"is called with others, which are of the name {event.calls[0][1]}", story)
            differing = {
                key
                for key in story.options.keys() | first.options.keys()
                if key not in OF_ONE_CALL and story.options.get(key) != first.options.get(key)
            }
            if differing:
                self.broken(f"is called with others that have another {min(differing)}", story)
