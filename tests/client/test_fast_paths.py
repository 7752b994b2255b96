"""What one task at a time does on a shorter way ends as on the longer one."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
import zmq

from client.session_rig import Rig, call, ids_of, succeeded, task_id, welcome
from modes import source_only
from paceline.client.driver.connections import Connections, _Connection
from paceline.client.session.ledger import CallLedger
from paceline.client.session.session import Session
from paceline.client.session.submits import WINDOW_SUBMITS
from paceline.client_keys import ClientKeys
from paceline_protocol.messages.client import Refusal


def ledger_state(ledger: CallLedger) -> dict[str, Any]:
    return {
        "standing": {key: (batch.seq, batch.calls) for key, batch in ledger.tasks.items()},
        "sent": {seq: batch.calls for seq, batch in ledger.sent.items()},
        "queue": list(ledger.queue),
        "unaccepted_bytes": ledger.unaccepted_bytes,
        "batch_is_full": ledger.batch_is_full,
    }


def test_a_call_that_skips_the_queue_is_kept_as_one_that_went_through_it() -> None:
    direct, queued = CallLedger(), CallLedger()
    direct.add_sent(1, call(1))
    queued.add(call(1))
    queued.record_sent(1, queued.take())
    assert ledger_state(direct) == ledger_state(queued)
    for ledger in (direct, queued):
        assert ledger.end(task_id(1))
    assert ledger_state(direct) == ledger_state(queued) == ledger_state(CallLedger())


def test_a_call_that_skips_the_queue_makes_the_frame_of_one_that_went_through_it() -> None:
    direct, queued = Rig(), Rig()
    direct.attach()
    direct.sent()
    direct.submit(1)
    queued.submit(1)  # queued until there is a leader
    queued.hear("a:1", welcome("a:1", "a:1"))
    assert direct.submits() == queued.submits()
    assert direct.session.next_deadline() == queued.session.next_deadline()


def test_calls_keep_their_order_when_some_skip_the_queue() -> None:
    rig = Rig()
    rig.attach()
    rig.sent()
    count = WINDOW_SUBMITS + 3
    rig.submit(*range(1, count + 1))  # the window fills, three wait
    rig.update(1, results=[succeeded(1), succeeded(2)])
    rig.submit(count + 1)
    submits = rig.submits()
    assert [number for submit in submits for number in ids_of(submit)] == list(range(1, count + 2))
    assert [submit.seq for submit in submits] == list(range(1, len(submits) + 1))
    assert [submit.prompt for submit in submits[:WINDOW_SUBMITS]] == [False] * (WINDOW_SUBMITS - 1) + [True]


def test_a_call_skips_no_pause_that_the_leader_asked_for() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.sent()
    rig.update(1, refused=[(task_id(1), int(Refusal.NOT_READY), "forming")])
    rig.submit(2)
    assert rig.submits() == []
    rig.pass_time(1.0, answer_pings=True)
    assert [ids_of(submit) for submit in rig.submits()][:1] == [[1, 2]]


class PlayedSocket:
    """Frames to read, and whether the connection stands. Counts how often it was asked for its events."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.is_up = True
        self.asked = 0

    def get(self, option: int) -> int:
        if option == zmq.FD:
            return -1
        self.asked += 1
        return (int(zmq.POLLIN) if self.frames else 0) | (int(zmq.POLLOUT) if self.is_up else 0)

    def recv(self, flags: int) -> bytes:
        assert flags == zmq.NOBLOCK
        if not self.frames:
            raise zmq.Again
        return self.frames.pop(0)

    def send(self, frame: bytes, flags: int, copy: bool) -> None:
        raise AssertionError("nothing is sent here")


class Told(Session):
    """A session that notes what it is told."""

    def __init__(self) -> None:
        super().__init__(bytes(16), ("a:1",), random=random.Random(1))
        self.told: list[str | bytes] = []

    def received(self, address: str, frame: bytes, now: float) -> None:
        self.told.append(frame)

    def opened(self, address: str, now: float) -> None:
        self.told.append("opened")

    def lost(self, address: str, now: float) -> None:
        self.told.append("lost")


@pytest.fixture
def played() -> Any:
    session, socket = Told(), PlayedSocket()
    connections = Connections(session, ClientKeys(None, on_this_machine=False))
    connection = _Connection("a:1", "a", "10.0.0.1", cast("zmq.Socket[bytes]", socket), 0.0)
    connections._all = (connection,)
    yield connections, connection, session, socket
    connections._all = ()
    connections.close()
    connections.close_pipe()


@pytest.mark.parametrize("woken", [False, True])
@source_only
def test_frames_before_the_end_of_a_connection_are_read_before_the_end_is_told(played: Any, woken: bool) -> None:
    connections, connection, session, socket = played
    connections.deliver(0.0)
    socket.frames, socket.is_up = [b"1", b"2"], False
    more = True
    while more:
        connection.has_woken = woken
        more = connections.deliver(0.0)
    assert session.told == ["opened", b"1", b"2", "lost"]


@source_only
def test_a_woken_socket_is_read_without_asking_for_its_events(played: Any) -> None:
    connections, connection, session, socket = played
    connections.deliver(0.0)
    asked = socket.asked
    socket.frames, connection.has_woken = [b"1"], True
    assert connections.deliver(0.0), "there may be more"
    assert (session.told[1:], socket.asked) == ([b"1"], asked)
    assert not connections.deliver(0.0), "quiet, and that was asked"
    assert socket.asked == asked + 1


@source_only
def test_a_socket_woken_in_vain_is_asked(played: Any) -> None:
    connections, connection, session, _socket = played
    connection.has_woken = True
    assert not connections.deliver(0.0)
    assert session.told == ["opened"]
