"""What a node is made of knows of each other."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from paceline.client import Client
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


def test_the_workers_of_a_node_that_listens_at_another_address_are_told(tmp_path: Path) -> None:
    """Those that run, which were started with the address of before, and those that it starts from then on."""
    module = tmp_path / "where.py"
    module.write_text(
        "import os, paceline\n"
        "from paceline.own_cluster import find_cluster\n"
        "@paceline.task\n"
        "def where(): return list(find_cluster((), None).addresses)\n"
    )
    config = NodeConfig(
        modules=(str(module),),
        workers=1,
        journal="memory",
        bind_host="127.0.0.2",
        port=0,
        discovery=False,
        metrics="off",
        expect=1,
        insecure=True,
    )
    server = Server(config, None, start=1)

    def told() -> list[str]:
        """What a worker is told, by a client that asks in another thread: a node runs in the thread that it began."""
        answers: list[list[str]] = []

        def ask() -> None:
            with Client(server._transport.local_address) as client:
                answers.append(client.submit("where.where").result(DEADLINE_S))

        asking = threading.Thread(target=ask)
        asking.start()
        while asking.is_alive():
            server._reactor.turn()
        return answers[0]

    try:
        before = server._transport.local_address
        assert told() == [before]
        server._bind("127.0.0.3")
        after = server._transport.local_address
        assert after != before
        assert told() == [after]
    finally:
        server.close()
