"""Tasks whose arguments are large for the network: their node is heard all the while, and each of them runs once.

A real leader and a real node on connections of so many bytes a second, each of which keeps its order; those of the
quick connection wait for nothing but each other.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from core.scheduling.test_leader import TERM, Lead, tid
from paceline.core.outbox import QUICK
from paceline.core.scheduling.nodes import QUIET_S
from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.codec import decode_outcomes
from paceline_protocol.messages.records import AT_MOST_ONCE, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, Enrol, NodeBeat, NodeOutcomes, Revoke, Revoked

NODE = "a"
STEP_S = 0.01
MESSAGE_BYTES = 64
MIB = 1 << 20


class Wire:
    """One connection, in one direction."""

    def __init__(self, bytes_per_s: float) -> None:
        self.on_way: deque[tuple[float, Any]] = deque()
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def put(self, message: Any, now: float) -> None:
        self._free_at = max(self._free_at, now) + (MESSAGE_BYTES + size_of(message)) / self._bytes_per_s
        self.on_way.append((self._free_at, message))

    def take(self, now: float) -> list[Any]:
        taken = []
        while self.on_way and self.on_way[0][0] <= now:
            taken.append(self.on_way.popleft()[1])
        return taken

    def bytes_on_way(self) -> int:
        return sum(size_of(message) for _, message in self.on_way)


def size_of(message: Any) -> int:
    if isinstance(message, Dispatch):
        return sum(len(args) for _, _, _, args, _ in message.tasks)
    return len(message.outcomes) if isinstance(message, NodeOutcomes) else 0


class Pair:
    """A leader and one node, in virtual time."""

    def __init__(self, mib_per_s: float, slots: int, *, runs_s: float = 0.5, result: bytes = b"") -> None:
        self.lead = Lead(queue_limit_bytes=64 << 30)
        self.link = LeaderLink(Settings(cluster_name="t"), 1, own_id=NODE)
        self.gone: list[float] = []  # when the node was given up
        self.begun: dict[int, list[int]] = {}  # by task: its attempts
        self.ended: dict[int, int] = {}
        self.longest_way_bytes = 0
        self._main = [Wire(mib_per_s * MIB), Wire(mib_per_s * MIB)]  # to the node, and back
        self._quick = [Wire(mib_per_s * MIB), Wire(mib_per_s * MIB)]
        self._running: deque[tuple[float, bytes, tuple[bytes, int]]] = deque()
        self._runs_s, self._result = runs_s, result
        for worker in range(slots):
            self.link.worker_ready(bytes([worker]), ("add",))
        self.session = self.lead.client()
        self.run(0.3)

    def submit(self, count: int, mib: float) -> None:
        args = bytes(int(mib * MIB))
        for number in range(count):
            self.lead.leader.recording.admit(self.session, (tid(number), "add", 4, args, None), self.lead.now)

    def run(self, seconds: float, count: int = -1) -> None:
        """For so long, or until so many have ended."""
        lead, until = self.lead, self.lead.now + seconds
        while lead.now < until and len(self.ended) != count:
            lead.now = round(lead.now + STEP_S, 3)
            if not round(lead.now / STEP_S) % 5:
                lead.leader.nodes.beat([NODE], lead.now)
            self.gone += [lead.now for _ in lead.leader.tick(lead.now, [])]
            lead.leader.dispatch(lead.now)
            self._leader_sends()
            for wire in (self._quick[0], self._main[0]):
                for message in wire.take(lead.now):
                    self._node_hears(message)
            self._work()
            for wire in (self._quick[1], self._main[1]):
                for message in wire.take(lead.now):
                    self._leader_hears(message)
            lead.commit()
            for update in lead.updates():
                self.ended.update({task_id[-1]: end for task_id, end, _ in update.results})
            self.longest_way_bytes = max(self.longest_way_bytes, self._main[0].bytes_on_way())
            lead.leader.tasks.check()

    def _leader_sends(self) -> None:
        nodes = self.lead.leader.nodes
        for outbox, wire in ((nodes.outbox, self._main[0]), (nodes.quick, self._quick[0])):
            for _, message in outbox:
                wire.put(message, self.lead.now)
            outbox.clear()

    def _node_hears(self, message: Any) -> None:
        link = self.link
        hear = {Beat: link.on_beat, Dispatch: link.on_dispatch, Revoke: link.on_revoke}[type(message)]
        hear("leader", message, self.lead.now)

    def _work(self) -> None:
        link, now = self.link, self.lead.now
        while self._running and self._running[0][0] <= now:
            _, worker, (task_id, attempt) = self._running.popleft()
            link.worker_done(worker, ((task_id, attempt, int(TaskEnd.SUCCEEDED), self._result, 1_000),), now)
        for worker, tasks in link.assign(now):
            for task in tasks:
                self.begun.setdefault(task[0][-1], []).append(task[1])
                self._running.append((now + self._runs_s, worker, (task[0], task[1])))
        for report in link.outbox:
            message = report.message(link.term) if isinstance(report, UnrecordedBatch) else report
            (self._quick if type(message) in QUICK else self._main)[1].put(message, now)
        link.outbox.clear()

    def _leader_hears(self, message: Any) -> None:
        nodes, now = self.lead.leader.nodes, self.lead.now
        match message:
            case NodeBeat():
                nodes.on_beat(NODE, message, now)
            case Enrol():
                nodes.on_enrol(NODE, message, now)
            case Revoked():
                nodes.on_revoked(NODE, message, now)
            case NodeOutcomes():
                outcomes = decode_outcomes(message.outcomes)
                nodes.on_outcomes(NODE, message.term, message.seq, outcomes, now, len(message.outcomes))


@pytest.mark.parametrize(
    ("mib_per_s", "slots", "mib"), [(120, 16, 16), (120, 64, 4), (60, 8, 16), (10, 16, 16), (10, 8, 62), (1, 2, 4)]
)
def test_a_node_is_not_given_up_for_what_it_is_sent_and_each_task_runs_once(
    mib_per_s: int, slots: int, mib: int
) -> None:
    pair = Pair(mib_per_s, slots)
    pair.submit(slots, mib)
    pair.run(60.0, slots)
    assert pair.gone == []
    assert all(attempts == [1] for attempts in pair.begun.values())
    assert pair.ended == dict.fromkeys(range(slots), TaskEnd.SUCCEEDED)
    assert pair.longest_way_bytes <= (8 + mib) * MIB


def window(lead: Lead, *once: int, mib: int = 3) -> list[int]:
    """Eight tasks, some of which are to start at most once, and a node with as many slots; then as sent()."""
    session = lead.client()
    lead.enrol(NODE, slots=8)
    for number in range(8):
        call = (tid(number), "add", 4, bytes(mib * MIB), {"delivery": AT_MOST_ONCE} if number in once else None)
        lead.leader.recording.admit(session, call, lead.now)
    return sent(lead)


def sent(lead: Lead) -> list[int]:
    """One round of dispatch: of each Dispatch how many tasks it has, below zero; of each Beat, which it asks for."""
    lead.leader.nodes.outbox.clear()
    lead.leader.dispatch(lead.now)
    lead.leader.tasks.check()
    return [
        message.dispatch_seq if isinstance(message, Beat) else -len(message.tasks)
        for _, message in lead.leader.nodes.outbox
        if isinstance(message, (Beat, Dispatch))
    ]


def test_a_node_is_given_no_more_than_a_window_before_it_has_named_what_has_arrived() -> None:
    lead = Lead()
    assert window(lead) == [-1, 1, -1, 2, -1, 3], "each of them is asked for, as it is more than an eighth"
    assert sent(lead) == []
    lead.leader.nodes.on_beat(NODE, NodeBeat(TERM, 1, 8, 0, 0), lead.now)
    assert sent(lead) == [-1, 4]
    lead.leader.nodes.on_beat(NODE, NodeBeat(TERM, 1, 8, 0, 0), lead.now)  # a copy
    assert sent(lead) == []
    lead.leader.nodes.on_beat(NODE, NodeBeat(TERM, 4, 8, 0, 0), lead.now)
    assert sent(lead) == [-1, 5, -1, 6, -1, 7]


def test_small_arguments_are_not_asked_for_and_what_is_larger_than_the_window_goes_alone() -> None:
    lead = Lead()
    assert window(lead, mib=0) == [-8]
    lead = Lead()
    assert window(lead, mib=20) == [-1, 1]
    lead.leader.nodes.on_beat(NODE, NodeBeat(TERM, 1, 8, 0, 0), lead.now)
    assert sent(lead) == [-1, 2]


def test_a_task_whose_start_is_still_to_be_logged_counts_for_the_window_and_no_more_once_it_has_ended() -> None:
    lead = Lead()
    assert window(lead, 0, 1, 2) == []
    assert sent(lead) == []
    lead.cancel(lead.client(), 0)
    assert sent(lead) == [-1, 1]
    lead.commit()
    assert lead.leader.tasks.ledgers[NODE].on_way_bytes == 9 * MIB
    lead.leader.tasks.check()


def test_what_was_lost_on_its_way_is_on_its_way_no_longer_once_the_node_says_so() -> None:
    lead = Lead()
    window(lead)
    lead.enrol(NODE, slots=8, dispatch_seq=3)
    assert lead.leader.tasks.ledgers[NODE].on_way_bytes == 0
    assert len(sent(lead)) == 6


def test_a_node_that_is_not_heard_is_asked_past_what_it_was_sent_and_only_for_what_it_has_named() -> None:
    lead = Lead()
    window(lead)
    nodes = lead.leader.nodes
    for late_s, asked in ((QUIET_S - 0.01, []), (QUIET_S, [1, 0]), (QUIET_S + 0.05, [1, 0])):
        nodes.beat([NODE], late_s)
        assert [number for _, beat in nodes.quick for number in (beat.account, beat.dispatch_seq)] == asked
        nodes.quick.clear()
    nodes.on_beat(NODE, NodeBeat(TERM, 2, 8, 0, 0), 1.0)
    nodes.beat([NODE], 1.0 + QUIET_S)
    ((_, beat),) = nodes.quick
    assert beat == Beat(TERM, 1, 2, 0, 0)
    nodes.on_beat(NODE, NodeBeat(TERM, 99, 8, 0, 0), 2.0)  # nobody has sent that many
    nodes.quick.clear()
    nodes.beat([NODE], 2.0 + QUIET_S)
    assert nodes.quick == [(NODE, beat)]
    assert lead.leader.tick(1.0, []) == []
