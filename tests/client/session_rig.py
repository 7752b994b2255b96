"""A session in virtual time, and the two ends of its wire: what it sent, decoded, and what nodes answer."""

from __future__ import annotations

import random
from collections.abc import Iterable

from paceline.client.session.session import Session, SessionState
from paceline_protocol import codec
from paceline_protocol.messages import Message
from paceline_protocol.messages.client import ClientReply, Hello, Ping, Pong, Submit, Update, Welcome
from paceline_protocol.messages.records import PRIORITY_DEFAULT, Call, Result, TaskEnd

LIMIT_BYTES = 1024 * 1024


def task_id(number: int) -> bytes:
    return number.to_bytes(16)


def call(number: int, args: bytes = b"args") -> Call:
    return (task_id(number), "tasks.add", PRIORITY_DEFAULT, args, None)


def succeeded(number: int) -> Result:
    return (task_id(number), int(TaskEnd.SUCCEEDED), b"value")


def welcome(node: str, leader: str = "", *, term: int = 1, others: Iterable[str] = ()) -> Welcome:
    """Nodes are named by their address here: node "a:1" listens on a:1."""
    return Welcome(node, "cluster", "name", term, leader, leader, (node, *others), LIMIT_BYTES)


class Rig:
    """Runs a session by hand. ``sent`` and ``closed`` hold what happened since they were last taken."""

    kind: type[Session] = Session

    def __init__(self, *addresses: str, seed: int = 1, **options: float) -> None:
        self.now = 100.0
        self.session = self.kind(bytes(16), addresses or ("a:1",), random=random.Random(seed), **options)  # type: ignore[arg-type]
        self.closed: list[str] = []
        self._sent: list[tuple[str, Message]] = []

    @property
    def attached(self) -> bool:
        return self.session.state is SessionState.ATTACHED

    def _collect(self) -> None:
        for address, frame in self.session.output.outbox:
            if frame is None:
                self.closed.append(address)
            else:
                self._sent.append((address, codec.decode(frame)))
        self.session.output.outbox.clear()

    def sent(self) -> list[tuple[str, Message]]:
        self._collect()
        sent, self._sent = self._sent, []
        return sent

    def submits(self) -> list[Submit]:
        """The Submits among what was sent; takes all of it."""
        return [message for _, message in self.sent() if isinstance(message, Submit)]

    def hear(self, address: str, message: ClientReply) -> None:
        self.session.received(address, codec.encode(message), self.now)

    def update(
        self,
        seq: int,
        *,
        accepted: Iterable[int] = (),
        results: Iterable[Result] = (),
        refused: Iterable[tuple[bytes, int, str]] = (),
    ) -> None:
        self.hear(self.session.leader_address, Update(seq, tuple(accepted), tuple(refused), tuple(results)))

    def submit(self, *numbers: int) -> None:
        for number in numbers:
            self.session.submit(call(number), self.now)

    def attach(self, address: str = "a:1", *, term: int = 1) -> None:
        """Have the session find its leader at this address."""
        self.session.connect(self.now)
        self.hear(address, welcome(address, address, term=term))
        assert self.session.leader_address == address

    def pass_time(self, duration_s: float, *, answer_pings: bool = False) -> None:
        """Tick at every deadline on the way."""
        until = self.now + duration_s
        while (deadline := self.session.next_deadline()) <= until:
            self.now = max(self.now, deadline)
            self.session.tick(self.now)
            self._collect()
            if answer_pings and self.attached:
                if any(isinstance(message, Ping) for _, message in self._sent):
                    self.hear(self.session.leader_address, Pong(1))
                self._sent = [(at, message) for at, message in self._sent if not isinstance(message, Ping)]
        self.now = until

    def greeted(self) -> list[str]:
        """The addresses that got a Hello, in order; takes all that was sent."""
        return [address for address, message in self.sent() if isinstance(message, Hello)]


def ids_of(submit: Submit) -> list[int]:
    return [int.from_bytes(item[0]) for item in codec.decode_calls(submit.calls)]
