"""The soak's end of its load: what became of each task, judged by its kind."""

from __future__ import annotations

from collections import Counter, defaultdict

from hosts.stream import Run, Stream
from soak.kinds import kind_of


class MixedStream(Stream):
    module = "soak.load"

    def misjudged(self) -> dict[int, str]:
        """What is wrong with each task of which something is: none may be without an outcome."""
        runs_of: defaultdict[int, list[Run]] = defaultdict(list)
        for run in self.runs():
            runs_of[run.number].append(run)
        found = {}
        for number, submitted_s in self.submitted.items():
            kind, ending = kind_of(number), self.ended.get(number)
            what = "has no outcome"
            if ending is not None:
                what = kind.judge(number, ending, runs_of[number], submitted_s)
            if what:
                found[number] = f"{kind.name}: {what}"
        return found

    def counts(self) -> Counter[str]:
        """How many tasks of each kind have ended, and in which way if not with a result."""
        counts: Counter[str] = Counter()
        for number, ending in self.ended.items():
            end = f" {ending.error.partition('(')[0]}" if ending.error else ""
            counts[f"{kind_of(number).name}{end}"] += 1
        return counts
