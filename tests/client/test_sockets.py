"""The sockets of a client: ending them waits for nobody, whatever was interrupted before."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
import zmq

from client.fake_node import DEADLINE_S
from paceline.client.driver.sockets import Sockets


def returns(action: Callable[[], object]) -> bool:
    """Whether it returns at all. Ending a context of which a socket is open would never do so."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return not thread.is_alive()


def test_a_socket_that_was_interrupted_as_it_was_made_is_closed_though_its_traceback_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sockets = Sockets()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zmq.Socket, "get", interrupt)  # which its constructor calls once it is open
        with pytest.raises(KeyboardInterrupt) as interrupted:
            sockets.socket(zmq.DEALER)
    assert len(sockets.opened) == 1
    assert returns(sockets.end)
    assert interrupted.tb is not None
    assert not sockets.opened
    assert sockets.closed


def test_a_context_that_is_collected_with_its_open_sockets_closes_them() -> None:
    sockets = Sockets()
    cycle: list[object] = [sockets.socket(zmq.DEALER), sockets]
    cycle.append(cycle)
    address = id(sockets)
    del sockets, cycle
    assert returns(gc.collect)
    assert address not in {id(each) for each in gc.get_objects() if isinstance(each, Sockets)}


def test_a_socket_for_which_there_is_no_room_is_not_kept() -> None:
    sockets = Sockets()
    sockets.set(zmq.MAX_SOCKETS, 1)
    only = sockets.socket(zmq.DEALER)
    with pytest.raises(zmq.ZMQError):
        sockets.socket(zmq.DEALER)
    assert sockets.opened == {only}
    assert returns(sockets.end)
    assert only.closed
