"""Which cluster a client takes that is given none, in a worker and elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from paceline.config import ClusterFile, new_cluster
from paceline.errors import ConfigError
from paceline.own_cluster import ClusterAddress, find_cluster, node_moved, worker_environment

DEFAULT = ClusterAddress(("127.0.0.1:7077",), None, discovers=True)


@pytest.fixture
def file(tmp_path: Path) -> ClusterFile:
    return written(tmp_path / "cluster.toml")


def written(path: Path) -> ClusterFile:
    path.touch(mode=0o600)
    path.write_text(new_cluster(3).dumps())
    return ClusterFile.load(path)


def test_without_anything_it_is_the_default_port_and_discovery() -> None:
    assert find_cluster((), None, {}) == DEFAULT


def test_a_worker_finds_its_own_cluster() -> None:
    inside = worker_environment("127.0.0.1:4000", None, {"HOME": "/root"})
    assert inside["HOME"] == "/root"
    assert find_cluster((), None, inside) == ClusterAddress(("127.0.0.1:4000",), None, discovers=False)


def test_a_worker_finds_the_keys_of_its_own_cluster(file: ClusterFile) -> None:
    inside = worker_environment("127.0.0.1:4000", file, {})
    assert find_cluster((), None, inside) == ClusterAddress(("127.0.0.1:4000",), file, discovers=False)
    assert file.keys.secret not in "".join(inside.values())


def test_arguments_and_the_environment_of_the_user_come_first(file: ClusterFile) -> None:
    inside = worker_environment("127.0.0.1:4000", file, {})
    assert find_cluster(("other:1",), None, inside) == ClusterAddress(("other:1",), None, discovers=False)
    connected = inside | {"PACELINE_CONNECT": "another:2"}
    assert find_cluster((), None, connected) == ClusterAddress(("another:2",), None, discovers=False)
    assert find_cluster(("other:1",), None, connected).addresses == ("other:1",)


def test_the_file_of_the_own_cluster_may_be_named_and_that_of_another_is_another(
    file: ClusterFile, tmp_path: Path
) -> None:
    inside = worker_environment("127.0.0.1:4000", file, {})
    own = ClusterAddress(("127.0.0.1:4000",), file, discovers=False)
    assert find_cluster((), None, inside | {"PACELINE_CLUSTER": str(file.path)}) == own
    assert find_cluster((), file, inside) == own
    other = written(tmp_path / "other.toml")
    assert find_cluster((), other, inside) == replace(DEFAULT, cluster=other)
    assert find_cluster((), None, inside | {"PACELINE_CLUSTER": str(other.path)}) == replace(DEFAULT, cluster=other)


def test_a_plain_cluster_is_not_looked_for_with_keys(file: ClusterFile) -> None:
    inside = worker_environment("127.0.0.1:4000", None, {})
    assert find_cluster((), file, inside) == replace(DEFAULT, cluster=file)


def test_a_node_that_runs_in_a_worker_tells_its_own_workers_of_itself_alone(file: ClusterFile) -> None:
    outer = worker_environment("127.0.0.1:4000", file, {})
    inner = worker_environment("127.0.0.1:5000", None, outer)
    assert find_cluster((), None, inner) == ClusterAddress(("127.0.0.1:5000",), None, discovers=False)
    never_read = replace(file, path=None)
    assert find_cluster((), None, worker_environment("127.0.0.1:6000", never_read, outer)) == DEFAULT


def test_a_relative_path_is_passed_on_as_an_absolute_one(file: ClusterFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.path is not None
    monkeypatch.chdir(file.path.parent)
    assert ClusterFile.load("cluster.toml").path == file.path


def test_a_file_that_is_gone_is_said_to_be(file: ClusterFile) -> None:
    inside = worker_environment("127.0.0.1:4000", file, {})
    assert file.path is not None
    file.path.unlink()
    with pytest.raises(ConfigError, match="can't read the cluster file"):
        find_cluster((), None, inside)


@pytest.mark.parametrize("inherited", ["cluster.toml", "/etc/another.toml"])
def test_the_file_of_the_node_counts_more_than_the_variable_that_it_was_started_with(
    file: ClusterFile, inherited: str
) -> None:
    inside = worker_environment("127.0.0.1:4000", file, {"PACELINE_CLUSTER": inherited})
    found = find_cluster((), None, inside)
    assert (found.addresses, found.cluster) == (("127.0.0.1:4000",), file)


def test_a_worker_whose_node_has_moved_finds_it_and_one_that_was_told_of_none_is_not(file: ClusterFile) -> None:
    environment = worker_environment("10.0.0.5:7077", file, {})
    node_moved("10.0.0.6:7077", environment)
    assert find_cluster((), None, environment).addresses == ("10.0.0.6:7077",)
    nowhere: dict[str, str] = {}
    node_moved("10.0.0.6:7077", nowhere)
    assert not nowhere
