"""How nodes find and reach each other on machines whose networks are odd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hosts.machines import PORT, Machines, add_interface, files_of_etc
from hosts.network import Host, ip
from integration.conftest import wait_until

NAMES = ("one", "two", "three")


@pytest.fixture
def machines(namespaces: None, tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path, *NAMES) as machines:
        yield machines


def started(machines: Machines, *options: str) -> None:
    for name in NAMES:
        machines.start(name, *options)
    machines.wait_together()


def lan(machines: Machines) -> dict[str, str]:
    return {name: f"{machines.hosts[name].address}:{PORT}" for name in NAMES}


def wait_addresses(machines: Machines, name: str, expected: dict[str, str]) -> None:
    wait_until(
        lambda: machines.addresses(name) == expected,
        lambda: f"{name} says that all are at {expected}: {machines.addresses(name)}",
    )


def test_the_same_nat_address_and_the_same_bridge_on_every_machine_keep_nobody_apart(
    machines: Machines, tmp_path: Path
) -> None:
    for host in machines.hosts:
        ip("-n", host.namespace, "link", "set", "eth0", "down")
        add_interface(host, "docker0", "172.17.0.1/16")
        add_interface(host, "nat0", "10.0.2.15/24")
        ip("-n", host.namespace, "link", "set", "eth0", "up")  # listed behind the others
        ip("-n", host.namespace, "route", "replace", "default", "via", "10.0.2.2", "dev", "nat0")
    started(machines)
    for name in NAMES:
        wait_addresses(machines, name, lan(machines))
    done = machines.command("two", "submit", "host_tasks.note", str(tmp_path / "runs"), "7", "--wait")
    assert done.stdout.strip() == "49", done.stderr


def take_network(host: Host) -> None:
    ip("-n", host.namespace, "link", "set", "eth0", "down")
    ip("-n", host.namespace, "address", "flush", "dev", "eth0")


def start_before_the_network(machines: Machines) -> None:
    """Start all nodes, give their machines addresses, and wait until they are one cluster."""
    for name in NAMES:
        machines.start(name)
    for host in machines.hosts:
        ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        ip("-n", host.namespace, "link", "set", "eth0", "up")
    machines.wait_together()


def test_nodes_that_are_started_before_their_network_are_together_once_it_is_there(machines: Machines) -> None:
    for host in machines.hosts:
        take_network(host)
    start_before_the_network(machines)
    wait_addresses(machines, "one", lan(machines))
    for name in NAMES:  # the power fails, and DHCP is late
        host = machines.hosts[name]
        machines.nodes[name].kill()
        take_network(host)
    start_before_the_network(machines)


def test_an_address_that_changes_is_noticed_and_told(machines: Machines) -> None:
    started(machines)
    host = machines.hosts["two"]
    ip("-n", host.namespace, "address", "delete", f"{host.address}/24", "dev", "eth0")
    ip("-n", host.namespace, "address", "add", "10.77.7.42/24", "dev", "eth0")
    expected = lan(machines) | {"two": f"10.77.7.42:{PORT}"}
    for name in NAMES:
        wait_addresses(machines, name, expected)
    machines.wait_together()
    assert f"this node is at 10.77.7.42:{PORT} now, and was at {host.address}:{PORT}" in machines.log("two")


def test_a_node_that_is_bound_to_an_interface_listens_at_the_address_that_it_gets(machines: Machines) -> None:
    for name in NAMES:
        machines.start(name, *(["--bind", "eth0"] if name == "two" else []))

    def voters() -> set[str]:
        body = machines.status("one")
        rows = [] if body is None else body["nodes"]
        return {row["address"] for row in rows if row["alive"] and row["role"] in ("leader", "voter")}

    wait_until(lambda: voters() == set(lan(machines).values()), lambda: f"{voters()}")
    host = machines.hosts["two"]
    ip("-n", host.namespace, "address", "delete", f"{host.address}/24", "dev", "eth0")
    ip("-n", host.namespace, "address", "add", "10.77.7.42/24", "dev", "eth0")
    moved = lan(machines) | {"two": f"10.77.7.42:{PORT}"}
    wait_until(lambda: voters() == set(moved.values()), lambda: f"{voters()}: {machines.log('two')}")
    done = machines.command("three", "status", "--connect", moved["two"])
    assert done.returncode == 0, done.stderr
    assert f"has lost the address {host.address}; this node listens at its address 10.77.7.42 now" in machines.log(
        "two"
    )


def test_a_firewall_that_passes_multicast_and_not_the_port_is_named(machines: Machines) -> None:
    for host in machines.hosts:  # SYNs to the port wait for an answer of nobody
        ip(
            "-n",
            host.namespace,
            "rule",
            "add",
            "ipproto",
            "tcp",
            "dport",
            str(PORT),
            "to",
            "10.77.7.0/24",
            "table",
            "9",
        )
        ip("-n", host.namespace, "route", "add", "default", "via", "10.77.7.99", "dev", "eth0", "table", "9")
    for name in NAMES:
        machines.start(name)

    def said() -> list[str]:
        body = machines.status("one")
        return [] if body is None else body["found"]

    wait_until(lambda: len([line for line in said() if "not connected" in line]) == 2, lambda: f"{said()}")
    text = "\n".join(said())
    assert f"does a firewall drop port {PORT} there?" in text
    assert machines.hosts["two"].address in text
    assert f"does a firewall drop port {PORT} there?" in machines.log("one")
    shown = machines.command("one", "status", "--connect", f"127.0.0.1:{PORT}")
    assert "does a firewall drop port" in shown.stdout, shown.stdout + shown.stderr


def test_a_name_server_that_is_away_does_not_keep_a_cluster_of_names_from_electing_a_leader(
    machines: Machines,
) -> None:
    known = "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}.example\n" for host in machines.hosts)
    nowhere = "nameserver 10.77.7.99\noptions timeout:5 attempts:2\n"
    with ExitStack() as stack:
        folders = [stack.enter_context(files_of_etc(host, hosts=known, resolv_conf=nowhere)) for host in machines.hosts]
        for name in NAMES:
            machines.start(name, "--advertise", f"{name}.example")
        machines.wait_together()
        for folder in folders:
            (folder / "hosts").write_text("127.0.0.1 localhost\n")
        body = machines.status("one")
        assert body is not None
        leader = next(name for name in NAMES if machines.nodes[name].id == body["leader_id"])
        machines.nodes[leader].kill()
        others = [name for name in NAMES if name != leader]
        wait_until(
            lambda: len(machines.leaders() - {"", machines.nodes[leader].id}) == 1 and "" not in machines.leaders(),
            "another leads",
        )
        asked = [f"--connect={name}.example" for name in (leader, "nobody")]
        asked.append(f"--connect={machines.hosts[others[0]].address}")
        shown = machines.command(others[1], "status", *asked, "--connect-timeout", "5")
        assert shown.returncode == 0, shown.stderr
        alone = machines.command(others[1], "status", "--connect", "nobody.example", "--connect-timeout", "2")
        assert alone.returncode == 30
        assert "nobody.example:7077 does not resolve (no name server has answered" in alone.stderr
        machines.start(leader, "--advertise", f"{leader}.example")
        machines.wait_together()


def test_machines_that_have_ipv6_alone_are_one_cluster(machines: Machines) -> None:
    for number, host in enumerate(machines.hosts, 1):
        ip("-n", host.namespace, "address", "flush", "dev", "eth0")
        with host.entered():
            for interface in ("lo", "eth0"):
                Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("0")
        ip("-n", host.namespace, "address", "add", f"fd00:77::{number}/64", "dev", "eth0", "nodad")
    started(machines)
    expected = {name: f"[fd00:77::{number}]:{PORT}" for number, name in enumerate(NAMES, 1)}
    wait_addresses(machines, "one", expected)
    shown = machines.command("two", "status", "--connect", "[FD00:77::1]")
    assert shown.returncode == 0, shown.stderr
    assert all(address in shown.stdout for address in expected.values()), shown.stdout
