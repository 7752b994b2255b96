"""The way of a task through real processes, and what bad input gets."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zmq

from integration.conftest import DEADLINE_S, TASKS, wait_until
from letting_in import let_in
from paceline import Client, Cluster, NamedTask
from paceline.config import parse_address
from paceline.errors import IncompatibleVersion, NoNodeFound, TaskCancelled, TaskFailed, TaskLost, UnknownTask
from paceline.local_token import read_token
from paceline.runtime.transport.zmq_sockets import open_zap
from paceline.security import Credentials
from paceline.sockets import show
from paceline_protocol.codec import encode
from paceline_protocol.errors import PayloadTooLarge, UnserializableValue
from paceline_protocol.messages.client import Failure, Refusal
from paceline_protocol.messages.message import PROTOCOL_VERSION


def test_results_come_back_in_order_whatever_runs_first(one_node: Cluster) -> None:
    with one_node.client() as client:
        assert list(client.map("sample_tasks.square", range(5_000))) == [number * number for number in range(5_000)]


def test_values_come_back_as_they_went(one_node: Cluster) -> None:
    with one_node.client() as client:
        assert client.submit("sample_tasks.pause", 0.0, number=(1, {2})).result(DEADLINE_S) == (1, {2})


def test_a_builtin_exception_is_raised_as_itself_and_another_as_task_failed(one_node: Cluster) -> None:
    with one_node.client() as client:
        with pytest.raises(ValueError, match="no such thing") as builtin:
            client.submit("sample_tasks.fail", "builtin").result(DEADLINE_S)
        assert "sample_tasks.py" in str(builtin.value.__cause__)
        with pytest.raises(TaskFailed, match="of our own") as custom:
            client.submit("sample_tasks.fail", "custom").result(DEADLINE_S)
        assert custom.value.error_type.endswith("CustomError")


def test_futures_can_be_awaited_and_called_back(one_node: Cluster) -> None:
    async def gather() -> list[int]:
        with one_node.client() as client:
            return await asyncio.gather(*(client.submit("sample_tasks.square", number) for number in range(100)))

    assert asyncio.run(gather()) == [number * number for number in range(100)]
    with one_node.client() as client:
        called = threading.Event()
        client.submit("sample_tasks.square", 3).add_done_callback(lambda future: called.set())
        assert called.wait(DEADLINE_S)


def test_a_queued_task_can_be_cancelled_and_one_that_runs_and_does_not_look_goes_on(
    one_node: Cluster, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with one_node.client() as client:
        begun = [tmp_path / name for name in ("one", "other")]
        running = [client.submit("sample_tasks.wait_for", str(gate), str(path)) for path in begun]
        queued = [client.submit("sample_tasks.square", number) for number in range(20)]
        wait_until(lambda: all(path.exists() for path in begun), "both workers are busy")
        assert queued[-1].cancel()
        assert queued[0].cancel()  # the node had it already, and gave it back
        assert not running[0].cancel(0.1)
        gate.touch()
        with pytest.raises(TaskCancelled):
            queued[-1].result(DEADLINE_S)
        assert queued[1].result(DEADLINE_S) == 1
        assert all(future.result(DEADLINE_S) for future in running)


def test_higher_priority_runs_first(one_node: Cluster, tmp_path: Path) -> None:
    from paceline.client import NamedTask

    gate = tmp_path / "gate"
    with one_node.client() as client:
        blockers = [client.submit("sample_tasks.wait_for", str(gate)) for _ in range(2)]
        wait_until(lambda: client.status()["nodes"][0]["running"] == 2, "both workers are busy")
        done: list[int] = []
        futures = []
        for priority in [*[0] * 20, 9]:
            # of a name that no other test uses here: what is known to be short is given to a node by the dozen
            future = client.submit(NamedTask("sample_tasks.record_slowly", priority=priority), str(tmp_path), priority)
            future.add_done_callback(lambda future: done.append(future.result()))
            futures.append(future)
        futures[-1].accepted(DEADLINE_S)
        gate.touch()
        for future in [*blockers, *futures]:
            future.result(DEADLINE_S)
        wait_until(lambda: len(done) == len(futures), "every callback has run")
        assert done.index(9) <= 3  # behind what the node held already, ahead of all that waited at the leader


# --- bad input --------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_names_that_exist(one_node: Cluster) -> None:
    with one_node.client() as client, pytest.raises(UnknownTask, match=r"the nodes run: sample_tasks\.crash, "):
        client.submit("sample_tasks.sqare", 2).result(DEADLINE_S)


def test_an_argument_without_a_form_on_the_wire_is_refused_where_it_is_submitted(one_node: Cluster) -> None:
    with one_node.client() as client, pytest.raises(UnserializableValue, match="argument 1"):
        client.submit("sample_tasks.square", object())


def test_a_result_without_a_form_on_the_wire_fails_its_task(one_node: Cluster) -> None:
    with one_node.client() as client, pytest.raises(TaskFailed, match="object"):
        client.submit("sample_tasks.return_object").result(DEADLINE_S)


def test_payloads_over_the_limit_are_refused_on_both_ways(one_node: Cluster) -> None:
    with one_node.client() as client:
        with pytest.raises(PayloadTooLarge):
            client.submit("sample_tasks.square", bytes(17 << 20))
        with pytest.raises(TaskFailed, match="PayloadTooLarge"):
            client.submit("sample_tasks.return_bytes", 17 << 20).result(DEADLINE_S)
        assert len(client.submit("sample_tasks.return_bytes", 15 << 20).result(DEADLINE_S)) == 15 << 20


def test_a_secure_local_cluster_serves_its_own_clients_and_answers_nobody_without_its_keys() -> None:
    with Cluster.local(TASKS, nodes=3, workers=1, secure=True) as cluster:
        with cluster.client() as client:
            assert client.submit("sample_tasks.square", 7).result(DEADLINE_S) == 49
        assert [node.is_leader for node in cluster.nodes].count(True) == 1
        assert cluster.add_node(TASKS, workers=1).ready
        with pytest.raises(NoNodeFound), Client(*cluster.addresses, connect_timeout_s=1.0):
            pass


def test_no_node_is_a_named_error_within_the_deadline() -> None:
    with pytest.raises(NoNodeFound, match="paceline node"), Client("127.0.0.1:1", connect_timeout_s=0.3):
        pass


def show_token(socket: zmq.Socket[bytes], address: str) -> None:
    host, port = parse_address(address)
    show(socket, Credentials(token=read_token()), host, port)


def test_a_node_tells_a_client_of_another_version_apart(one_node: Cluster) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.linger = 0
        socket.rcvtimeo = int(DEADLINE_S * 1000)
        show_token(socket, one_node.nodes[0].address)
        socket.connect(f"tcp://{one_node.nodes[0].address}")
        socket.send(encode(Failure(Refusal.BAD_REQUEST, "from the future"), version=PROTOCOL_VERSION + 1))
        reply = socket.recv()
        assert reply[:2] == bytes([0x50, PROTOCOL_VERSION])
    finally:
        socket.close()
        context.term()


def test_a_client_of_another_version_raises_incompatible_version() -> None:
    context = zmq.Context()
    zap = open_zap(context)
    node = context.socket(zmq.ROUTER)
    node.linger = 0
    node.plain_server = 1
    port = node.bind_to_random_port("tcp://127.0.0.1")

    def answer() -> None:
        if zap.poll(int(DEADLINE_S * 1000)):
            let_in(zap)
        if node.poll(int(DEADLINE_S * 1000)):
            session, _hello = node.recv_multipart()
            node.send_multipart([session, encode(Failure(Refusal.BAD_REQUEST, ""), version=PROTOCOL_VERSION + 1)])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with pytest.raises(IncompatibleVersion, match="upgrade"), Client(f"127.0.0.1:{port}"):
            pass
    finally:
        thread.join(DEADLINE_S)
        node.close()
        zap.close()
        context.term()


def test_what_a_task_raised_is_in_the_log_if_nobody_waits_for_it_and_only_then(tmp_path: Path) -> None:
    with Cluster.local(TASKS, workers=1) as cluster:
        node = cluster.nodes[0]
        with cluster.client() as client:
            gate = client.submit("sample_tasks.wait_for", str(tmp_path / "gate"))
            behind = client.submit("sample_tasks.fail", "custom")
            gate.accepted(DEADLINE_S)
            behind.accepted(DEADLINE_S)
        (tmp_path / "gate").touch()
        wait_until(lambda: "no client waits for it" in node._log_path.read_text(), "the failure is in the log")
        told = node._log_path.read_text()
        assert "task sample_tasks.fail (" in told
        assert "ended with CustomError: of our own" in told
        assert 'raise ValueError("no such thing") if kind == "builtin" else CustomError("of our own")' in told
        with cluster.client() as client, pytest.raises(ValueError, match="no such thing"):
            client.submit("sample_tasks.fail", "builtin").result(DEADLINE_S)
        with cluster.client() as client:  # by whose answers the node has seen the other client leave
            client.submit("sample_tasks.square", 3).result(DEADLINE_S)
        assert "no such thing, and no client" not in node._log_path.read_text()


IN_A_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*IN_A_NAMESPACE, "true"], check=False).returncode != 0,
    reason="needs to make a namespace of processes",
)
def test_a_node_that_is_process_1_leaves_no_zombies_of_what_its_tasks_leave_behind() -> None:
    cluster = Cluster.local(TASKS, workers=1)
    cluster._command[:0] = IN_A_NAMESPACE
    with cluster, cluster.client() as client:
        client.submit("sample_tasks.leave_behind", 20).result(DEADLINE_S)
        wait_until(lambda: client.submit("sample_tasks.left_behind").result(DEADLINE_S) == 0, "nothing is left of them")
        with pytest.raises(TaskLost, match="exit code 7"):
            client.submit(NamedTask("sample_tasks.crash", max_attempts=1), 7).result(DEADLINE_S)
        assert client.submit("sample_tasks.square", 3).result(DEADLINE_S) == 9


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("--port", "0", "--workers", "1", "--journal", "memory", "--no-discovery")
    command = [sys.executable, "-m", "paceline", "node", *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_a_script_that_starts_a_cluster_of_its_own_tasks_unguarded_is_told_what_to_write(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from paceline import Cluster\n"
        "depth = int(os.environ.get('DEPTH', '0'))\n"
        "os.environ['DEPTH'] = str(depth + 1)\n"
        "assert depth < 2, 'a worker started a cluster'\n"
        "with Cluster.local(__file__):\n"
        "    pass\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 1
    assert "a worker started a cluster" not in ended.stderr
    assert f"line 6 of {script} uses Cluster.local() while a worker imports {script}" in ended.stderr
    assert 'if __name__ == "__main__":' in ended.stderr


def test_a_module_that_does_not_import_ends_the_node_with_its_traceback(tmp_path: Path) -> None:
    broken = tmp_path / "broken_tasks.py"
    broken.write_text("import nothing_of_this_name\n")
    ended = run_node(str(broken))
    assert ended.returncode == 42
    assert "nothing_of_this_name" in ended.stderr
    assert str(broken) in ended.stderr


def test_a_missing_module_ends_the_node() -> None:
    ended = run_node("no_module_of_this_name")
    assert ended.returncode == 42
    assert "no_module_of_this_name" in ended.stderr


def test_a_port_in_use_ends_the_node_with_the_remedy(one_node: Cluster) -> None:
    port = one_node.nodes[0].address.rsplit(":", 1)[1]
    ended = run_node(str(TASKS), "--port", port)
    assert ended.returncode == 41
    assert "--port" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_random_bytes_on_the_port_are_counted_and_harm_nobody(one_node: Cluster) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.linger = 0
        show_token(socket, one_node.nodes[0].address)
        socket.connect(f"tcp://{one_node.nodes[0].address}")
        for size in range(200):
            socket.send(bytes(size))
            socket.send_multipart([bytes(size), b"P", bytes(3)])
        with one_node.client() as client:
            assert client.submit("sample_tasks.square", 4).result(DEADLINE_S) == 16
    finally:
        socket.close()
        context.term()
