"""The soak's end of its load: what became of each task, judged by its kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

from hosts.stream import Run, Stream
from soak.kinds import kind_of


class MixedStream(Stream):
    module = "soak.load"

    def misjudged(self) -> dict[int, str]:
        """What is wrong with each task of which something is: none may be without an outcome."""
        runs_of: defaultdict[int, list[Run]] = defaultdict(list)
        for run in self.runs():
            runs_of[run.number].append(run)
        lost = {line["number"]: line["lost"] or 0 for line in (*self.told("record"), *self.told("dead"))}
        found = {}
        for number, submitted_s in self.submitted.items():
            kind, ending = kind_of(number), self.ended.get(number)
            what = "has no outcome"
            if ending is not None:
                ending = replace(ending, lost=lost.get(number, 0))
                what = kind.judge(number, ending, runs_of[number], submitted_s)
            if what:
                found[number] = f"{kind.name}: {what}"
        return found

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event that the client wrote."""
        return [line for line in self._other if line["event"] == event]

    def dead_otherwise(self) -> list[str]:
        """What is wrong with the dead tasks that were found, beside those that there should be: each that ended by an
        error and asked for that, once."""
        found = Counter(each["number"] for each in self.told("dead"))
        due = {number for number, ending in self.ended.items() if kind_of(number).is_kept_dead and ending.error}
        wrong = [f"task {number} was found dead {count} times" for number, count in found.items() if count > 1]
        wrong += [f"task {number} is not kept" for number in sorted(due - found.keys())]
        return wrong + [f"task {number} is kept, and it did not fail" for number in sorted(found.keys() - due)]

    def counts(self) -> Counter[str]:
        """How many tasks of each kind have ended, and in which way if not with a result."""
        counts: Counter[str] = Counter()
        for number, ending in self.ended.items():
            end = f" {ending.error.partition('(')[0]}" if ending.error else ""
            counts[f"{kind_of(number).name}{end}"] += 1
        return counts
