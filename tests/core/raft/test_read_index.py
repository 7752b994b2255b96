"""ReadIndex that must not be stale (Raft paper, section 8). The story of two leaders: scenarios/stale_read.txt."""

from __future__ import annotations

from random import Random

from paceline.core.raft.confirmations import Confirmations
from paceline.core.raft.consensus import Consensus, Timing
from paceline.core.raft.read_index import WAITING_LIMIT_READS, ReadIndex

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
    questions, reads = Confirmations(remembered_s=0.5), ReadIndex()
    reads.add(1, 10, questions.last)
    assert questions.ask(0.0) == 1
    reads.add(2, 11, questions.last)
    assert questions.ask(0.1) == 2

    def confirmed() -> list[tuple[int, int]]:
        return reads.take_confirmed(questions.answered_by_majority(ABC, "a"))

    assert confirmed() == []
    questions.answered("x", 2)
    assert confirmed() == []
    questions.answered("b", 2)
    questions.answered("b", 1)  # late
    assert confirmed() == [(1, 10), (2, 11)]


def test_a_read_that_came_after_the_question_waits_for_the_next() -> None:
    reads = ReadIndex()
    assert not reads.wants_round(0)
    reads.add(1, 10, 0)
    assert reads.wants_round(0)
    reads.add(2, 10, 1)
    assert reads.take_confirmed(1) == [(1, 10)]
    assert reads.wants_round(1)
    assert not reads.wants_round(2)


def test_an_answer_says_when_it_was_asked_as_long_as_that_matters() -> None:
    questions = Confirmations(remembered_s=0.5)
    first, second = questions.ask(1.0), questions.ask(1.2)
    assert questions.answered("b", second) == 1.2
    assert questions.answered("b", first) == 1.0
    questions.ask(1.6)
    assert questions.answered("c", first) is None
    assert questions.answered("c", second) == 1.2
    assert questions.answered_by_majority(("b", "c"), "a") == second, "for reads an old answer is as good"


def test_of_who_is_a_peer_no_more_no_answer_is_kept_and_who_comes_back_answers_anew() -> None:
    questions = Confirmations(remembered_s=0.5)
    questions.ask(0.0)
    for peer in ("b", "c", "d"):
        questions.answered(peer, 1)
    questions.keep(("c", "d"))
    assert questions._answered == {"c": 1, "d": 1}
    assert questions.answered_by_majority(("a", "b", "c"), "a") == 1
    questions.keep(("b",))
    assert questions.answered_by_majority(("a", "b", "c"), "a") == 0
    questions.answered("b", questions.ask(0.1))
    assert questions.answered_by_majority(("a", "b", "c"), "a") == 2


def test_reads_beyond_the_limit_are_refused_until_earlier_ones_are_confirmed() -> None:
    reads = ReadIndex()
    assert all(reads.add(number, 10, 0) for number in range(WAITING_LIMIT_READS))
    assert not reads.add(WAITING_LIMIT_READS, 10, 0)
    reads.take_confirmed(1)
    assert reads.add(2, 10, 1)
