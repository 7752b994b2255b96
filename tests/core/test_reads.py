"""Reads that must not be stale (Raft paper, section 8). The story of two leaders: scenarios/stale_read.txt."""

from __future__ import annotations

from random import Random

from paceline.core.consensus import Consensus, Timing
from paceline.core.reads import WAITING_LIMIT_READS, Reads

ABC = ("a", "b", "c")


def test_a_leader_alone_confirms_at_once() -> None:
    node = Consensus("a", timing=Timing(), random=Random(1), now=0.0, durable_at_once=True)
    node.bootstrap(0.0)
    node.take_ready()
    ticket = node.read_index(0.1)
    assert ticket is not None
    assert node.take_ready().reads == [(ticket, node.commit_index)]
    assert node.take_ready().reads == []


def test_a_node_that_does_not_lead_takes_no_read() -> None:
    node = Consensus("a", timing=Timing(), random=Random(1), now=0.0, durable_at_once=True)
    assert node.read_index(0.1) is None


def test_a_majority_of_the_voters_confirms_and_an_answer_counts_for_all_earlier_reads() -> None:
    reads = Reads()
    reads.add(1, 10)
    assert reads.new_question() == 1
    reads.add(2, 11)
    assert reads.new_question() == 2
    assert reads.take_confirmed(ABC, "a") == []
    reads.answered("x", 2)
    assert reads.take_confirmed(ABC, "a") == []
    reads.answered("b", 2)
    reads.answered("b", 1)  # late
    assert reads.take_confirmed(ABC, "a") == [(1, 10), (2, 11)]


def test_a_read_that_came_after_the_question_waits_for_the_next() -> None:
    reads = Reads()
    reads.add(1, 10)
    reads.new_question()
    reads.add(2, 10)
    reads.answered("b", 1)
    assert reads.take_confirmed(ABC, "a") == [(1, 10)]
    assert reads.open_question() is None  # it is still to be asked
    assert reads.new_question() == 2
    assert reads.open_question() == 2


def test_reads_beyond_the_limit_are_refused_until_earlier_ones_are_confirmed() -> None:
    reads = Reads()
    assert all(reads.add(number, 10) for number in range(WAITING_LIMIT_READS))
    assert not reads.add(WAITING_LIMIT_READS, 10)
    reads.new_question()
    reads.answered("b", 1)
    reads.take_confirmed(ABC, "a")
    assert reads.add(2, 10)
