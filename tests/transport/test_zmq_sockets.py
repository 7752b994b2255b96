"""How the sockets of a node are set up, where a wrong setting could be used against it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from letting_in import let_in
from paceline.runtime.transport.zmq_sockets import UNREAD_MESSAGES, open_peer, open_router, open_zap
from paceline.security import Credentials
from paceline_protocol.limits import MAX_FRAME_BYTES


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


FRAME_BYTES = 1_000_000
QUEUED_MESSAGES = 8
TCP_MESSAGES = 24
"""What the kernel holds of a connection, at both ends, is less."""


def flood(router: zmq.Socket[bytes], messages: int, zap: zmq.Socket[bytes]) -> int:
    """Send more than anybody reads, and leave once nothing more is taken. Returns how many were."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.DEALER) as client:
        client.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
        client.setsockopt(zmq.SNDTIMEO, 1_000)
        client.setsockopt_string(zmq.PLAIN_USERNAME, "anybody")
        client.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        let_in(zap)
        sent = 0
        try:
            while sent < messages:
                client.send(bytes(FRAME_BYTES))
                sent += 1
        except zmq.Again:
            pass  # the other end takes no more
        assert UNREAD_MESSAGES <= sent < messages
        assert router.poll(1_000)  # as a node that was busy until now
        client.setsockopt(zmq.LINGER, 0)
    context.term()
    return sent


def test_no_socket_has_heartbeats_with_which_a_client_that_floods_and_leaves_could_end_the_process(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    for socket in (
        open_router(context, "127.0.0.1", 0, None, MAX_FRAME_BYTES),
        open_peer(context, "127.0.0.1:9", Credentials(), MAX_FRAME_BYTES),
    ):
        with socket:
            assert socket.getsockopt(zmq.HEARTBEAT_IVL) == 0
            assert socket.getsockopt(zmq.TCP_KEEPALIVE) == 1


def test_what_a_connection_has_brought_and_nobody_has_read_is_bounded(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    with open_zap(context) as zap, open_router(context, "127.0.0.1", 0, None, MAX_FRAME_BYTES) as router:
        sent = flood(router, 100 * UNREAD_MESSAGES, zap)
        assert sent <= UNREAD_MESSAGES + QUEUED_MESSAGES + TCP_MESSAGES
        assert router.poll(1_000)
        assert len(router.recv_multipart()[1]) == FRAME_BYTES
