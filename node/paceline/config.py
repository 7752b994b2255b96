"""What a person may set: addresses, the cluster file, and the settings of a node.

Every value is checked here, once, before a socket is opened or a process is started; what comes out can be used.
A refusal is a ConfigError that names the setting, the value, and what is allowed; a setting of a node by the option of
`paceline node` that gives it, and in the option's unit. Nothing here opens a socket.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from paceline.errors import ConfigError
from paceline.security import CurveKeys, generate_keys
from paceline_protocol.limits import PAYLOAD_LIMIT_BYTES, PAYLOAD_LIMIT_MAX_BYTES

DEFAULT_PORT = 7077
LOOPBACK_HOST = "127.0.0.1"
WILDCARD_HOSTS = ("0.0.0.0", "::", "*")

CONNECT_VARIABLE = "PACELINE_CONNECT"
"""Environment: addresses of nodes, comma separated, for clients that are given none."""
CLUSTER_VARIABLE = "PACELINE_CLUSTER"
"""Environment: the path of the cluster file, for nodes and clients that are given none."""
METRICS_OFF = "off"
METRICS_PORT_OFFSET = 2000
"""Where a node that is not told otherwise serves its metrics: on loopback, its own port and so many."""

VOTER_COUNTS = (1, 3, 5)
JOURNALS = ("fsync", "os", "memory")
"""Where the replicated log is written down: on disk and synced before anything is promised, on disk and left to the
operating system, or nowhere."""
MIB = 1 << 20
EXPECT_MAX = 1000
CLUSTER_FILE_LIMIT_BYTES = 64 * 1024

_CLUSTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})")
_MODULE = re.compile(r"\S(.*\S)?")
_logger = logging.getLogger("paceline.config")


# --- addresses --------------------------------------------------------------------------------------------------


def parse_address(text: str) -> tuple[str, int]:
    """("host", port) of "host:port", "host" (port 7077), "[v6]:port" or "[v6]". Raises ConfigError."""
    problem = f"{text!r} is not an address; write HOST, HOST:PORT or [IPV6]:PORT, as in node1:{DEFAULT_PORT}"
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise ConfigError(problem)
        port_text = rest[1:] if rest else str(DEFAULT_PORT)
    else:
        host, colon, port_text = text.partition(":")
        port_text = port_text if colon else str(DEFAULT_PORT)
        if not _HOST_NAME.fullmatch(host):
            raise ConfigError(problem)
    # isdecimal alone takes the digits of every script.
    if not (port_text.isascii() and port_text.isdecimal() and 1 <= int(port_text) <= 65535):
        raise ConfigError(f"{problem} (the port is a number from 1 to 65535)")
    return host, int(port_text)


def parse_listen_address(option: str, text: str) -> tuple[str, int]:
    """("host", port) of what a socket is to be bound to: "host:port" or "[v6]:port"; port 0 is any free one. Raises
    ConfigError, which names the option."""
    host, colon, port = text.rpartition(":")
    if colon and port == "0":
        return parse_address(f"{host}:1")[0], 0
    try:
        if not colon or text.endswith("]"):
            raise ConfigError(f"{text!r} has no port")
        return parse_address(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}; write HOST:PORT, [IPV6]:PORT, or {METRICS_OFF}") from None


def format_address(host: str, port: int) -> str:
    """The inverse of parse_address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may stand for anything


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


# --- environment ------------------------------------------------------------------------------------------------


def addresses_from_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The addresses in PACELINE_CONNECT, checked; empty when it is not set."""
    texts = [text.strip() for text in environment.get(CONNECT_VARIABLE, "").split(",")]
    addresses = []
    for text in filter(None, texts):
        try:
            addresses.append(format_address(*parse_address(text)))
        except ConfigError as error:
            raise ConfigError(f"{CONNECT_VARIABLE}: {error}") from None
    return tuple(addresses)


def cluster_path_from_environment(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The path in PACELINE_CLUSTER; None when it is not set."""
    text = environment.get(CLUSTER_VARIABLE, "")
    return Path(text).expanduser() if text else None


# --- the cluster file -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """What the machines of one cluster share. Whoever has the file may run nodes and submit tasks: it is a secret."""

    name: str
    expect: int  # nodes that must be there before a cluster forms; more than half of the machines, so that it is unique
    keys: CurveKeys
    path: Path | None = field(default=None, compare=False)  # where it was read; None: it was made in this process

    @classmethod
    def load(cls, path: str | Path) -> ClusterFile:
        """Read and check a file. Raises ConfigError; logs a warning when other users can read the keys."""
        where = str(path)
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(CLUSTER_FILE_LIMIT_BYTES).decode()
            settings = tomllib.loads(text)
        except OSError as error:
            raise ConfigError(
                f"can't read the cluster file {where or repr(where)}: {error.strerror}; give the file that the other "
                "machines of the cluster have, or make one with `paceline init --nodes N > cluster.toml`"
            ) from error
        except ValueError as error:  # of which TOMLDecodeError and UnicodeDecodeError are two
            raise ConfigError(f"{where} is not a cluster file as `paceline init` writes it: {error}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            _logger.warning("%s holds a secret key and other users can read it; run `chmod 600 %s`", where, where)
        return replace(cls._from_settings(settings, where), path=Path(path).absolute())

    @classmethod
    def _from_settings(cls, settings: dict[str, object], where: str) -> ClusterFile:
        allowed = ("name", "expect", "public_key", "secret_key")
        if unknown := sorted(settings.keys() - set(allowed)):
            raise ConfigError(f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(allowed)}")
        if missing := [key for key in allowed if key not in settings]:
            raise ConfigError(f"{where}: the key {missing[0]!r} is missing; `paceline init` writes a whole file")
        name, expect = settings["name"], settings["expect"]
        if not isinstance(name, str):
            raise ConfigError(f"{where}: name must be a string, not {name!r}")
        if not isinstance(expect, int):
            raise ConfigError(f"{where}: expect must be a whole number, not {expect!r}")
        public, secret = settings["public_key"], settings["secret_key"]
        if not isinstance(public, str) or not isinstance(secret, str):
            raise ConfigError(f"{where}: public_key and secret_key must be strings")
        cluster = cls(name, expect, CurveKeys(public, secret))
        try:
            cluster.validate()
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        return cluster

    def validate(self) -> None:
        if not _CLUSTER_NAME.fullmatch(self.name):
            raise ConfigError(f"name is {self.name!r}; allowed are 1 to 63 letters, digits, dots, hyphens, underscores")
        if isinstance(self.expect, bool) or not 1 <= self.expect <= EXPECT_MAX:
            raise ConfigError(f"expect is {self.expect!r}; allowed is a number of nodes from 1 to {EXPECT_MAX}")
        if problem := self.keys.problem():
            raise ConfigError(f"public_key and secret_key: {problem}")

    def dumps(self) -> str:
        """The text of the file. Neither a valid name nor Z85 contains what TOML would want escaped."""
        return (
            "# A paceline cluster. Whoever has this file may run nodes and submit tasks: keep it secret (chmod 600).\n"
            "# Put the same file on every machine and start `paceline node MODULE --cluster FILE` there.\n"
            f'name = "{self.name}"\n'
            "# Nodes that must be there before the cluster forms; more than half of the machines.\n"
            f"expect = {self.expect}\n"
            f'public_key = "{self.keys.public}"\n'
            f'secret_key = "{self.keys.secret}"\n'
        )


def new_cluster(nodes: int, name: str | None = None) -> ClusterFile:
    """A cluster of its own: new keys, and a name that no other has unless one is given. Raises ConfigError."""
    cluster = ClusterFile(f"paceline-{secrets.token_hex(3)}" if name is None else name, nodes, generate_keys())
    cluster.validate()
    return cluster


# --- a node -----------------------------------------------------------------------------------------------------


def _usable_cpus() -> int:
    """The CPUs that this process may run on, which in a container are fewer than os.cpu_count says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The settings of one node. Call validate() before use; the properties give what None stands for."""

    modules: tuple[str, ...]
    bind_host: str | None = None  # None: loopback without a cluster file, every interface with one
    port: int = DEFAULT_PORT  # 0: any free one
    advertise_host: str | None = None  # None: what others can reach is found out from the bound address
    join: tuple[str, ...] = ()
    cluster: ClusterFile | None = None
    insecure: bool = False
    expect: int | None = None  # 0: join a cluster, never form one
    voters: int = 3
    workers: int = field(default_factory=_usable_cpus)
    journal: str = "fsync"
    data_dir: Path | None = None  # None: a folder of the platform for this cluster name and port
    moved: bool = False  # data_dir was moved here, and is the only copy of its node
    discovery: bool = True
    payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES
    queue_limit_tasks: int = 2_000_000
    queue_limit_bytes: int = 1 << 30
    metrics: str | None = None  # HOST:PORT, "off"; None: loopback, METRICS_PORT_OFFSET above the node's port
    announce_fd: int | None = None

    @property
    def cluster_name(self) -> str:
        return self.cluster.name if self.cluster else ""

    @property
    def keys(self) -> CurveKeys | None:
        return self.cluster.keys if self.cluster else None

    @property
    def effective_bind_host(self) -> str:
        if self.bind_host is not None:
            return self.bind_host
        return "0.0.0.0" if self.cluster else LOOPBACK_HOST

    @property
    def effective_expect(self) -> int:
        """How many nodes must be there before this one helps to form a cluster; 0: it only joins one."""
        if self.expect is not None:
            return self.expect
        if self.cluster:
            return self.cluster.expect
        return 0 if self.join else 1

    @property
    def is_pointed(self) -> bool:
        """Whether --join alone says which cluster is meant. With a cluster file its name and keys say so, and --join
        only where to look."""
        return bool(self.join) and self.cluster is None

    def validate(self) -> None:
        """Raises a ConfigError for the first setting that can't be used."""
        self._validate_work()
        self._validate_network()
        self._validate_cluster()
        self._validate_limits()

    def _validate_work(self) -> None:
        _check_range("--workers", self.workers, 0, 4096)
        if self.workers and not self.modules:
            raise ConfigError("no module is named; name the modules that hold the tasks, or say --workers 0")
        for module in self.modules:
            if not _MODULE.fullmatch(module):
                raise ConfigError(f"{module!r} is not a module; write it as `import` would, or as the path of a file")

    def _validate_network(self) -> None:
        _check_range("--port", self.port, 0, 65535)
        host = self.effective_bind_host
        if host != "*" and not _is_ipv6(host) and not _HOST_NAME.fullmatch(host):
            raise ConfigError(f"--bind {host!r} is not a host; write an address of this machine, or 0.0.0.0 for all")
        if not is_loopback(host) and not self.cluster and not self.insecure:
            raise ConfigError(
                f"binding to {host} without a cluster file lets everyone who reaches this machine run tasks; "
                "make a file with `paceline init` and give it with --cluster, or say --insecure"
            )
        if self.insecure and self.cluster:
            raise ConfigError("--insecure can't be combined with a cluster file, whose keys secure every connection")
        advertised = self.advertise_host
        if advertised is not None and (
            advertised in WILDCARD_HOSTS or not (_is_ipv6(advertised) or _HOST_NAME.fullmatch(advertised))
        ):
            raise ConfigError(
                f"--advertise {advertised!r} is not a host; write what others reach this node by, without a port"
            )
        if self.metrics not in (None, METRICS_OFF):
            parse_listen_address("--metrics", self.metrics)
        for address in self.join:
            try:
                parse_address(address)
            except ConfigError as error:
                raise ConfigError(f"--join: {error}") from None

    def _validate_cluster(self) -> None:
        if self.cluster:
            self.cluster.validate()
        if self.expect is not None:
            _check_range("--expect", self.expect, 0, EXPECT_MAX)
        if self.effective_expect == 0 and not self.join and not self.discovery:
            raise ConfigError(
                "--expect is 0, so that this node only joins others, and discovery is off; say with --join which"
            )
        if self.voters not in VOTER_COUNTS:
            raise ConfigError(f"--voters is {self.voters!r}; allowed are {', '.join(map(str, VOTER_COUNTS))}")
        if self.journal not in JOURNALS:
            raise ConfigError(f"--journal is {self.journal!r}; allowed are {', '.join(JOURNALS)}")
        if self.journal == "memory" and self.data_dir is not None:
            raise ConfigError("--journal memory writes nothing, and a --data-dir is given; leave out one of the two")
        if self.journal == "memory" and self.moved:
            raise ConfigError("--moved is of a data directory, and --journal memory has none; leave out one of the two")
        if self.journal != "memory" and self.data_dir is None and self.port == 0:
            raise ConfigError(
                "--port 0 is another one at each start, so the node would not find its journal again; "
                "give it a --port, a --data-dir, or --journal memory"
            )

    def _validate_limits(self) -> None:
        _check_mib("--payload-limit", self.payload_limit_bytes, PAYLOAD_LIMIT_MAX_BYTES)
        _check_range("--queue-limit", self.queue_limit_tasks, 1, 1 << 40)
        _check_mib("--queue-limit-mib", self.queue_limit_bytes, 1 << 50)
        if self.queue_limit_bytes < self.payload_limit_bytes:
            raise ConfigError(
                f"--queue-limit-mib is {self.queue_limit_bytes // MIB} MiB, less than the --payload-limit of "
                f"{self.payload_limit_bytes // MIB} MiB for the arguments of one task; raise the one or lower the other"
            )


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}; allowed is a whole number from {low} to {high}")


def _check_mib(option: str, size_bytes: int, high_bytes: int) -> None:
    """For an option that is given in MiB, of which the smallest size is one."""
    if not MIB <= size_bytes <= high_bytes:
        raise ConfigError(
            f"{option} is {size_bytes // MIB} MiB; allowed is a whole number of MiB from 1 to {high_bytes // MIB}"
        )
