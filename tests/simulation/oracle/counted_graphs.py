"""``graph``: how many tasks of a graph were accepted and how they ended is told as the log has it."""

from __future__ import annotations

from collections import Counter

from simulation.oracle.events import GraphTold
from simulation.oracle.promise import Promise


class CountedGraphs(Promise):
    says = "of a graph each accepted task is counted once, and once how it ended, as the log has it, whoever leads"

    def on_graph_told(self, event: GraphTold) -> None:
        of_graph = [story for story in self.record.stories.values() if story.options.get("graph") == event.name]
        accepted = sum(story.accepted_at is not None and story.accepted_at < event.asked_at_s for story in of_graph)
        one = of_graph[-1] if of_graph else None
        if event.total < accepted:
            self.broken(f"of graph {event.name} {event.total} tasks are told, and {accepted} had been accepted", one)
        if event.total > len(of_graph):
            self.broken(f"of graph {event.name} {event.total} tasks are told, and {len(of_graph)} were submitted", one)
        if event.total != event.live + sum(event.ends.values()):
            self.broken(f"of graph {event.name} {event.total} tasks are told, and where others are: {event}", one)
        outcomes = [(story.outcome[0], story.outcome_at) for story in of_graph if story.outcome is not None]
        now = Counter(end for end, _ in outcomes)
        then = Counter(end for end, at_s in outcomes if at_s is not None and at_s < event.asked_at_s)
        for end in now.keys() | event.ends.keys():
            told = event.ends.get(end, 0)
            if told > now[end]:
                self.broken(f"of graph {event.name} {told} are told to have ended as {end}, and {now[end]} have", one)
            if told < then[end]:
                self.broken(f"of graph {event.name} {told} are told to have ended as {end}, and {then[end]} had", one)
