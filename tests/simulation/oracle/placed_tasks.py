"""Tasks that ask something of the nodes that run them."""

from __future__ import annotations

from collections import Counter

from paceline_protocol.places import amounts_of, tags_of, units_of
from simulation.oracle.events import WorkersHave
from simulation.oracle.promise import Promise


class PlacedTasks(Promise):
    says = (
        "the workers of a node have tasks only whose tags it has, that together take no more than it declares, and no "
        "two of which have the same unit"
    )

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
        had = Counter[tuple[str, int]]()
        for task_id, text in zip(event.task_ids, event.units, strict=False):
            units = units_of(text)
            story = self.record.stories[task_id]
            wanted = dict(amounts_of(str(story.options.get("needs", ""))))
            if units and len(units["gpu"]) != wanted["gpu"]:
                self.broken(f"has {len(units['gpu'])} units of {wanted['gpu']}", story)
            had.update((name, number) for name, numbers in units.items() for number in numbers)
            if any(count > 1 for count in had.values()):
                self.broken(f"shares a unit on {event.node}: {text}", story)
