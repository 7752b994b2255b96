"""Tasks that ask something of the nodes that run them."""

from __future__ import annotations

from collections import Counter

from paceline_protocol.places import amounts_of, tags_of
from simulation.oracle.events import WorkersHave
from simulation.oracle.promise import Promise


class PlacedTasks(Promise):
    says = "the workers of a node have tasks only whose tags it has, and that together take no more than it declares"

    def on_workers_have(self, event: WorkersHave) -> None:
        taken = Counter[str]()
        for task_id in event.task_ids:
            story = self.record.stories[task_id]
            lacking = set(tags_of(str(story.options.get("tags", "")))) - set(tags_of(event.tags))
            if lacking:
                self.broken(f"begins on {event.node}, which has no tag {', '.join(sorted(lacking))}", story)
            taken.update(dict(amounts_of(str(story.options.get("needs", "")))))
        declared = dict(amounts_of(event.amounts))
        for name, amount in taken.items():
            if amount > declared.get(name, 0):
                story = self.record.stories[event.task_ids[-1]]
                self.broken(f"{amount} {name} are taken on {event.node}, of {declared.get(name, 0)}", story)
