"""A client and a real node with a slow link between them: what is large arrives, and nothing else suffers for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.conftest import shaping
from hosts.machines import PORT, Machines
from hosts.network import ip
from integration.conftest import wait_until
from paceline import Client
from paceline.client.relay import ACCEPTED, News, Relay
from paceline.client.session.session import Session
from paceline.client.session.silence import SLOWEST_BYTES_PER_S
from paceline_protocol.limits import LINK_BYTES_PER_S
from paceline_protocol.messages.records import TaskEnd

MIB = 1 << 20
LARGEST_BYTES = 16 * MIB - 1024
"""As much as a payload may have, packed."""
DEADLINE_S = 60.0
CUT_NOTICED_S = 10.0
"""TCP needs some more than its 3 s. The large call would be waited for for 205 s."""


@pytest.fixture
def machines(namespaces: None, tmp_path: Path) -> Iterator[Machines]:
    """A node on one host, and another one whose link is as slow as any that is taken for normal."""
    with Machines(tmp_path, "node", "client") as machines:
        with shaping():
            machines.hosts.slow_down(machines.hosts["client"], LINK_BYTES_PER_S)
        machines.start("node", "--expect", "1", "--voters", "1")
        machines.wait_together()
        yield machines


def test_large_calls_and_results_pass_a_slow_link_once_and_with_a_relay_too(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets and threads stay on the host where the first of them was made. On a machine without time to spare the
    node may be silent for long enough to be given up: what was under way is sent once more then, and rightly so."""
    given_up: list[Session] = []

    def end_epoch(session: Session, now: float) -> None:
        given_up.append(session)
        ends(session, now)

    ends = Session._end_epoch
    monkeypatch.setattr(Session, "_end_epoch", end_epoch)
    at = f"{machines.hosts['node'].address}:{PORT}"
    client = Client(at, cluster=machines.cluster_path)
    relay = Relay(at, cluster=machines.cluster_path, on_news=lambda: None)
    with machines.hosts["client"].entered():
        assert client.submit("host_tasks.fill", b"", 1).result(DEADLINE_S) == b"\0"
        relay.connect()
    try:
        before = carried(machines)
        large = client.submit("host_tasks.fill", bytes(LARGEST_BYTES), LARGEST_BYTES)
        small = client.submit("host_tasks.fill", b"", 1)
        assert len(large.result(DEADLINE_S)) == LARGEST_BYTES
        assert small.result(1) == b"\0"
        relay.submit(b"r" * 16, "host_tasks.fill", 5, (bytes(LARGEST_BYTES), LARGEST_BYTES), {})
        news: list[News] = []
        wait_until(lambda: news.extend(relay.take()) or len(news) == 2, "it is accepted, and ends", DEADLINE_S)
        assert [state for _, state, _ in news] == [ACCEPTED, int(TaskEnd.SUCCEEDED)]
        out, back = (after - first for after, first in zip(carried(machines), before, strict=True))
        copies = 3 + len(given_up)
        assert 2 * LARGEST_BYTES < out < copies * LARGEST_BYTES
        assert 2 * LARGEST_BYTES < back < copies * LARGEST_BYTES
    finally:
        client.close(0)
        relay.close()


def test_a_link_that_is_cut_is_noticed_in_seconds_however_slow_it_was(machines: Machines) -> None:
    client = Client(f"{machines.hosts['node'].address}:{PORT}", cluster=machines.cluster_path)
    session = client._session
    with machines.hosts["client"].entered():
        assert client.submit("host_tasks.fill", b"", 1).result(10) == b"\0"
    try:
        session._link_bytes_per_s = SLOWEST_BYTES_PER_S  # it was found out to be so
        client._driver.turns.change(lambda now: session.lost(session.leader_address, now))
        assert client.submit("host_tasks.fill", b"", 1).result(10) == b"\0"
        before, _ = carried(machines)
        client.submit("host_tasks.fill", bytes(LARGEST_BYTES), 1)
        wait_until(lambda: carried(machines)[0] > before + 2 * MIB, "it is under way")
        machines.hosts.cut(machines.hosts["node"])
        wait_until(lambda: session.leader_address == "", "the client has noticed", CUT_NOTICED_S)
    finally:
        client.close(0)


def carried(machines: Machines) -> tuple[int, int]:
    """How many bytes the link of the client has carried, out and back."""
    [link] = json.loads(ip("-n", machines.hosts["client"].namespace, "-s", "-j", "link", "show", "eth0"))
    return link["stats64"]["tx"]["bytes"], link["stats64"]["rx"]["bytes"]
