"""Who may say what to real nodes: by their keys, by their user, and while keys are issued, revoked and replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import zmq

from integration.conftest import DEADLINE_S, TASKS, log_with, wait_until
from paceline import Client, Cluster, NamedTask
from paceline.cli.app import run
from paceline.cluster_file import ClientFile, ClusterFile, load_cluster
from paceline.config import LOOPBACK_HOST, parse_address
from paceline.errors import AccessRefused, ConfigError, NotAllowed, RequestRefused
from paceline.local.node_process import Node
from paceline.local.scratch import ScratchDirectory
from paceline.runtime.forbidden import ANYTHING, BATCH, MAY_SEND
from paceline.security import Credentials, KeyRole
from paceline.sockets import show
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages.client import (
    Admin,
    AdminOp,
    AdminReply,
    DeadChanges,
    DeadTaskReply,
    DeadTaskRequest,
    Discard,
    Failure,
    OutputReply,
    OutputRequest,
    Ping,
    Refusal,
    Requeue,
    StatusReply,
    StatusRequest,
)
from paceline_protocol.messages.live import RunNow, RunNowReply
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.messages.message import MESSAGES, Sender, sent_by
from paceline_protocol.messages.queues import AlterReply, AlterTasks, SetQueue, SetQueueReply
from paceline_protocol.messages.schedules import (
    BackfillReply,
    BackfillSchedule,
    ChangeSchedule,
    PutSchedule,
    ScheduleReply,
    TriggerSchedule,
)

SQUARE = "sample_tasks.square"
ISSUED = (KeyRole.CLIENT, KeyRole.OBSERVER)
REFUSED_ANSWERS: dict[type[Any], type[Any]] = {
    DeadTaskRequest: DeadTaskReply,
    Requeue: DeadChanges,
    Discard: DeadChanges,
    OutputRequest: OutputReply,
    RunNow: RunNowReply,
    SetQueue: SetQueueReply,
    AlterTasks: AlterReply,
    PutSchedule: ScheduleReply,
    ChangeSchedule: ScheduleReply,
    TriggerSchedule: ScheduleReply,
    BackfillSchedule: BackfillReply,
}
ANSWERS: dict[type[Any], type[Any]] = {Admin: AdminReply, **REFUSED_ANSWERS}
"""By what a message is answered that is not allowed, if not by a Failure."""


def least(hint: Any) -> Any:
    """The smallest value that a field of this type can have."""
    if get_origin(hint) is Annotated:
        bare, mark = get_args(hint)
        if isinstance(mark, str):
            return {"id": bytes(16), "name": "n", "queue-name": "q"}.get(mark, least(bare))
        return int(next(iter(mark)))
    return () if get_origin(hint) is tuple else hint()


def sample(cls: type[Any]) -> Any:
    hints = get_type_hints(cls, include_extras=True)
    return cls(*[least(hints[name]) for name in cls._fields])


class Peer:
    """A socket that says whatever it likes, with the keys of a file."""

    def __init__(self, address: str, credentials: Credentials) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        show(self.socket, credentials, *parse_address(address))
        self.socket.connect(f"tcp://{address}")

    def say(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def hear(self) -> Any:
        assert self.socket.poll(int(DEADLINE_S * 1000)), "no answer"
        return decode(self.socket.recv())

    def ask(self, message: Any) -> Any:
        self.say(encode(message))
        return self.hear()

    def close(self) -> None:
        self._context.destroy(linger=0)


def paceline_key(*arguments: object) -> None:
    assert run(["key", *map(str, arguments)]) == 0


def issue(cluster: Cluster, role: KeyRole, name: str, directory: Path) -> Path:
    """The file of a client that the nodes of the cluster have heard of."""
    file = directory / f"{name}.toml"
    paceline_key(role.value, name, "--cluster", cluster.cluster_file, "--out", file)
    with Client(*cluster.addresses, cluster=file, connect_timeout_s=DEADLINE_S) as client:
        client.status()
    return file


def forbidden_frames(node: Node) -> int:
    with urllib.request.urlopen(f"http://{node.metrics_address}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("paceline_frames_forbidden_total"))


@pytest.fixture
def secure_node() -> Iterator[Cluster]:
    with Cluster.local(TASKS, workers=1, secure=True, metrics=True) as cluster:
        yield cluster


def log_of(node: Node) -> str:
    return node._log_path.read_text()


# --- roles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ISSUED)
def test_whatever_a_role_may_not_say_is_dropped_counted_and_named_once_and_others_are_served(
    secure_node: Cluster, role: KeyRole, tmp_path: Path
) -> None:
    (node,) = secure_node.nodes
    file = load_cluster(issue(secure_node, role, "mallory", tmp_path))
    peer = Peer(node.address, file.credentials)
    forbidden = [cls for cls in MESSAGES if cls not in MAY_SEND[role]]
    assert len(forbidden) > len(MESSAGES) / 2
    try:
        with secure_node.client() as client:
            before = forbidden_frames(node)
            for cls in forbidden:
                for _ in range(2):
                    reply = peer.ask(sample(cls) if cls is not Admin else Admin(7, AdminOp.VOTERS, "1"))
                    assert isinstance(reply, ANSWERS.get(cls, Failure)), cls
                    assert not isinstance(reply, Failure) or reply.code == Refusal.FORBIDDEN
                    assert "mallory" in (reply.refused if cls in REFUSED_ANSWERS else reply.detail)
                assert client.submit(SQUARE, 3).result(DEADLINE_S) == 9
            batches = [cls for cls in MESSAGES if cls in sent_by(Sender.PEER) and cls is not Envelope]
            for cls in batches:
                peer.say(encode(Envelope("", "mallory", 1, node.id)), encode(sample(cls)))
            assert isinstance(peer.ask(StatusRequest(1)), StatusReply)
            assert forbidden_frames(node) == before + 2 * len(forbidden) + 2 * len(batches)
            assert client.submit(SQUARE, 4).result(DEADLINE_S) == 16
    finally:
        peer.close()
    who = f"the {role.value} 'mallory' sent "

    def said() -> Counter[str]:
        return Counter(line.split(who)[1].split(",")[0] for line in log_of(node).splitlines() if who in line)

    wanted = Counter(cls.__name__ for cls in forbidden) + Counter({BATCH: 2})  # the first batch, and the tenth
    wait_until(lambda: said() == wanted, lambda: f"it is said once of each: {said()}")


def test_what_a_role_may_say_is_answered(
    secure_node: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client_file = issue(secure_node, KeyRole.CLIENT, "shop", tmp_path)
    observer_file = issue(secure_node, KeyRole.OBSERVER, "grafana", tmp_path)
    with Client(*secure_node.addresses, cluster=client_file) as client:
        future = client.submit(SQUARE, 5)
        assert future.result(DEADLINE_S) == 25
        assert client.where_is(future)["state"]
        with pytest.raises(RequestRefused, match="need the cluster file of the nodes"):
            client.change_cluster(AdminOp.VOTERS, "1")
    with Client(*secure_node.addresses, cluster=observer_file) as observer:
        assert observer.status()["leader_id"]
        assert observer.where_is("0" * 32)["state"] == "unknown"
        with secure_node.client() as client:
            kept = client.submit(NamedTask(SQUARE, result_ttl=600), 9)
            assert kept.result(DEADLINE_S) == 81
        assert observer.record(kept.task_id).state == "succeeded"
        with pytest.raises(NotAllowed, match="an observer may only ask"):
            observer.task(kept.task_id).result(DEADLINE_S)
        shown = run(
            [
                "tasks",
                "show",
                kept.task_id.hex(),
                "--connect",
                secure_node.addresses[0],
                "--cluster",
                str(observer_file),
            ]
        )
        assert shown == 0, "what it may see is shown"
        assert "an observer may only ask" in capsys.readouterr().out
        with secure_node.client() as client:
            waits = client.submit(NamedTask(SQUARE, delay=600), 9)
            waits.accepted(DEADLINE_S)
            with pytest.raises(NotAllowed, match="may only ask"):
                observer.cancel_where("sample_tasks.*")
            assert client.where_is(waits)["state"] == "delayed"
        with pytest.raises(NotAllowed, match="may only ask; `paceline key client NAME`"):
            observer.submit(SQUARE, 5).result(DEADLINE_S)
        with pytest.raises(RequestRefused, match="may only ask"):
            observer.change_cluster(AdminOp.STEP_DOWN, secure_node.nodes[0].id)
        assert observer.status()["leader_id"]
    with secure_node.client() as operator:
        assert "1" in operator.change_cluster(AdminOp.VOTERS, "1")


def test_a_connection_that_names_itself_may_say_nothing(secure_node: Cluster) -> None:
    assert secure_node.cluster_file is not None
    address = secure_node.addresses[0]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, b"another's")
        show(socket, ClusterFile.load(secure_node.cluster_file).credentials, *parse_address(address))
        socket.connect(f"tcp://{address}")
        socket.send(encode(Ping(0)))
        assert socket.poll(int(DEADLINE_S * 1000))
        assert decode(socket.recv()).code == Refusal.KEY_REVOKED
    finally:
        context.destroy(linger=0)


# --- revoking ---------------------------------------------------------------------------------------------------


def test_a_revoked_key_has_no_rights_on_a_connection_that_stands_and_no_new_connection(
    secure_node: Cluster, tmp_path: Path
) -> None:
    (node,) = secure_node.nodes
    file = issue(secure_node, KeyRole.CLIENT, "shop", tmp_path)
    peer = Peer(node.address, load_cluster(file).credentials)
    try:
        with secure_node.client() as other, Client(node.address, cluster=file) as client:
            assert client.submit(SQUARE, 5).result(DEADLINE_S) == 25
            assert isinstance(peer.ask(StatusRequest(1)), StatusReply)
            paceline_key("revoke", "shop", "--cluster", secure_node.cluster_file)
            wait_until(lambda: isinstance(peer.ask(StatusRequest(2)), Failure), "the node has read its file")
            with pytest.raises((NotAllowed, AccessRefused), match=r"whose key was revoked|it was revoked"):
                client.submit(SQUARE, 6).result(DEADLINE_S)
            for cls in MESSAGES:
                reply = peer.ask(sample(cls))
                assert isinstance(reply, Failure)
                assert reply.code == Refusal.KEY_REVOKED
                assert other.submit(SQUARE, 3).result(DEADLINE_S) == 9
    finally:
        peer.close()
    log_with(node, f"the client 'shop', whose key was revoked, sent {ANYTHING}")
    with pytest.raises(AccessRefused, match=r"'shop' .*was revoked, or") as caught:
        Client(node.address, cluster=file, connect_timeout_s=1.0).connect()
    assert caught.value.waited_s < 10


# --- without a restart, in any order ----------------------------------------------------------------------------


class ThreeCopies:
    """Three nodes, each with a copy of the cluster file of its own, as three machines have."""

    def __init__(self, directory: Path, scratch: ScratchDirectory) -> None:
        self.original = directory / "cluster.toml"
        assert run(["init", "--nodes", "3"]) == 0
        self.nodes: list[Node] = []
        self.copies: list[Path] = []
        self._directory, self._scratch = directory, scratch

    def start(self, text: str) -> None:
        self.original.touch(0o600)
        self.original.write_text(text)
        for number in range(3):
            copy = self._directory / f"node{number}.toml"
            shutil.copy(self.original, copy)
            self.copies.append(copy)
            join = ["--join", self.nodes[0].address] if self.nodes else []
            command = [sys.executable, "-P", "-m", "paceline", "node", str(TASKS), "--workers", "1", "--port", "0"]
            command += ["--no-discovery", "--journal", "memory", "--metrics", "off", "--bind", LOOPBACK_HOST, *join]
            command += ["--log-level", "info", "--cluster", str(copy)]
            log = self._directory / f"node{number}.log"
            self.nodes.append(Node(command, log, None, ClusterFile.load(copy), self._scratch))
            self.nodes[-1].wait_announced("address", _deadline())
        for node in self.nodes:
            node.wait_announced("ready", _deadline())

    def copy_to(self, number: int) -> None:
        """As an operator does it; until the node has read it."""
        known = log_of(self.nodes[number]).count("has changed")
        shutil.copy(self.original, self.copies[number])
        wait_until(lambda: log_of(self.nodes[number]).count("has changed") > known, f"node {number} has read its file")

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(node.address for node in self.nodes)

    def stop(self) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.wait_stopped(_deadline(5))


def _deadline(seconds: float = DEADLINE_S) -> float:
    return time.monotonic() + seconds


class Working:
    """A client that submits one task after another until it is told to stop. ``done``: how many have ended well."""

    def __init__(self, addresses: tuple[str, ...], file: Path) -> None:
        self.done = 0
        self.error: BaseException | None = None
        self._client = Client(*addresses, cluster=file, connect_timeout_s=DEADLINE_S)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                assert self._client.submit(SQUARE, 7).result(DEADLINE_S) == 49
                self.done += 1
        except BaseException as error:  # noqa: BLE001 - it is raised where the test looks
            self.error = error

    def go_on(self, what: str) -> None:
        before = self.done
        wait_until(lambda: self.error is not None or self.done > before + 20, f"tasks end {what}")
        if self.error is not None:
            raise AssertionError(what) from self.error

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(DEADLINE_S)
        self._client.close(0)


@pytest.fixture
def three_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[ThreeCopies]:
    scratch = ScratchDirectory("paceline-keys-")
    three = ThreeCopies(tmp_path, scratch)
    try:
        three.start(capsys.readouterr().out)
        yield three
    finally:
        three.stop()
        scratch.remove()


def test_keys_are_issued_revoked_and_replaced_on_three_nodes_without_a_restart_while_a_client_works(
    three_copies: ThreeCopies, tmp_path: Path
) -> None:
    cluster, original = three_copies, three_copies.original
    shop, other = tmp_path / "shop.toml", tmp_path / "other.toml"
    for file, name in ((shop, "shop"), (other, "other")):
        paceline_key("client", name, "--cluster", original, "--out", file)
    for number in (2, 0, 1):
        cluster.copy_to(number)
    pids = [node.pid for node in cluster.nodes]
    first = ClusterFile.load(original).keys
    working = Working(cluster.addresses, shop)
    try:
        working.go_on("with a key that was issued")
        paceline_key("revoke", "other", "--cluster", original)
        for number in (0, 2, 1):
            cluster.copy_to(number)
            working.go_on(f"when another key is revoked at node {number}")
        with pytest.raises(AccessRefused):
            Client(*cluster.addresses, cluster=other, connect_timeout_s=1.0).connect()
        for step in ([], ["--use"], ["--finish"]):
            paceline_key("rotate", *step, "--cluster", original)
            for number in (1, 2, 0):
                cluster.copy_to(number)
                working.go_on(f"at rotate {step} of node {number}")
                # Whoever comes now finds every node, with the file of before this step and with that of after it.
                for file in (original, cluster.copies[0]):
                    with Client(*cluster.addresses, cluster=file, connect_timeout_s=DEADLINE_S) as client:
                        alive = [node["alive"] for node in client.status()["nodes"]]
                        assert len(alive) == 3
            if not step:
                paceline_key("update", shop, "--cluster", original)
                file_now = load_cluster(shop)
                assert isinstance(file_now, ClientFile)
                assert len(file_now.server_keys) == 2
        working.go_on("once all is done")
        wait_until(
            lambda: all(not node["silent_s"] and node["alive"] for node in _status(cluster)["nodes"]),
            "the leader hears everybody with the new pair",
        )
    finally:
        working.stop()
    assert [node.pid for node in cluster.nodes if node.alive] == pids
    changed = ClusterFile.load(original)
    assert changed.keys.public != first.public
    old = Peer(cluster.addresses[0], Credentials(first, (changed.keys.public,)))
    try:
        old.say(encode(StatusRequest(1)))
        assert not old.socket.poll(500), "the pair of before is nobody's any more"
    finally:
        old.close()


def _status(cluster: ThreeCopies) -> dict[str, Any]:
    with Client(*cluster.addresses, cluster=cluster.original) as client:
        return client.status()


def test_a_cluster_file_that_is_nonsense_changes_nothing_and_is_said_once(secure_node: Cluster, tmp_path: Path) -> None:
    (node,) = secure_node.nodes
    path = secure_node.cluster_file
    assert path is not None
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    wait_until(lambda: "goes on with the keys it has" in log_of(node), "it is said")
    path.unlink()
    wait_until(lambda: log_of(node).count("goes on with the keys it has") == 2, "that it is gone is said too")
    with secure_node.client() as client:
        assert client.submit(SQUARE, 6).result(DEADLINE_S) == 36
    path.touch(0o600)
    path.write_text(text)
    assert issue(secure_node, KeyRole.CLIENT, "later", tmp_path).exists()
    assert log_of(node).count("goes on with the keys it has") == 2


# --- without a cluster file -------------------------------------------------------------------------------------

_AS_NOBODY = """
import os, sys
from paceline import Client
from paceline.errors import AccessRefused
with Client(sys.argv[1]) as client:  # as the user of the node; and then all modules are there, whoever may read them
    print(client.submit("sample_tasks.square", 3).result(10))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.environ["HOME"] = sys.argv[2]
os.environ.pop("XDG_STATE_HOME", None)
try:
    Client(sys.argv[1], connect_timeout_s=1.0).connect()
except AccessRefused as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_is_refused_where_there_is_no_cluster_file(
    one_node: Cluster,
) -> None:
    home = Path("/tmp") / f"paceline-nobody-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, one_node.addresses[0], str(home)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    assert ended.stdout.startswith("9\n"), ended.stderr
    assert "serves its own user alone" in ended.stdout, ended.stderr
    assert "give both a cluster file" in ended.stdout
    with one_node.client() as client:
        assert client.submit(SQUARE, 8).result(DEADLINE_S) == 64


def test_a_home_directory_of_its_own_is_another_user_and_that_is_said(
    one_node: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(AccessRefused, match=r"another home directory .*give both a cluster file"):
        Client(one_node.addresses[0], connect_timeout_s=1.0).connect()


def test_who_can_keep_no_token_is_refused_with_the_reason_and_one_that_others_can_read_is_refused_at_once(
    one_node: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(AccessRefused, match=r"can't keep the token of this user in .*Not a directory.*cluster file"):
        Client(one_node.addresses[0], connect_timeout_s=1.0).connect()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "paceline").mkdir()
    (tmp_path / "paceline" / "token").write_text("00" * 32)
    (tmp_path / "paceline" / "token").chmod(0o644)
    with pytest.raises(ConfigError, match="could be read by other users"):
        Client(one_node.addresses[0])


def test_an_open_node_serves_whoever_comes_whatever_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster.local(TASKS, workers=1)
    cluster._command += ["--insecure"]
    (tmp_path / "file").touch()
    with cluster:
        for home in (tmp_path, tmp_path / "file"):
            monkeypatch.setenv("XDG_STATE_HOME", str(home))
            with cluster.client() as client:
                assert client.submit(SQUARE, 9).result(DEADLINE_S) == 81
