"""The client against a fake node that goes, or was never there; and the client's own end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from paceline.client import Client, Future, current_client
from paceline.errors import (
    ClientClosed,
    IncompatibleVersion,
    NoLeader,
    NoNodeFound,
    ResultUnknown,
)
from paceline_protocol.messages.client import Submit, Wait


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_tasks_survive_a_leader_that_is_killed(node: FakeNode) -> None:
    node.hold = True
    with FakeNode("n2", leads=False, leader=node) as successor, Client(node.address, successor.address) as client:
        accepted = client.submit("echo", "accepted")
        accepted.accepted(DEADLINE_S)
        node.accepts = False
        unaccepted = client.submit("echo", "unaccepted")
        node.wait_for(lambda: node.count(Submit) == 2)
        node.stop()
        successor.known.update(node.known)
        successor.term, successor.leads = 2, True
        assert unaccepted.result(DEADLINE_S) == "unaccepted"
        assert accepted.result(DEADLINE_S) == "accepted"
        assert [message.ids for message in successor.received if isinstance(message, Wait)] == [(accepted.task_id,)]


def test_a_redirect_is_followed(node: FakeNode, client: Client) -> None:
    assert client.submit("echo", 1).result(DEADLINE_S) == 1
    with FakeNode("n2", term=2) as successor:
        node.leader, node.leads, node.term = successor, False, 2
        assert client.submit("echo", 2).result(DEADLINE_S) == 2
        assert list(successor.known)


def test_a_task_that_the_next_leader_does_not_know_has_an_unknown_result(node: FakeNode) -> None:
    node.hold = True
    with FakeNode("n2", leads=False) as successor, Client(node.address, successor.address) as client:
        future = client.submit("add", 1)
        future.accepted(DEADLINE_S)
        node.stop()
        successor.term, successor.leads = 2, True
        with pytest.raises(ResultUnknown):
            future.result(DEADLINE_S)


def test_a_cluster_that_stays_away_fails_what_is_outstanding(node: FakeNode) -> None:
    node.hold = True
    with Client(node.address, failover_timeout_s=0.3, connect_timeout_s=0.3) as client:
        future = client.submit("add", 1)
        future.accepted(DEADLINE_S)
        node.stop()
        with pytest.raises(NoNodeFound):
            future.result(DEADLINE_S)
        with pytest.raises(NoNodeFound):
            client.submit("add", 1)


# --- the ways in which it can't work ---------------------------------------------------------------------------------


def test_no_node_found_names_what_was_tried() -> None:
    address = free_address()
    client = Client(address, connect_timeout_s=0.1)
    with pytest.raises(NoNodeFound) as caught:
        client.submit("add", 1)
    assert caught.value.tried == (address,)
    with pytest.raises(NoNodeFound):
        client.status(0.1)
    client.close()


def test_no_leader_but_a_status() -> None:
    with FakeNode(leads=False) as node:
        client = Client(node.address, connect_timeout_s=0.2)
        assert client.status(DEADLINE_S)["leader_id"] == ""
        with pytest.raises(NoLeader), client:
            pass
        with pytest.raises(ClientClosed):
            client.submit("add", 1)


def test_another_version_is_named() -> None:
    with (
        FakeNode(version=99) as node,
        pytest.raises(IncompatibleVersion, match="99"),
        Client(node.address, connect_timeout_s=DEADLINE_S),
    ):
        pass


def test_a_node_that_starts_late_is_found(node: FakeNode) -> None:
    address = node.address
    node.stop()
    client = Client(address, connect_timeout_s=DEADLINE_S)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.submit, "add", 1)
        with FakeNode(port=int(address.rpartition(":")[2])):
            assert future.result(DEADLINE_S).result(DEADLINE_S) == 1
            client.close()


def test_closing_waits_for_acceptance_and_fails_what_has_not_ended(node: FakeNode, client: Client) -> None:
    node.hold = True
    futures = [client.submit("add", number) for number in range(500)]
    client.close(DEADLINE_S)
    assert len(node.known) == 500
    with pytest.raises(ClientClosed):
        futures[0].result()
    with pytest.raises(ClientClosed):
        client.submit("add", 1)
    client.close()


def test_closing_does_not_wait_longer_than_it_is_told(node: FakeNode, client: Client) -> None:
    node.accepts = False
    future = client.submit("add", 1)
    client.close(0.01)
    with pytest.raises(ClientClosed):
        future.result()


def test_closing_ends_the_waiting_of_other_threads(node: FakeNode, client: Client) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(future.exception, DEADLINE_S) for _ in range(3)]
        client.close(DEADLINE_S)
        assert {type(each.result(DEADLINE_S)) for each in waiting} == {ClientClosed}


def test_a_closed_client_leaves_no_thread_and_no_descriptor(node: FakeNode) -> None:
    def run() -> int:
        with Client(node.address) as client:
            client.submit("add", 1).result(DEADLINE_S)
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = run()
    after = [run() for _ in range(3)][-1]
    assert after <= before
    assert not [thread for thread in threading.enumerate() if thread.name == "paceline-client"]


def test_the_current_client_is_the_innermost_one_that_is_open(node: FakeNode, client: Client) -> None:
    assert current_client() is client
    with Client(node.address) as inner:
        assert current_client() is inner
    assert current_client() is client


@pytest.mark.parametrize(
    "use",
    [
        lambda client, _: client.submit("add", 1),
        lambda _, future: future.result(),
        lambda _, future: future.add_done_callback(print),
        lambda _, future: future.cancel(),
        lambda _, future: asyncio.run(asyncio.wait_for(future, DEADLINE_S)),
    ],
    ids=["submit", "result", "add_done_callback", "cancel", "await"],
)
def test_a_forked_child_can_not_use_the_parents_client(
    node: FakeNode, client: Client, use: Callable[[Client, Future[int]], object]
) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            use(client, future)
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert b"parent process" in os.read(read, 1000)
    os.close(read)
    node.release()
    assert future.result(DEADLINE_S) == 1


def test_whether_a_task_is_cancelled_is_not_answered_by_a_client_that_was_closed(
    node: FakeNode, client: Client
) -> None:
    node.hold = True
    future = client.submit("add", 1)
    client.close()
    with pytest.raises(ClientClosed):
        future.cancel()


def test_a_question_after_a_search_that_was_given_up_waits_for_its_answer() -> None:
    address = free_address()
    client = Client(address, connect_timeout_s=0.3)
    try:
        with pytest.raises(NoNodeFound):
            client.connect()
        with FakeNode(port=int(address.rpartition(":")[2])) as node:
            assert client.status(DEADLINE_S)["leader_id"] == node.name
    finally:
        client.close(0)
