"""What a journal must give back, computed from what was submitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from paceline.core.raft.consensus import Persist, Snapshot
from paceline.core.raft.log import Entry, HardState
from paceline.runtime.journal.recovery import Recovered
from paceline_protocol.messages.consensus import Config

CONFIG = Config(("a", "b", "c"), ("d",), ("e",), 5)


@dataclass(frozen=True)
class State:
    """All that a node remembers. ``entries``: (index, term, kind, data) behind the snapshot."""

    hard_state: tuple[int, str] = (0, "")
    snapshot: tuple[int, int, bytes] | None = None
    entries: tuple[tuple[int, int, int, bytes], ...] = ()

    @property
    def last_index(self) -> int:
        return self.entries[-1][0] if self.entries else self.snapshot[0] if self.snapshot else 0


def state_of(found: Recovered) -> State:
    snapshot = found.snapshot
    assert snapshot is None or snapshot.config == CONFIG
    return State(
        (found.hard_state.term, found.hard_state.vote),
        None if snapshot is None else (snapshot.index, snapshot.term, snapshot.data),
        tuple((entry.index, entry.term, entry.kind, entry.data) for entry in found.entries),
    )


class Submitter:
    """Makes Persists as consensus would, and the state that follows from them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._seq = 0
        self.state = State()
        self._unsaved: dict[int, Snapshot] = {}  # taken by the node itself, by index: of entries that are committed

    def _reach(self, state: State) -> None:
        self.state = state

    def next(self) -> Persist | Snapshot:
        random, state = self.random, self.state
        open_entries = [entry for entry in state.entries if entry[0] > max(self._unsaved, default=0)]
        if len(open_entries) > 3 and random.random() < 0.15:
            index, term, *_ = random.choice(open_entries)
            self._unsaved[index] = self._snapshot(index, term)
            return self._unsaved[index]
        self._seq += 1
        persist = Persist(self._seq)
        term = state.hard_state[0]
        if random.random() < 0.2 or not term:
            term += 1
            persist.hard_state = HardState(term, random.choice(("", "a", "b")))
            self._reach(State((term, persist.hard_state.vote), state.snapshot, state.entries))
        if random.random() < 0.08:
            persist.snapshot = self._snapshot(self.state.last_index + random.randint(1, 5), term)
            index = persist.snapshot.index
            self._unsaved = {}
            self._reach(State(self.state.hard_state, (index, term, bytes(persist.snapshot.data[:])), ()))
        elif open_entries and random.random() < 0.15:
            persist.truncate_from = random.choice(open_entries)[0]
            kept = tuple(entry for entry in self.state.entries if entry[0] < persist.truncate_from)
            self._reach(State(self.state.hard_state, self.state.snapshot, kept))
        for _ in range(random.randint(0, 4)):
            size = random.choice((0, 1, 40, 300))
            persist.entries.append(
                Entry(self.state.last_index + len(persist.entries) + 1, term, 1, random.randbytes(size))
            )
        if persist.entries:
            new = tuple((entry.index, entry.term, entry.kind, entry.data) for entry in persist.entries)
            self._reach(State(self.state.hard_state, self.state.snapshot, self.state.entries + new))
        return persist

    def saved(self, index: int) -> None:
        """The journal has written the snapshot of this entry."""
        self.state = self._with(self._unsaved[index])
        self._unsaved = {each: snapshot for each, snapshot in self._unsaved.items() if each > index}

    def states_if_saved(self) -> list[State]:
        """What the state is if one of the snapshots that are not written yet turns out to be there."""
        return [self._with(snapshot) for snapshot in self._unsaved.values()]

    def _with(self, own: Snapshot) -> State:
        kept = tuple(entry for entry in self.state.entries if entry[0] > own.index)
        return State(self.state.hard_state, (own.index, own.term, bytes(own.data[:])), kept)

    def _snapshot(self, index: int, term: int) -> Snapshot:
        data = self.random.randbytes(self.random.randint(0, 500))
        return Snapshot(index, term, CONFIG, data)
