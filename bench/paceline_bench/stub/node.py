"""Nodes that speak the protocol and run nothing: what is left is what their leader costs.

To its leader a stub is a node like any other. It has a port and a connection of its own, says hello as often and names
as many nodes, and its half of the conversation about tasks is the core's own :class:`LeaderLink`, which counts, repeats
and gives accounts. Only behind that there is no worker: a task has ended as soon as it is there, with its argument as
its result. What a stub leaves out is what its leader never sees: it says nothing to other stubs.

A stub can't replicate the log, and need not: in a large cluster few nodes do. An operator's command says how many:
with ``paceline cluster voters 1``, which ``process.py`` gives, the leader takes in no learner.
"""

from __future__ import annotations

from paceline.core.membership.peering import HELLO_PEERS
from paceline.core.settings import Settings
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages.client import Hello, Redirect, Welcome
from paceline_protocol.messages.membership import Envelope, PeerHello
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, Revoke
from paceline_protocol.payload import pack_args, pack_value

ECHO = "paceline_bench.stub.node.echo"
"""The one task that stubs offer, and no other node: what is submitted of it goes to them alone."""

SLOTS = 1

_SUCCEEDED = int(TaskEnd.SUCCEEDED)
_BEFORE_VALUE_BYTES = len(pack_args((0,), {})) - len(pack_value(0))
"""How many bytes precede the argument in the packed arguments of a call with one argument."""


class StubError(Exception):
    """The stub nodes did not do their part."""


class Stub:
    """One node as its leader sees it. Pure: batches from the leader and ``now`` in, the answer out."""

    def __init__(self, node_id: str, address: str, leader_address: str, settings: Settings) -> None:
        self.node_id = node_id
        self.address = address
        self.known: tuple[tuple[str, str], ...] = ()  # every node, as one that hears all of them tells
        self.dispatches = 0
        self.tasks = 0
        self._leader_address = leader_address
        self._settings = settings
        self._cluster_id = ""
        self._hello_at = float("-inf")
        self._packed: dict[Envelope | PeerHello, bytes] = {}  # what it says again and again
        self._link = LeaderLink(settings, incarnation=1)
        for number in range(SLOTS):
            self._link.worker_ready(bytes((number,)), (ECHO,))

    def hello_if_due(self, now: float) -> list[bytes]:
        """The frames with which it introduces itself, again and again as every node does; none if it is too soon."""
        if now < self._hello_at:
            return []
        settings = self._settings
        self._hello_at = now + (settings.gossip_interval_s if self._cluster_id else settings.hello_interval_s)
        return [self._head(""), self._hello(reply=False)]

    def receive_client(self, frame: bytes) -> bytes:
        """The answer to a client that looks for the leader: the leader's address."""
        link, settings = self._link, self._settings
        if not isinstance(decode(frame), Hello):
            return encode(Redirect(link.term, link.leader, self._leader_address))
        return encode(
            Welcome(
                self.node_id,
                self._cluster_id,
                settings.cluster_name,
                link.term,
                link.leader,
                self._leader_address,
                (self.address, self._leader_address),
                settings.payload_limit_bytes,
            )
        )

    def receive(self, frames: list[bytes], now: float) -> list[bytes]:
        """A batch from the leader. Returns the frames of the answer, none if there is none."""
        link = self._link
        envelope = decode(frames[0])
        assert isinstance(envelope, Envelope)
        answer: list[bytes] = []
        for message in map(decode, frames[1:]):
            if isinstance(message, Beat):
                link.on_beat(envelope.sender, message, now)
            elif isinstance(message, Dispatch):
                self.dispatches += 1
                self.tasks += len(message.tasks)
                link.on_dispatch(envelope.sender, message, now)
            elif isinstance(message, PeerHello):
                answer += self._meet(envelope, message)
            elif isinstance(message, Revoke):
                link.on_revoke(envelope.sender, message, now)
            else:
                raise StubError(f"the leader sends a {type(message).__name__} to a node that does not replicate")
        while link.slots.queue:
            # As if long ago, or no task could say that it took longer than no time at all.
            for worker_id, assignments in link.assign(0.0):
                link.worker_done(worker_id, tuple(map(_ended, assignments)), now)
        outbox, link.outbox = link.outbox, []
        for report in outbox:
            answer.append(encode(report.message(link.term) if isinstance(report, UnrecordedBatch) else report))
        return [self._head(envelope.sender), *answer] if answer else []

    def _meet(self, envelope: Envelope, hello: PeerHello) -> list[bytes]:
        if envelope.cluster_id and not self._cluster_id:
            self._cluster_id = envelope.cluster_id
            self._hello_at = float("-inf")
        return [] if hello.reply else [self._hello(reply=True)]

    def _hello(self, *, reply: bool) -> bytes:
        link, settings = self._link, self._settings
        known = self.known[:HELLO_PEERS]
        hello = PeerHello(self.address, settings.cluster_name, 0, link.leader, link.term, known, reply)
        return self._pack(hello._replace(feature_level=settings.feature_level))

    def _head(self, recipient: str) -> bytes:
        return self._pack(Envelope(self._cluster_id, self.node_id, 1, recipient))

    def _pack(self, message: Envelope | PeerHello) -> bytes:
        """Pack a message, and remember it: a stub sends few different ones."""
        if message not in self._packed:
            self._packed[message] = encode(message)
        return self._packed[message]


def _ended(assignment: Assignment) -> Outcome:
    task_id, attempt, _name, args, _options = assignment
    return task_id, attempt, _SUCCEEDED, args[_BEFORE_VALUE_BYTES:], 0
