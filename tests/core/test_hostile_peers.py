"""A node in a cluster with a peer that says what no node says: it goes on, and is of use."""

from __future__ import annotations

import pytest

from core.test_node import leading, turn
from paceline.core.feature_levels import FEATURE_LEVEL
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.membership.directory import Directory
from paceline.core.membership.peering import HELLO_PEERS, OTHER_ADDRESSES
from paceline.core.node import NodeCore
from paceline.core.node.violations import PAIRS
from paceline.core.raft.terms import TERM_STEP
from paceline.core.reports.status import status
from paceline.core.settings import Settings
from paceline_protocol.codec import encode, encode_calls, encode_defaults, encode_held, encode_outcomes
from paceline_protocol.limits import MAX_DEFAULTS_BYTES, MAX_TASK_NAMES
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.client import Hello, Submit, Update
from paceline_protocol.messages.consensus import Append, AppendResponse, Confirmed
from paceline_protocol.messages.membership import Envelope, OtherStart, PeerHello
from paceline_protocol.messages.records import Assignment, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, Enrol, EnrolWithDefaults, NodeBeat, NodeOutcomes

TOP = 2**63 - 1
SUCCEEDED, FAILED = int(TaskEnd.SUCCEEDED), int(TaskEnd.FAILED)


def from_peer(node: NodeCore, *messages: PeerMessage, sender: str = "b", now: float = 0.0) -> None:
    node.on_peer(Envelope("cluster-a", sender, 1, node.node_id), list(messages), now)


def hello_of(node_id: str, **fields: int) -> PeerHello:
    fields.setdefault("feature_level", FEATURE_LEVEL)
    return PeerHello(f"{node_id}:1", "test", 1, "", 0, (), False)._replace(**fields)


def notices(node: NodeCore, now: float = 0.0) -> list[str]:
    return [notice.text for notice in node.take_effects(now).notices]


def test_a_message_that_is_refused_spoils_no_other_of_its_batch() -> None:
    node = leading()
    term = node.consensus.term
    from_peer(node, hello_of("b"))
    from_peer(node, Confirmed(term, TOP), Append(TOP, 1, 1, 1, ()), Confirmed(term + TERM_STEP + 1, 1), hello_of("c"))
    assert node.violations.total == 3
    from_peer(node, hello_of("c"), sender="c")
    assert set(node.peering.directory.peers) == {"b", "c"}
    assert node.consensus.is_leader


def test_a_flood_of_what_is_refused_is_said_at_first_and_then_in_powers_of_ten() -> None:
    node = leading()
    assert node.leader is not None
    node.leader.nodes.beat(["b"], 0.0)
    from_peer(node, Enrol(node.leader.term, 1 << INCARNATION_SHIFT, 0, 0, 1, ("add",), b""))
    notices(node)
    for number in range(1_234):
        from_peer(node, NodeOutcomes(node.leader.term, number, b"\xc1" * 1_000))
    said = notices(node)
    assert [text.partition("NodeOutcomes of node 'b' is refused")[2].partition(",")[0] for text in said] == [
        "",
        " (10 of them by now)",
        " (100 of them by now)",
        " (1000 of them by now)",
    ]
    assert node.violations.total == 1_234


def test_invented_senders_cost_a_bounded_number_of_lines() -> None:
    node = leading()
    notices(node)
    for number in range(10 * PAIRS):
        from_peer(node, Confirmed(node.consensus.term, TOP), sender=f"{number}" * 100)
    said = notices(node)
    assert len(said) == PAIRS
    assert max(map(len, said)) < 500


# --- outcomes -------------------------------------------------------------------------------------------------------


def task_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Work:
    """A leader with nodes b and c, of which each can run tasks of its own name, and a client that gets results."""

    def __init__(self) -> None:
        self.node = leading()
        assert self.node.leader is not None
        self.leader = self.node.leader
        self.results: dict[bytes, int] = {}
        self.given: dict[str, list[Assignment]] = {"b": [], "c": []}
        self.seqs = {"b": 1 << INCARNATION_SHIFT, "c": 1 << INCARNATION_SHIFT}
        self.node.on_client(b"k", Hello(b"k" * 16, ""), 0.0)
        for peer in "bc":
            from_peer(self.node, hello_of(peer), sender=peer)
        self.leader.nodes.beat("bc", 0.0)
        for peer in "bc":
            self.enrol(peer, 1)
        self.leader.tick(1.0, [])

    def enrol(self, peer: str, version: int, held: tuple[tuple[bytes, int], ...] = ()) -> None:
        account = Enrol(
            self.leader.term,
            (1 << INCARNATION_SHIFT) + version,
            1 << INCARNATION_SHIFT,
            self.seqs[peer],
            9,
            (f"of_{peer}", "any"),
            encode_held(held),
        )
        from_peer(self.node, account, sender=peer)
        self.turn()

    def submit(self, seq: int, *calls: tuple[int, str]) -> None:
        packed = encode_calls([(task_id(number), name, 4, b"", None) for number, name in calls])
        self.node.on_client(b"k", Submit(seq, 0, packed), 0.0)
        self.turn()

    def report(self, peer: str, *ends: tuple[int, int]) -> None:
        self.seqs[peer] += 1
        outcomes = [(task_id(number), 1, end, b"", 1) for number, end in ends]
        message = NodeOutcomes(self.leader.term, self.seqs[peer], encode_outcomes(outcomes))
        from_peer(self.node, message, sender=peer)
        self.turn()

    def turn(self) -> None:
        for _ in range(5):
            effects = self.node.take_effects(0.0)
            for _, envelope, messages, _ in effects.to_peers:
                for message in messages:
                    if isinstance(message, Dispatch):
                        self.given[envelope.recipient] += message.tasks
            for _, reply in effects.to_clients:
                if isinstance(reply, Update):
                    self.results.update((each, state) for each, state, _ in reply.results)
            if effects.persist is not None:
                self.node.persisted(effects.persist.seq)


def test_an_attempt_that_counted_as_lost_with_its_node_may_still_answer() -> None:
    work = Work()
    work.submit(1, (1, "any"))
    first = next(peer for peer in "bc" if work.given[peer])
    other = "c" if first == "b" else "b"
    work.leader.nodes._node_gone(first, 9.0)
    work.turn()
    assert [given[1] for given in work.given[other]] == [2], "it runs again at the other"
    work.enrol(first, 1)  # a copy of its old account, which names nothing
    work.report(first, (1, SUCCEEDED))
    assert (work.results, work.node.violations.total) == ({task_id(1): SUCCEEDED}, 0)


def test_a_task_that_a_node_has_since_an_earlier_leader_is_its_own_to_answer() -> None:
    work = Work()
    work.enrol("b", 2, ((task_id(1), 1),))  # it was never accepted, as far as this leader knows
    work.submit(1, (1, "of_c"))  # and now its client submits it again
    work.report("b", (1, SUCCEEDED))
    assert (work.results, work.node.violations.total) == ({task_id(1): SUCCEEDED}, 0)


def test_a_node_with_more_names_than_a_node_has_keeps_those_that_it_had() -> None:
    work = Work()
    names = tuple(f"name{number}" for number in range(MAX_TASK_NAMES + 1))
    from_peer(work.node, Enrol(work.leader.term, TOP, 0, 0, 1, names, b""))
    assert work.node.violations.total == 1
    assert work.leader.tasks.ledgers["b"].names == {"of_b", "any"}


def test_an_account_of_which_what_it_holds_makes_no_sense_counts_for_nothing() -> None:
    work = Work()
    for held in (b"i" * 23, b"i" * 16 + b"\xff" * 8):
        from_peer(work.node, Enrol(work.leader.term, TOP, 0, 0, 1, ("other",), held))
    assert work.node.violations.total == 2
    assert work.leader.tasks.ledgers["b"].names == {"of_b", "any"}


def test_an_account_that_announces_what_can_not_be_counts_for_nothing_and_the_others_of_its_batch_do() -> None:
    work = Work()
    term = work.leader.term
    for packed in (b"\xc1", encode_defaults([("not_its_own", 4, {"retries": 1})]), bytes(MAX_DEFAULTS_BYTES + 1)):
        account = EnrolWithDefaults(term, TOP, 0, 0, 1, ("other",), b"", True, packed)
        from_peer(work.node, account, NodeBeat(term, 0, 7, 0, 0))
        state = work.leader.nodes.by_id["b"]
        assert state.beat is not None
        assert state.beat.slots == 7
    assert work.node.violations.counts == {("b", "EnrolWithDefaults"): 3}
    assert work.leader.tasks.ledgers["b"].names == {"of_b", "any"}
    assert len(work.leader.defaults) == 0


def test_what_a_leader_refuses_of_any_node_it_refuses_of_itself_and_goes_on() -> None:
    node = leading()
    node.on_worker_ready(b"w" * 8, ("add",))
    turn(node, 0.1)
    assert node.leader is not None
    node.on_worker_ready(b"v" * 8, tuple(f"name{number}" for number in range(MAX_TASK_NAMES)))
    turn(node, 0.2)
    assert node.violations.counts == {("a", "EnrolWithDefaults"): node.violations.total}
    assert node.violations.total > 0
    assert node.leader.tasks.ledgers["a"].names == {"add"}


def test_a_node_with_more_slots_than_a_machine_has_gets_nothing() -> None:
    work = Work()
    term = work.leader.term
    from_peer(work.node, Enrol(term, TOP, 0, 0, TOP, ("any",), b""), NodeBeat(term, 0, TOP, 0, 0))
    from_peer(work.node, NodeBeat(term, 0, 1, TOP, 0), NodeBeat(term, 0, 1, 0, TOP))
    assert work.node.violations.total == 4
    assert work.leader.tasks.ledgers["b"].slots == 9


# --- who is there ---------------------------------------------------------------------------------------------------


def test_a_hello_of_what_no_node_is_makes_nobody_too_old_and_nobody_known() -> None:
    node = leading()
    for each in (
        hello_of("b", cluster_level=TOP, feature_level=TOP),
        hello_of("b", cluster_level=9_000, feature_level=9_000),
        hello_of("b", cluster_level=3, feature_level=2),
        hello_of("b")._replace(address="b" * 4_096),
    ):
        from_peer(node, each)
    node.on_peer(Envelope("c" * 4_096, "b", 1, ""), [hello_of("b")], 0.0)
    node.on_peer(Envelope("cluster-a", "b", TOP, ""), [hello_of("b")], 0.0)
    node.on_peer(Envelope("cluster-a", "", 1, ""), [hello_of("b")], 0.0)
    assert (node.violations.total, node.peering.directory.peers) == (7, {})
    assert status(node, 0.0)["too_old"] == ""


@pytest.mark.parametrize("word", ["\x1b[2J", "a\nERROR forged", "\u202e", "x" * 301], ids=ascii)
def test_what_a_node_says_of_itself_and_others_is_short_and_can_be_printed_or_nothing_of_it_counts(word: str) -> None:
    node = leading()
    forged: list[tuple[Envelope, PeerMessage]] = [
        (Envelope("other", "b", 1, ""), hello_of("b")._replace(**{field: word}))  # type: ignore[arg-type]
        for field in ("address", "leader_id", "metrics_address", "version", "to")
    ]
    forged += [
        (Envelope("other", "b", 1, ""), hello_of("b")._replace(others=(word,))),
        (Envelope("other", "b", 1, ""), hello_of("b")._replace(known=((word, "c:1"),))),
        (Envelope("other", "b", 1, ""), hello_of("b")._replace(known=(("c", word),))),
        (Envelope("other", word, 1, ""), hello_of("b")),
        (Envelope(word, "b", 1, ""), hello_of("b")),
        (Envelope("cluster-a", node.node_id, 1, "", 99), hello_of("b")._replace(address=word)),
        (Envelope("cluster-a", node.node_id, 1, "", 99), OtherStart(0, 99, word, 1, True)),
        (Envelope("cluster-a", "c", 1, ""), OtherStart(0, 99, word, 1, True)),
    ]
    for envelope, message in forged:
        node.on_peer(envelope, [message], 0.0)
    assert node.violations.total == len(forged)
    assert (node.peering.directory.peers, node.peering.directory.foreign, node.peering.starts.said) == ({}, set(), {})


@pytest.mark.parametrize("address", ["", "x:y:z", "b:0", "b:http", "10.1:7077", "[b]:1", "tcp://b:1"])
def test_what_is_no_address_is_refused_wherever_a_node_says_one(address: str) -> None:
    node = leading()
    hello = hello_of("b")
    forged: list[PeerMessage] = [
        hello._replace(address=address),
        hello._replace(others=("b:2", address)),
        hello._replace(known=(("c", "c:1"), ("d", address))),
        OtherStart(0, 99, address, 1, True),
    ]
    if address:  # a node that serves no metrics, and an answer to who did not say what it was sent to
        forged += [hello._replace(metrics_address=address), hello._replace(reply=True, to=address)]
    for message in forged:
        node.on_peer(Envelope("cluster-a", "b", 1, ""), [message], 0.0)
    assert node.violations.total == len(forged)
    assert (node.peering.directory.peers, node.peering.directory.addresses) == ({}, {})
    assert any("is no address" in text for text in notices(node))


def test_a_hello_that_tells_of_more_peers_or_addresses_than_any_node_does_is_refused_whole() -> None:
    node = leading()
    known = tuple((f"n{number}", f"n{number}:1") for number in range(HELLO_PEERS + 1))
    others = tuple(f"b:{number}" for number in range(2, OTHER_ADDRESSES + 3))
    for fields in ({"known": known}, {"others": others}):
        node.on_peer(Envelope("cluster-a", "b", 1, ""), [hello_of("b")._replace(**fields)], 0.0)  # type: ignore[arg-type]
    assert node.violations.total == 2
    assert (node.peering.directory.peers, node.peering.directory.addresses) == ({}, {})
    most = hello_of("b")._replace(known=known[1:], others=others[1:])
    node.on_peer(Envelope("cluster-a", "b", 1, ""), [most], 0.0)
    assert (node.violations.total, set(node.peering.directory.peers)) == (2, {"b"})


def test_invented_peers_push_out_no_node_that_has_spoken_to_this_one() -> None:
    settings = Settings(cluster_name="test", peer_limit=3)
    known = Directory(settings, "a", "a:1")
    real = Envelope("", "real", 1, "a")
    known.add_peer(real, hello_of("real"), 0.0)
    known.heard(real, 0.0)
    for number in range(10):
        known.add_peer(Envelope("", f"invented {number}", 1, ""), hello_of(f"invented{number}"), 1.0 + number)
    assert set(known.peers) == {"real", "invented 8", "invented 9"}


def test_fifteen_hundred_invented_peers_cost_a_bounded_number_of_bytes_in_each_second() -> None:
    node = leading()
    for number in range(1_500):
        node.on_peer(Envelope("cluster-a", f"{number:016x}", 1, ""), [hello_of(f"host-{number}")], 0.0)
    sent = frames = 0
    steps = 100
    for step in range(1, 2 * steps + 1):
        now = step / steps
        turn_effects = []
        node.tick(now)
        for _ in range(3):
            effects = node.take_effects(now)
            turn_effects += [*effects.to_peers, *effects.after_persist]
            if effects.persist is not None:
                node.persisted(effects.persist.seq)
        for _, _, messages, _ in turn_effects:
            frames += len(messages)
            sent += sum(len(encode(message)) for message in messages)
    assert frames / 2 < 5_000
    assert sent / 2 < 4_000_000


def test_a_node_whose_account_is_still_to_come_is_told_of_its_leader_at_once() -> None:
    node = leading()
    for number in range(300):
        node.on_peer(Envelope("cluster-a", f"{number:016x}", 1, ""), [hello_of(f"host-{number}")], 0.0)
    assert node.leader is not None
    node.leader.nodes.beat([f"{number:016x}" for number in range(300)], 0.0)
    assert len(node.leader.nodes.outbox) == 300


def test_the_peers_of_a_large_cluster_are_all_told_of_in_turn() -> None:
    node = leading()
    for number in range(150):
        node.on_peer(Envelope("cluster-a", f"{number:016x}", 1, ""), [hello_of(f"host-{number}")], 0.0)
    told: set[str] = set()
    for _ in range(3):
        told.update(peer for peer, _ in node.peering._hello(0.0, "", 0, 1, reply=True).known)
    assert len(told) == 150


def test_a_node_that_stands_still_for_a_hello_of_many_addresses_stays_the_one_it_was() -> None:
    node = leading()
    from_peer(node, hello_of("b")._replace(known=tuple((f"{n}", f"host-{n}:1") for n in range(5_000))))
    assert len(node.peering.directory.addresses) <= node.settings.peer_limit
    turn(node, 0.0)
    assert node.leader is not None


def test_a_leader_whose_own_workers_follow_a_term_that_nobody_was_elected_in_has_them_back_once_it_is_silent() -> None:
    work = Work()
    node, own = work.node, work.leader
    node.on_worker_ready(b"w", ("own",))
    work.turn()
    from_peer(node, Beat(own.term + 37, 0, 0, 0))
    assert node.leader_link.term == own.term + 37
    step = node.settings.timing.heartbeat_interval_s
    now = node.settings.node_timeout_s
    for _ in range(20):
        now += step
        node.tick(now)
        node.take_urgent(now)
        effects = node.take_effects(now)
        if effects.persist is not None:
            node.persisted(effects.persist.seq)
    assert (node.leader_link.term, node.leader_link.leader) == (own.term, node.node_id)


def test_a_node_that_is_elected_in_a_term_that_another_has_claimed_goes_on_and_its_workers_are_its_own() -> None:
    node = leading()
    node.on_worker_ready(b"w", ("own",))
    term = node.consensus.term
    from_peer(node, Beat(term + 2, 0, 0, 0))
    assert (node.leader_link.term, node.leader_link.leader) == (term + 2, "b")
    from_peer(node, AppendResponse(term + 1, False, 0))  # of a term in which this node is elected next
    for step in range(1, 20):
        turn(node, step * node.settings.timing.heartbeat_interval_s)
    assert (node.consensus.is_leader, node.consensus.term) == (True, term + 2)
    assert (node.leader_link.term, node.leader_link.leader) == (term + 2, node.node_id)


def test_a_batch_that_names_no_sender_is_refused_whole() -> None:
    node = leading()
    term = node.consensus.term
    from_peer(node, Beat(term + 1, 0, 0, 0), Append(term + 1, 0, 0, 0, ()), sender="")
    assert node.violations.total == 1
    assert (node.consensus.term, node.leader_link.term) == (term, term)
