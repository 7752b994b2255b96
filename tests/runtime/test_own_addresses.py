"""Which of its addresses a node announces, on machines that are made up here."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from paceline import names as names_module
from paceline.errors import ConfigError
from paceline.names import Names
from paceline.runtime import interfaces
from paceline.runtime.interfaces import reachable_hosts
from paceline.runtime.own_addresses import OwnAddresses, bind_number, refuse_broadcast


class Machine:
    """Its interfaces with their addresses, those that are down, and the address that it sends from, by target."""

    def __init__(self) -> None:
        self.hosts = [("lo", "127.0.0.1"), ("lo", "::1")]
        self.down: set[str] = set()
        self.route: Callable[[str], str] = lambda target: ""

    def routed_host(self, target: str) -> str:
        return self.route(target)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(interfaces, "_every_host", lambda: made.hosts)
    monkeypatch.setattr(interfaces, "_is_running", lambda name: name not in made.down)
    monkeypatch.setattr(interfaces, "_routed_host", made.routed_host)
    return made


def own(advertise_host: str | None = None, bind_host: str = "*") -> OwnAddresses:
    return OwnAddresses(bind_host, 7077, advertise_host, Names())


def test_the_default_route_decides_and_not_the_order_of_interfaces(machine: Machine) -> None:
    machine.hosts += [("docker0", "172.17.0.1"), ("eth1", "10.1.0.1"), ("eth0", "10.0.0.1")]
    machine.route = lambda target: "" if ":" in target else "10.0.0.1"
    assert reachable_hosts("0.0.0.0") == ("10.0.0.1", "10.1.0.1", "172.17.0.1")


def test_without_a_route_bridges_of_containers_and_link_local_addresses_come_last_and_what_is_down_not_at_all(
    machine: Machine,
) -> None:
    machine.hosts += [("eth9", "10.9.0.1"), ("br-12ab", "172.18.0.1"), ("eth1", "169.254.3.4"), ("eth0", "fe80::1")]
    machine.hosts += [("eth0", "fd00::1"), ("eth0", "10.0.0.1")]
    machine.down.add("eth9")
    assert reachable_hosts("*") == ("10.0.0.1", "fd00::1", "172.18.0.1", "169.254.3.4")
    assert "fd00::1" not in reachable_hosts("0.0.0.0"), "nobody listens there"


def test_a_machine_with_ipv6_alone_announces_that_and_one_without_a_network_loopback(machine: Machine) -> None:
    assert reachable_hosts("*") == ("127.0.0.1",)
    machine.hosts += [("eth0", "fd00::1")]
    assert own().address == "[fd00::1]:7077"


def test_an_address_by_which_peers_are_reached_is_preferred_and_then_kept(machine: Machine) -> None:
    machine.hosts += [("nat0", "10.0.2.15"), ("eth1", "192.168.56.1")]
    machine.route = lambda target: "192.168.56.1" if target.startswith("192.168.") else "10.0.2.15"
    node = own()
    assert (node.address, node.others) == ("10.0.2.15:7077", ("192.168.56.1:7077",))
    assert node.look(["192.168.56.2"])
    assert node.address == "192.168.56.1:7077"
    assert not node.look([]), "nobody is reached at this moment, which is no reason to move"
    assert not node.look(["192.168.56.2", "10.0.2.9"])
    assert node.address == "192.168.56.1:7077"


def test_an_address_that_comes_later_or_changes_is_noticed_and_one_that_is_lost_stays_until_then(
    machine: Machine,
) -> None:
    node = own()
    assert node.address == "127.0.0.1:7077"
    machine.hosts += [("eth0", "10.0.0.1")]
    assert node.look([])
    assert node.address == "10.0.0.1:7077"
    machine.hosts.pop()
    assert not node.look([])
    assert node.address == "10.0.0.1:7077"
    machine.hosts += [("eth0", "10.0.0.9")]
    assert node.look([])
    assert (node.address, node.others) == ("10.0.0.9:7077", ())


def test_what_an_operator_has_said_stands_whatever_the_machine_has(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"node1.example": ("203.0.113.5",), "hosts-file.example": ("127.0.1.1",), "absent.example": ()}
    monkeypatch.setattr(names_module, "look_up", lambda name: found[name])
    machine.hosts += [("eth0", "10.0.0.1")]
    node = own("node1.example")
    assert (node.address, node.others) == ("node1.example:7077", ())
    machine.hosts += [("eth1", "10.0.1.1")]
    assert not node.look([])
    assert node.address == "node1.example:7077"
    for name, numbers in (("node1", ("203.0.113.5",)), ("hosts-file", ("10.0.0.1",)), ("absent", ("10.0.0.1",))):
        names = Names()
        while not names.answers(f"{name}.example"):
            names.hosts(f"{name}.example")
            names.wait(0.01)
        machine.hosts[2:] = [("eth0", "10.0.0.1")]
        assert OwnAddresses("*", 7077, f"{name}.example", names).numbers == numbers, "what discovery's record has"
    assert own(bind_host="10.0.0.1").numbers == ("10.0.0.1",)
    assert not own(bind_host="10.0.0.1").is_watched


def test_an_interface_is_bound_to_by_its_name_and_what_is_neither_that_nor_a_host_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.hosts += [("eth0", "fd00::1"), ("eth0", "10.0.0.1")]
    monkeypatch.setattr("paceline.runtime.own_addresses.interface_names", lambda: ["lo", "eth0", "eth1"])
    monkeypatch.setattr(names_module, "look_up", lambda name: {"node1": ("10.0.0.1",)}.get(name, ()))
    assert bind_number("eth0", Names()) == "10.0.0.1"
    assert bind_number("node1", Names()) == "10.0.0.1"
    assert bind_number("localhost", Names()) == "127.0.0.1"
    assert [bind_number(host, Names()) for host in ("*", "::", "::1", "10.9.9.9")] == ["*", "::", "::1", "10.9.9.9"]
    with pytest.raises(ConfigError, match="--bind eth1: that interface has no address"):
        bind_number("eth1", Names())
    with pytest.raises(ConfigError, match="--bind eht0: this machine has no interface of that name"):
        bind_number("eht0", Names())


@pytest.fixture
def with_eth0(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("paceline.runtime.own_addresses.interface_names", lambda: ["lo", "eth0"])
    return machine


def test_a_node_that_is_bound_to_an_interface_follows_its_address_and_stays_while_there_is_no_other(
    with_eth0: Machine,
) -> None:
    with_eth0.hosts += [("eth1", "10.1.0.1"), ("eth0", "10.0.0.1")]
    node = OwnAddresses(bind_number("eth0", Names()), 7077, None, Names(), "eth0")
    assert node.is_watched
    assert (node.look([]), node.bind_host, node.address) == (False, "10.0.0.1", "10.0.0.1:7077")
    with_eth0.hosts.pop()
    assert (node.look([]), node.bind_host) == (False, "10.0.0.1")
    with_eth0.hosts += [("eth0", "fe80::1")]
    assert (node.look([]), node.bind_host) == (False, "10.0.0.1"), "others can't use it"
    with_eth0.hosts += [("eth0", "10.0.0.9")]
    assert (node.look([]), node.bind_host, node.address) == (True, "10.0.0.9", "10.0.0.9:7077")
    with_eth0.hosts.insert(0, ("eth0", "10.0.0.1"))
    assert (node.look([]), node.bind_host) == (False, "10.0.0.9"), "it does not swing back"


def test_what_is_advertised_stays_when_the_interface_has_another_address(with_eth0: Machine) -> None:
    with_eth0.hosts += [("eth0", "10.0.0.1")]
    node = OwnAddresses("10.0.0.1", 7077, "node1.example", Names(), "eth0")
    with_eth0.hosts[-1] = ("eth0", "10.0.0.9")
    assert (node.look([]), node.bind_host, node.address) == (False, "10.0.0.9", "node1.example:7077")


def test_an_interface_with_an_address_of_one_link_alone_is_bound_to_with_its_scope_if_others_are_told_of_another(
    with_eth0: Machine,
) -> None:
    with_eth0.hosts += [("eth0", "fe80::1")]
    assert bind_number("eth0", Names(), is_advertised=True) == "fe80::1%eth0"
    with pytest.raises(
        ConfigError, match="--bind eth0: that interface has no address but fe80::1%eth0, which is of one"
    ):
        bind_number("eth0", Names())
    with_eth0.hosts += [("eth0", "fd00::1")]
    assert bind_number("eth0", Names()) == "fd00::1"


def test_the_broadcast_address_of_a_network_of_this_machine_is_refused_by_name(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = [ip_network("10.0.0.0/24"), ip_network("192.168.4.0/22")]
    monkeypatch.setattr(interfaces, "_networks", lambda: networks)
    for host in ("10.0.0.255", "192.168.7.255", "::ffff:10.0.0.255"):
        with pytest.raises(ConfigError, match=f"--bind .*{host.rpartition(':')[2]} is the broadcast address"):
            bind_number(host, Names())
        with pytest.raises(ConfigError, match=r"--advertise .* is the broadcast address"):
            refuse_broadcast("--advertise", host)
    assert bind_number("192.168.4.255", Names()) == "192.168.4.255"
    refuse_broadcast("--advertise", "node1.example")


def test_the_networks_of_this_machine_are_known_with_their_broadcast_addresses() -> None:
    assert interfaces.is_broadcast("127.255.255.255")
    assert not interfaces.is_broadcast("127.0.0.1")
