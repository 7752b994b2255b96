"""Every setting: what is taken, and what the refusal of everything else says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.config import (
    DEFAULT_PORT,
    ClusterFile,
    NodeConfig,
    addresses_from_environment,
    cluster_path_from_environment,
    format_address,
    is_loopback,
    new_cluster,
    parse_address,
)
from paceline.errors import ConfigError
from paceline.key_changes import drop_previous, issue, make_next_known, use_next
from paceline.runtime.journal import data_directory
from paceline.security import KeyRole, generate_keys

# --- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("node1", ("node1", DEFAULT_PORT)),
        ("node1:80", ("node1", 80)),
        (" 10.0.0.1:7078 ", ("10.0.0.1", 7078)),
        ("_node.example.com.:1", ("_node.example.com.", 1)),
        ("[::1]", ("::1", DEFAULT_PORT)),
        ("[fe80::1]:65535", ("fe80::1", 65535)),
    ],
)
def test_an_address_is_a_host_and_perhaps_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(format_address(*address)) == address


@pytest.mark.parametrize(
    "text",
    ["", ":80", "host:", "host:0", "host:65536", "host:-1", "host:1.5", "host:٣", "host:80:90"]  # noqa: RUF005
    + ["::1", "[::1", "[::1]80", "[node]:80", "[]:80", "tcp://host:80", "ho st", "host/path", "-host"],
)
def test_what_is_not_an_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="node1:7077"):
        parse_address(text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        host, port = parse_address(text)
    except ConfigError:
        return
    assert host
    assert 1 <= port <= 65535
    assert parse_address(format_address(host, port)) == (host, port)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert all(map(is_loopback, ["LOCALHOST", "localhost.", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"]))
    assert not any(map(is_loopback, ["::ffff:10.0.0.1", "localhost.example", "", "a b"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "*", "10.0.0.1", "node1"]))


# --- environment ------------------------------------------------------------------------------------------------


def homeless(path: Path) -> Path:
    """As in a container without HOME whose user has no entry."""
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_directory_the_node_says_where_its_data_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory.platformdirs, "user_state_path", homeless)
    with pytest.raises(ConfigError, match="say which with --data-dir, set HOME, or write nothing"):
        data_directory.default_directory("", 7077)


def test_the_environment_names_nodes_and_the_cluster_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses_from_environment({}) == ()
    assert addresses_from_environment({"PACELINE_CONNECT": "node1, node2:80,,"}) == ("node1:7077", "node2:80")
    for text in ("a:7077 b:7077", "a, b", " a\t,b:7077, "):
        assert addresses_from_environment({"PACELINE_CONNECT": text}) == ("a:7077", "b:7077")
    assert cluster_path_from_environment({}) is None
    assert cluster_path_from_environment({"PACELINE_CLUSTER": " "}) is None
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(ConfigError, match=r"PACELINE_CLUSTER: '~/c\.toml': the home directory that '~' stands"):
        cluster_path_from_environment({"PACELINE_CLUSTER": "~/c.toml"})
    monkeypatch.undo()
    assert cluster_path_from_environment({"PACELINE_CLUSTER": "/etc/c.toml"}) == Path("/etc/c.toml")


def test_a_wrong_address_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="PACELINE_CONNECT"):
        addresses_from_environment({"PACELINE_CONNECT": "node1,:"})


# --- the cluster file -------------------------------------------------------------------------------------------


def write(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "cluster.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_is_written_is_what_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):  # the keys are random: every character of Z85 comes up
        cluster = new_cluster(3)
        assert ClusterFile.load(write(tmp_path, cluster.dumps())) == cluster
    assert caplog.records == []


def test_a_new_cluster_expects_every_node_and_has_a_name_of_its_own() -> None:
    one, two = new_cluster(3), new_cluster(3)
    assert one.expect == 3
    assert one.name.startswith("paceline-")
    assert one.name != two.name
    assert new_cluster(1, "render-farm").name == "render-farm"


@pytest.mark.parametrize(
    ("nodes", "name"), [(0, None), (-1, None), (1001, None), (3, "two words"), (3, 'x"y'), (3, ".x"), (3, "")]
)
def test_a_cluster_that_makes_no_sense_is_not_made(nodes: int, name: str | None) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        new_cluster(nodes, name)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = write(tmp_path, new_cluster(1).dumps(), mode)
    ClusterFile.load(path)
    [record] = caplog.records
    assert f"chmod 600 {path}" in record.getMessage()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("expect = 3", "", "the key 'expect' is missing"),
        ("expect = 3", "expect = 0", "expect is 0; allowed is a number of nodes from 1 to 1000"),
        ("expect = 3", "expect = true", "expect is True; allowed"),
        ("expect = 3", 'expect = "3"', "expect must be a whole number"),
        ("expect = 3", "expect = 3\nexpects = 3", "unknown key 'expects'; allowed are name, expect"),
        ("expect = 3", "expect = ", "is not a cluster file"),
        ('name = "farm"', "name = 7", "name must be a string"),
        ('name = "farm"', 'name = ""', "name is ''; allowed are"),
        ('public_key = "', 'public_key = "x', "the public key must be 40 characters"),
        ('secret_key = "', 'secret_key = 7 # "', "must be strings"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = new_cluster(3, "farm").dumps()
    assert old in text
    path = write(tmp_path, text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        ClusterFile.load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def whole_files() -> list[ClusterFile]:
    """One of each step of a rotation, with keys of clients and without."""
    plain = replace(new_cluster(3, "farm"), addresses=("node1:7077",))
    known = make_next_known(plain)
    keyed = issue(issue(known, "shop", KeyRole.CLIENT)[0], "grafana", KeyRole.OBSERVER)[0]
    return [plain, known, keyed, use_next(keyed), drop_previous(use_next(keyed)), use_next(known)]


@pytest.mark.parametrize("cluster", whole_files(), ids=range(6))
def test_a_file_that_is_being_copied_is_refused_until_it_is_whole(tmp_path: Path, cluster: ClusterFile) -> None:
    text = cluster.dumps()
    assert ClusterFile.load(write(tmp_path, text)) == cluster
    for size in range(len(text.rstrip())):
        with pytest.raises(ConfigError):
            ClusterFile.load(write(tmp_path, text[:size]))


def test_keys_of_two_pairs_are_refused() -> None:
    one, two = generate_keys(), generate_keys()
    with pytest.raises(ConfigError, match="does not belong"):
        ClusterFile("farm", 3, replace(one, public=two.public)).validate()


def test_no_refusal_shows_the_secret(tmp_path: Path) -> None:
    cluster = new_cluster(3)
    path = write(tmp_path, cluster.dumps().replace("public_key", "public_kay"))
    with pytest.raises(ConfigError) as caught:
        ClusterFile.load(path)
    assert cluster.keys.secret not in str(caught.value)
    assert cluster.keys.secret not in repr(cluster)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read the cluster file .*No such file.*paceline init"):
        ClusterFile.load(tmp_path / "absent.toml")
    path = write(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a cluster file"):
        ClusterFile.load(path)


# --- a node -----------------------------------------------------------------------------------------------------


def config(**settings: Any) -> NodeConfig:
    made = NodeConfig(**{"modules": ("tasks",), **settings})
    made.validate()
    return made


@pytest.mark.parametrize("host", ["LOCALHOST", "localhost.", "::ffff:127.0.0.1"])
def test_loopback_is_open_to_nobody_else_in_whatever_spelling(host: str) -> None:
    config(bind_host=host)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("224.0.0.1", "is a multicast address"),
        ("ff02::1", "is a multicast address"),
        ("::ffff:224.0.0.1", "224.0.0.1 is a multicast address"),
        ("255.255.255.255", "is the broadcast address"),
    ],
)
def test_an_address_that_no_machine_has_is_refused_by_name(host: str, why: str) -> None:
    for option, settings in (
        ("--bind", {"bind_host": host}),
        ("--advertise", {"advertise_host": host}),
        ("--join", {"join": (format_address(host, 7077),)}),
        ("--metrics", {"metrics": format_address(host, 9077)}),
        ("--metrics", {"metrics": format_address(host, 0)}),
    ):
        with pytest.raises(ConfigError, match=f"{option} .*{why}"):
            config(insecure=True, **settings)


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]:7078"])
def test_a_node_does_not_join_every_interface(address: str) -> None:
    with pytest.raises(ConfigError, match=r"--join .* is no machine, but every interface of one"):
        config(join=(address,))


def test_a_node_without_a_cluster_file_is_a_cluster_of_one_on_loopback() -> None:
    alone = config()
    assert alone.effective_bind_host == "127.0.0.1"
    assert alone.effective_expect == 1
    assert alone.workers >= 1
    assert alone.keys is None
    assert alone.cluster_name == ""


def test_a_cluster_file_opens_every_interface_and_says_how_many_to_expect() -> None:
    cluster = new_cluster(3)
    node = config(cluster=cluster)
    assert node.effective_bind_host == "*", "by IPv4 and IPv6"
    assert node.effective_expect == 3
    assert node.keys == cluster.keys
    assert node.cluster_name == cluster.name
    assert config(cluster=cluster, join=("node1",)).effective_expect == 3
    assert config(cluster=cluster, bind_host="127.0.0.1", expect=2).effective_expect == 2


def test_a_node_that_joins_without_a_cluster_file_never_forms_a_cluster() -> None:
    assert config(join=("127.0.0.1:7078",)).effective_expect == 0
    assert config(join=("127.0.0.1:7078",), expect=3).effective_expect == 3


def test_a_node_opens_the_network_only_with_keys_or_on_demand() -> None:
    for host in ("0.0.0.0", "*", "::", "10.0.0.1", "node1"):
        with pytest.raises(ConfigError, match=r"paceline init.*--cluster.*--insecure"):
            config(bind_host=host)
        config(bind_host=host, insecure=True)
        config(bind_host=host, cluster=new_cluster(1))
    for host in ("127.0.0.1", "localhost", "::1"):
        config(bind_host=host)


def test_the_limits_themselves_are_allowed() -> None:
    config(payload_limit_bytes=62 << 20, queue_limit_bytes=62 << 20)
    config(payload_limit_bytes=1 << 20, queue_limit_bytes=1 << 20)


def test_a_node_without_workers_needs_no_modules() -> None:
    config(modules=(), workers=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modules": ()}, "no module is named"),
        ({"modules": ("tasks", "")}, "'' is not a module"),
        ({"workers": -1}, "--workers is -1; allowed is a whole number from 0"),
        ({"workers": True}, "--workers is True"),
        ({"port": 65536}, "--port is 65536; allowed is a whole number from 0 to 65535"),
        ({"bind_host": ""}, "--bind '' is not a host"),
        ({"bind_host": "127.0.0.1:80"}, "--bind '127.0.0.1:80'"),
        ({"advertise_host": "0.0.0.0"}, "--advertise '0.0.0.0'"),
        ({"advertise_host": "0:0::0"}, "--advertise '0:0::0'"),
        ({"advertise_host": "x" * 255}, "--advertise 'xxx"),
        ({"advertise_host": "10.0.0.256"}, "four numbers up to 255"),
        ({"join": ("node1:65536",)}, "--join: 'node1:65536' is not an address"),
        ({"advertise_host": "node1:80"}, "--advertise 'node1:80'"),
        ({"join": ("node1", "node2:x")}, "--join: 'node2:x' is not an address"),
        ({"expect": -1}, "--expect is -1"),
        ({"expect": 0, "discovery": False}, "say with --join which"),
        ({"voters": 2}, "--voters is 2; allowed are 1, 3, 5"),
        ({"journal": "paper"}, "--journal is 'paper'; allowed are fsync, os, memory"),
        ({"journal": "memory", "data_dir": Path("data")}, "--journal memory writes nothing"),
        ({"journal": "os", "port": 0}, "--port 0 is another one at each start"),
        ({"payload_limit_bytes": 0}, "--payload-limit is 0 MiB; allowed is a whole number of MiB from 1 to 62"),
        ({"payload_limit_bytes": 63 << 20}, "--payload-limit is 63 MiB; allowed is a whole number of MiB from 1 to 62"),
        ({"queue_limit_tasks": 0}, "--queue-limit is 0; allowed"),
        ({"queue_limit_bytes": -1 << 20}, "--queue-limit-mib is -1 MiB; allowed is a whole number of MiB from 1 to"),
        (
            {"queue_limit_bytes": 1 << 20},
            "--queue-limit-mib is 1 MiB, less than the --payload-limit of 16 MiB for the arguments of one task; raise "
            "the one or lower the other",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert message in str(caught.value)


def test_insecure_and_a_cluster_file_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="can't be combined"):
        config(cluster=new_cluster(1), insecure=True)


def test_a_cluster_file_may_begin_with_a_byte_order_mark_and_its_path_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = new_cluster(3)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cluster.toml").write_text(cluster.dumps(), encoding="utf-8-sig")
    (tmp_path / "cluster.toml").chmod(0o600)
    loaded = ClusterFile.load("~/cluster.toml")
    assert loaded == cluster
    assert loaded.path == tmp_path / "cluster.toml"
    with pytest.raises(ConfigError, match=r"'~nobody-of-that-name/cluster\.toml': the home directory"):
        ClusterFile.load("~nobody-of-that-name/cluster.toml")
    with pytest.raises(ConfigError, match="PACELINE_CLUSTER: '~nobody-of-that-name/c'"):
        cluster_path_from_environment({"PACELINE_CLUSTER": "~nobody-of-that-name/c"})


@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%eth0"])
def test_an_address_of_one_link_is_announced_to_nobody(host: str) -> None:
    with pytest.raises(ConfigError, match="is an address of one link"):
        config(advertise_host=host).validate()
    config(advertise_host="fd00::1").validate()
    with pytest.raises(ConfigError, match="is an address of one link"):
        config(bind_host=host, insecure=True).validate()
    config(bind_host=host, insecure=True, advertise_host="fd00::1").validate()


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"worker_max_tasks": 0}, "--worker-max-tasks is 0; allowed is a whole number from 1"),
        ({"worker_max_age_s": 0.5}, "--worker-max-age is 0.5; allowed is a number of seconds from 1"),
        ({"worker_max_age_s": float("nan")}, "--worker-max-age is nan"),
        ({"worker_max_rss_bytes": 0}, "--worker-max-rss-mib is 0 MiB"),
        ({"worker_memory_limit_bytes": 0}, "--worker-memory-limit-mib is 0 MiB"),
        (
            {"worker_max_rss_bytes": 5 << 20, "worker_memory_limit_bytes": 5 << 20},
            "--worker-memory-limit-mib is 5 MiB, not more than --worker-max-rss-mib, which is 5",
        ),
    ],
)
def test_a_lifetime_of_workers_that_is_none_is_refused(values: dict[str, Any], refused: str) -> None:
    with pytest.raises(ConfigError, match=refused):
        NodeConfig(modules=("tasks",), **values).validate()


@pytest.mark.parametrize(
    ("setting", "option"),
    [("worker_max_rss_bytes", "--worker-max-rss-mib"), ("worker_memory_limit_bytes", "--worker-memory-limit-mib")],
)
def test_a_limit_of_memory_is_refused_where_nobody_tells_how_much_a_worker_has(
    monkeypatch: pytest.MonkeyPatch, setting: str, option: str
) -> None:
    with_limit = NodeConfig(modules=("tasks",), **{setting: 5 << 20})
    with_limit.validate()
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigError, match=f"{option} needs Linux"):
        with_limit.validate()
