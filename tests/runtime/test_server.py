"""What a node is made of knows of each other."""

from __future__ import annotations

import time

from paceline.config import NodeConfig
from paceline.runtime.server import Server

DEADLINE_S = 10.0


def test_the_transport_knows_at_which_addresses_voters_are() -> None:
    config = NodeConfig(
        modules=("json",), workers=0, journal="memory", port=0, discovery=False, metrics="off", expect=1
    )
    server = Server(config, None, start=1)
    try:
        transport = server._transport
        assert not transport.is_voters(transport.address), "it has formed no cluster yet"
        end = time.monotonic() + DEADLINE_S
        while not transport.is_voters(transport.address):
            assert time.monotonic() < end
            server._reactor.turn()
        assert not transport.is_voters("127.0.0.1:1")
    finally:
        server.close()
