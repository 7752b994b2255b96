"""`paceline key`: what it writes, what it refuses, and that no file of a client has the nodes' secret."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from pathlib import Path

import pytest

from paceline.cli.app import run
from paceline.cli.logs import configure
from paceline.cluster_file import ClientFile, ClusterFile, load_cluster, new_cluster
from paceline.key_changes import issue, locked, overwrite
from paceline.security import KeyRole


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a cluster file, which the environment names."""
    path = tmp_path / "cluster.toml"
    path.touch(0o600)
    path.write_text(new_cluster(3, "farm").dumps())
    monkeypatch.setenv("PACELINE_CLUSTER", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def client_file(path: Path) -> ClientFile:
    file = load_cluster(path)
    assert isinstance(file, ClientFile)
    return file


@pytest.mark.parametrize("role", ["client", "observer"])
def test_a_key_is_issued_into_a_file_of_its_own_and_the_nodes_secret_stays(
    cluster: Path, role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = ClusterFile.load(cluster).keys.secret
    assert run(["key", role, "shop"]) == 0
    assert f"shop.toml: the {role} shop" in capsys.readouterr().out
    written = tmp_path / "shop.toml"
    file = client_file(written)
    assert written.stat().st_mode & 0o777 == cluster.stat().st_mode & 0o777 == 0o600
    assert secret not in written.read_text()
    after = ClusterFile.load(cluster)
    assert after.keys.secret == secret
    assert file.keys.secret not in cluster.read_text()
    assert [(key.name, key.role.value, key.public) for key in after.issued] == [("shop", role, file.keys.public)]
    assert file.server_keys == (after.keys.public,)


def test_keys_are_listed_and_revoked(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["key", "list"]) == 0
    assert "no key was issued" in capsys.readouterr().out
    run(["key", "client", "shop"])
    run(["key", "observer", "grafana"])
    capsys.readouterr()
    assert run(["key", "list"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["client", "shop"],
        ["observer", "grafana"],
    ]
    assert run(["key", "revoke", "shop"]) == 0
    capsys.readouterr()
    assert run(["key", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["keys"]] == ["grafana"]
    assert run(["key", "revoke", "shop"]) == 40
    assert "there is no key 'shop'; there are: grafana" in capsys.readouterr().err


def test_what_would_lose_or_confuse_a_key_is_refused_and_changes_nothing(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["key", "client", "shop"])
    before = cluster.read_text()
    for arguments, why in (
        (["client", "shop", "--out", "other.toml"], "there is a key 'shop' already"),
        (["client", "kiosk", "--out", "shop.toml"], "can't write shop.toml: File exists"),
        (["client", "a b"], "client is 'a b'; allowed are"),
        (["client", "kiosk", "--cluster", "shop.toml"], "is the file of the client 'shop'"),
        (["update", "cluster.toml"], "is no file of a client of the cluster 'farm'"),
        (["rotate", "--use"], "no coming pair is known"),
        (["rotate", "--finish"], "no previous pair is there"),
    ):
        assert run(["key", *arguments]) == 40
        assert why in capsys.readouterr().err
    assert cluster.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.toml", "shop.toml"]


def test_the_pair_of_the_nodes_is_replaced_in_three_steps_none_of_which_can_be_left_out(cluster: Path) -> None:
    run(["key", "client", "shop"])
    old = ClusterFile.load(cluster)
    assert run(["key", "rotate"]) == 0
    known = ClusterFile.load(cluster)
    assert known.keys == old.keys
    assert known.next_keys is not None
    assert run(["key", "rotate"]) == run(["key", "rotate", "--finish"]) == 40
    assert run(["key", "update", "shop.toml"]) == 0
    assert client_file(Path("shop.toml")).server_keys == (old.keys.public, known.next_keys.public)
    assert run(["key", "rotate", "--use"]) == 0
    used = ClusterFile.load(cluster)
    assert (used.keys, used.next_keys, used.previous_key) == (known.next_keys, None, old.keys.public)
    assert old.keys.secret not in cluster.read_text()
    assert run(["key", "rotate"]) == run(["key", "rotate", "--use"]) == 40
    assert run(["key", "rotate", "--finish"]) == 0
    done = ClusterFile.load(cluster)
    assert done.node_keys.servers == (known.next_keys.public,)
    assert done.issued == old.issued


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 2), (2, 3)])
def test_in_each_step_nodes_before_it_and_after_it_reach_each_other(cluster: Path, before: int, after: int) -> None:
    steps = [ClusterFile.load(cluster)]
    for step in ([], ["--use"], ["--finish"]):
        assert run(["key", "rotate", *step]) == 0
        steps.append(ClusterFile.load(cluster))
    one, two = steps[before].node_keys, steps[after].node_keys
    for source, destination in ((one, two), (two, one)):
        assert destination.own.public in source.servers, "what it serves with is expected there"
        assert source.own.public in destination.standings(), "what it shows is a node's"


def test_two_commands_at_a_time_lose_nothing_of_each_other(cluster: Path) -> None:
    def add(name: str) -> None:
        with locked(cluster) as found:
            overwrite(cluster, issue(found, name, KeyRole.CLIENT)[0].dumps())

    threads = [threading.Thread(target=add, args=[f"client{number}"]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in ClusterFile.load(cluster).issued) == [f"client{number}" for number in range(8)]


def test_a_node_does_not_start_with_the_file_of_a_client(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["key", "client", "shop"])
    assert run(["node", "--workers", "0", "--cluster", "shop.toml"]) == 40
    assert "give the file of the nodes" in capsys.readouterr().err


def test_each_file_is_updated_by_itself_and_one_that_is_of_no_use_is_said(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two", "three"):
        run(["key", "client", name])
    run(["key", "revoke", "two"])
    run(["key", "rotate"])
    capsys.readouterr()
    assert run(["key", "update", "one.toml", "nowhere.toml", "cluster.toml", "two.toml", "three.toml"]) == 40
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "one.toml knows the nodes by 2 key(s)",
        "two.toml knows the nodes, and is of no use: the key of 'two' was revoked, or issued with another cluster "
        "file; see `paceline key list`",
        "three.toml knows the nodes by 2 key(s)",
    ]
    assert [line.split(";")[0] for line in shown.err.splitlines()] == [
        "paceline: error: can't read the cluster file nowhere.toml: No such file or directory",
        "paceline: error: cluster.toml is no file of a client of the cluster 'farm'",
    ]
    assert len(client_file(Path("three.toml")).server_keys) == 2


def test_a_lock_that_another_process_keeps_is_waited_for_and_then_named(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["key", "client", "shop"])
    monkeypatch.setattr("paceline.key_changes.LOCK_WAIT_S", 0.0)
    with cluster.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(["key", "revoke", "shop"]) == 40
        assert f"another process has had {cluster} locked" in capsys.readouterr().err
    assert run(["key", "revoke", "shop"]) == 0


def test_a_warning_of_the_file_is_said_once(
    cluster: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("paceline")  # is as it was for the tests that follow
    for name, value in (("handlers", []), ("level", logger.level), ("propagate", logger.propagate)):
        monkeypatch.setattr(logger, name, value)
    run(["key", "client", "shop"])
    configure("text", "warning")
    cluster.chmod(0o644)
    assert run(["key", "revoke", "shop"]) == 0
    assert capsys.readouterr().err.count("other users can read it") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["client", "shop", "--out", ""], 2, "it is empty; name a file, or leave the option out"),
        (["list", "--cluster", " "], 2, "it is empty; name a file"),
        (["rotate", "--use", "--finish"], 2, "--use and --finish are two steps"),
        (["client", "shop", "--cluster", "folder"], 40, "can't read the cluster file folder: it is a directory"),
        (["revoke", "shop", "--cluster", "pipe"], 40, "can't read the cluster file pipe: it is a named pipe"),
    ],
)
def test_what_can_not_be_done_is_said_by_name(
    cluster: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, why: str
) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    assert run(["key", *arguments]) == code
    assert why in capsys.readouterr().err


def test_a_tilde_in_a_path_is_the_home_directory(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["key", "client", "shop", "--cluster", "~/cluster.toml", "--out", "~/of-shop.toml"]) == 0
    assert client_file(tmp_path / "of-shop.toml").client == "shop"
    monkeypatch.setenv("PACELINE_CLUSTER", " ")
    assert run(["key", "list"]) == 2  # nothing is set
