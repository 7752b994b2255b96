"""What a person may set: addresses, the cluster file, and the settings of a node.

Every value is checked here, once, before a socket is opened or a process is started; what comes out can be used.
A refusal is a ConfigError that names the setting, the value, and what is allowed; a setting of a node by the option of
`paceline node` that gives it, and in the option's unit. Nothing here opens a socket.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Offered here, too: a setting like the others.
from paceline.cluster_file import EXPECT_MAX as EXPECT_MAX
from paceline.cluster_file import ClusterFile as ClusterFile
from paceline.cluster_file import new_cluster as new_cluster
from paceline.errors import ConfigError
from paceline.files import expanded
from paceline.gpus import usable_gpus
from paceline.hosts import DEFAULT_PORT as DEFAULT_PORT
from paceline.hosts import LOCALHOST, canonical_host, is_of_one_link, named, split_address, why_nobodys
from paceline.memory import memory_bytes
from paceline.security import CurveKeys
from paceline_protocol.limits import MAX_QUEUES, PAYLOAD_LIMIT_BYTES, PAYLOAD_LIMIT_MAX_BYTES
from paceline_protocol.option_types import QUEUE_NAME_RULE, is_queue_name
from paceline_protocol.places import (
    CPU,
    GPU,
    MEMORY,
    PLACE_NAME_RULE,
    TAGS_LIMIT,
    UNITS_LIMIT,
    Units,
    amounts_text,
    is_place_name,
    read_amount,
    read_units,
    tags_text,
)

LOOPBACK_HOST = "127.0.0.1"
WILDCARD_HOSTS = ("0.0.0.0", "::", "*")  # noqa: S104 - compared with, not bound to

CONNECT_VARIABLE = "PACELINE_CONNECT"
"""Environment: addresses of nodes, separated by spaces or commas, for clients that are given none."""
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
QUEUE_LIMIT_BYTES = 1 << 30
QUEUE_SHARE = 4
"""The part of the memory that waiting tasks may take, unless it is set: a voter needs up to 1.5 bytes for each of
theirs, and 2.5 while it starts or is sent a snapshot; the rest is for results, the log, workers and tasks."""
RESULT_LIMIT_BYTES = 256 << 20
DEAD_LIMIT_BYTES = 64 << 20
WORKER_AGE_MAX_S = 366 * 86_400
DRAIN_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_MAX_S = 366 * 86_400
_SEPARATORS = re.compile(r"[\s,]+")
_MODULE = re.compile(r"\S(.*\S)?")


# --- addresses --------------------------------------------------------------------------------------------------


def parse_address(text: str) -> tuple[str, int]:
    """As ``split_address`` of ``hosts.py`` reads it. Raises ConfigError."""
    try:
        return split_address(text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def parse_listen_address(option: str, text: str) -> tuple[str, int]:
    """("host", port) of what a socket is to be bound to: "host:port" or "[v6]:port"; port 0 is any free one. Raises
    ConfigError, which names the option."""
    given, colon, port = text.rpartition(":")
    advice = f"write HOST:PORT, [IPV6]:PORT, or {METRICS_OFF}"
    try:
        if not colon or text.endswith("]"):
            raise ConfigError(f"{named(text)} has no port")
        host, number = parse_address(f"{given}:1" if port == "0" else text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}; {advice}") from None
    _refuse_nobodys(option, host, advice)
    return host, 0 if port == "0" else number


def format_address(host: str, port: int) -> str:
    """The inverse of parse_address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a socket bound to ``host``."""
    try:
        host = canonical_host(host)
        return host == LOCALHOST or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may stand for anything


# --- environment ------------------------------------------------------------------------------------------------


def addresses_from_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The addresses in PACELINE_CONNECT, checked; empty when it is not set."""
    addresses = []
    for text in filter(None, _SEPARATORS.split(environment.get(CONNECT_VARIABLE, ""))):
        try:
            addresses.append(format_address(*parse_address(text)))
        except ConfigError as error:
            raise ConfigError(f"{CONNECT_VARIABLE}: {error}") from None
    return tuple(addresses)


def cluster_path_from_environment(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The path in PACELINE_CLUSTER; None when it is not set."""
    text = environment.get(CLUSTER_VARIABLE, "").strip()
    try:
        return expanded(text) if text else None
    except ConfigError as error:
        raise ConfigError(f"{CLUSTER_VARIABLE}: {error}") from None


ASYNC_SLOTS = 100
ASYNC_SLOTS_MAX = 65_536
WORKERS_MAX = 4_096
MAX_PARKED = 64
PARKED_PER_WORKER = 8
MAX_PARKED_MAX = 16_384

# --- a node -----------------------------------------------------------------------------------------------------


def usable_cpus() -> int:
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
    workers: int = field(default_factory=usable_cpus)  # at the start, and the fewest
    max_workers: int | None = None  # while tasks wait; None: there are always as many
    worker_max_tasks: int | None = (
        None  # a worker is replaced that comes to this, or to one of the next two; None: never
    )
    queues: str | None = None  # takes tasks of these alone, with commas between them; None: of all queues
    tags: tuple[str, ...] = ()  # that tasks may ask for
    resources: tuple[str, ...] = ()  # NAME=AMOUNT, which tasks may take parts of; beside what the machine has
    gpus: tuple[int, ...] = field(default_factory=usable_gpus)  # the numbers of those that the machine has
    max_parked: int | None = None  # tasks that wait for others, and whose slots others have; None: see most_parked
    async_slots: int = ASYNC_SLOTS  # async tasks that one worker runs at once; 1: one after the other, as others
    worker_max_age_s: float | None = None
    worker_max_rss_bytes: int | None = None
    worker_memory_limit_bytes: int | None = None  # one that has more while it runs a task is killed; None: however much
    journal: str = "fsync"
    data_dir: Path | None = None  # None: a folder of the platform for this cluster name and port
    fresh: bool = False  # put aside what is there, and begin with nothing
    moved: bool = False  # data_dir was moved here, and is the only copy of its node
    discovery: bool = True
    payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES
    queue_limit_tasks: int = 2_000_000
    queue_limit_bytes: int | None = None  # None: a share of the memory, QUEUE_LIMIT_BYTES at most
    result_limit_bytes: int = RESULT_LIMIT_BYTES
    dead_limit_bytes: int = DEAD_LIMIT_BYTES
    drain_timeout_s: float = DRAIN_TIMEOUT_S  # what runs when the node is told to stop may take so long
    metrics: str | None = None  # HOST:PORT, "off"; None: loopback, METRICS_PORT_OFFSET above the node's port
    log_format: str = "text"  # of its workers' logs and of what their tasks print, as of its own: "text" or "json"
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
        return "*" if self.cluster else LOOPBACK_HOST

    @property
    def effective_expect(self) -> int:
        """How many nodes must be there before this one helps to form a cluster; 0: it only joins one."""
        if self.expect is not None:
            return self.expect
        if self.cluster:
            return self.cluster.expect
        return 0 if self.join else 1

    @property
    def effective_queue_limit_bytes(self) -> int:
        """What waiting tasks may take. Explicitly set, or a share of what this machine or container has."""
        if self.queue_limit_bytes is not None:
            return self.queue_limit_bytes
        memory = memory_bytes()
        share = QUEUE_LIMIT_BYTES if memory is None else min(QUEUE_LIMIT_BYTES, memory // QUEUE_SHARE)
        return max(share, self.payload_limit_bytes)

    @property
    def most_workers(self) -> int:
        return self.workers if self.max_workers is None else self.max_workers

    @property
    def most_parked(self) -> int:
        """How many tasks may have given their slots back: each has a process."""
        return max(MAX_PARKED, PARKED_PER_WORKER * self.most_workers) if self.max_parked is None else self.max_parked

    @property
    def replaces_workers(self) -> bool:
        """Whether workers are replaced though nothing is wrong with them."""
        limits = (self.worker_max_tasks, self.worker_max_age_s, self.worker_max_rss_bytes)
        return any(limit is not None for limit in limits)

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

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The queues whose tasks it takes alone; none: it takes those of all."""
        return () if self.queues is None else tuple(dict.fromkeys(self.queues.split(",")))

    def _validate_queues(self, queues: str) -> None:
        for name in queues.split(","):
            if not is_queue_name(name):
                raise ConfigError(
                    f"--queues {named(queues)} can't be used: {named(name)} is no queue; the name of one has "
                    f"{QUEUE_NAME_RULE}, and between two is a comma"
                )
        if len(self.queue_names) > MAX_QUEUES:
            raise ConfigError(f"--queues names {len(self.queue_names)} queues; at most {MAX_QUEUES}")

    @property
    def tags_text(self) -> str:
        """Its tags, as nodes tell each other."""
        return tags_text(self.tags)

    @property
    def amounts_text(self) -> str:
        """What it declares, likewise: of CPUs and of memory what the machine has, unless it is said."""
        if not self.most_workers:
            return ""
        said, _ = _declared(self.resources)
        memory = memory_bytes()
        found = {CPU: usable_cpus(), MEMORY: 0 if memory is None else memory // MIB} | said
        if self.gpus and GPU not in said:
            found[GPU] = len(self.gpus)
        return amounts_text((name, amount) for name, amount in found.items() if amount)

    @property
    def units(self) -> Units:
        """The numbers of the units of those resources that have some."""
        said, units = _declared(self.resources)
        if self.gpus and GPU not in said:
            units[GPU] = self.gpus
        return tuple(sorted(units.items()))

    def _validate_places(self) -> None:
        for tag in self.tags:
            if not is_place_name(tag):
                raise ConfigError(f"--tag {named(tag)} can't be used: a tag has {PLACE_NAME_RULE}")
        if len(set(self.tags)) > TAGS_LIMIT:
            raise ConfigError(f"--tag is given {len(set(self.tags))} times; a node has {TAGS_LIMIT} tags at most")
        if len({CPU, MEMORY, GPU, *_declared(self.resources)[0]}) > TAGS_LIMIT:
            raise ConfigError(f"--resource names more than {TAGS_LIMIT} resources with {CPU}, {MEMORY} and {GPU}")

    def _validate_work(self) -> None:
        if self.max_workers is None:
            _check_range("--workers", self.workers, 0, WORKERS_MAX)
        else:
            _check_range("--min-workers", self.workers, 1, WORKERS_MAX)  # of which the most follows if not said
            _check_range("--max-workers", self.max_workers, 1, WORKERS_MAX)
            _check_range("--min-workers", self.workers, 1, self.max_workers)
        if self.workers and not self.modules:
            raise ConfigError("no module is named; name the modules that hold the tasks, or say --workers 0")
        _check_range("--max-parked", self.most_parked, 0, MAX_PARKED_MAX)
        _check_range("--async-slots", self.async_slots, 1, ASYNC_SLOTS_MAX)
        if self.queues is not None:
            self._validate_queues(self.queues)
        self._validate_places()
        self._validate_lifetimes()
        if not 0 <= self.drain_timeout_s <= DRAIN_TIMEOUT_MAX_S:  # which nan is not either
            raise ConfigError(
                f"--drain-timeout is {self.drain_timeout_s:g}; allowed is a number of seconds from 0 to "
                f"{DRAIN_TIMEOUT_MAX_S}"
            )
        for module in self.modules:
            if not _MODULE.fullmatch(module):
                raise ConfigError(f"{module!r} is not a module; write it as `import` would, or as the path of a file")

    def _validate_lifetimes(self) -> None:
        if self.worker_max_tasks is not None:
            _check_range("--worker-max-tasks", self.worker_max_tasks, 1, 1 << 40)
        if self.worker_max_age_s is not None and not 1 <= self.worker_max_age_s <= WORKER_AGE_MAX_S:
            raise ConfigError(
                f"--worker-max-age is {self.worker_max_age_s:g}; allowed is a number of seconds from 1 to "
                f"{WORKER_AGE_MAX_S}"
            )
        if self.worker_max_rss_bytes is not None:
            _check_worker_mib("--worker-max-rss-mib", self.worker_max_rss_bytes)
        limit_bytes = self.worker_memory_limit_bytes
        if limit_bytes is None:
            return
        _check_worker_mib("--worker-memory-limit-mib", limit_bytes)
        if self.worker_max_rss_bytes is not None and limit_bytes <= self.worker_max_rss_bytes:
            raise ConfigError(
                f"--worker-memory-limit-mib is {limit_bytes // MIB} MiB, not more than --worker-max-rss-mib, which is "
                f"{self.worker_max_rss_bytes // MIB}: workers would be killed before they are replaced; raise the one "
                "or lower the other"
            )

    def _validate_network(self) -> None:
        _check_range("--port", self.port, 0, 65535)
        host = self.effective_bind_host
        if host != "*":
            advice = "write an address or an interface of this machine, or 0.0.0.0 for all"
            _refuse_nobodys("--bind", _checked_host("--bind", host, advice), advice)
            if is_of_one_link(host) and self.advertise_host is None:
                raise ConfigError(
                    f"--bind {host!r} is an address of one link, which other machines know by another name; bind to "
                    "another address of this machine, to :: for all, or say with --advertise what others reach it by"
                )
        if not is_loopback(host) and not self.cluster and not self.insecure:
            raise ConfigError(
                f"binding to {host} without a cluster file lets everyone who reaches this machine run tasks; "
                "make a file with `paceline init` and give it with --cluster, or say --insecure"
            )
        if self.insecure and self.cluster:
            raise ConfigError("--insecure can't be combined with a cluster file, whose keys secure every connection")
        advertised = self.advertise_host
        if advertised is not None:
            advice = "write what others reach this node by, without a port"
            if advertised == "*" or _checked_host("--advertise", advertised, advice) in WILDCARD_HOSTS:
                raise ConfigError(f"--advertise {advertised!r} is not a host; {advice}")
            _refuse_nobodys("--advertise", canonical_host(advertised), advice)
            if is_of_one_link(advertised):
                raise ConfigError(
                    f"--advertise {advertised!r} is an address of one link, and what follows its % is a name of this "
                    f"machine alone; {advice}"
                )
        if self.metrics not in (None, METRICS_OFF):
            parse_listen_address("--metrics", self.metrics)
        for address in self.join:
            try:
                host, _ = parse_address(address)
            except ConfigError as error:
                raise ConfigError(f"--join: {error}") from None
            advice = "write the address of another node"
            if host in WILDCARD_HOSTS:
                raise ConfigError(f"--join {named(address)} is no machine, but every interface of one; {advice}")
            _refuse_nobodys("--join", host, advice)

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
        if self.fresh and self.moved:
            raise ConfigError("--fresh begins with nothing, and --moved goes on with what is there; leave out one")
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
        _check_mib("--result-limit-mib", self.result_limit_bytes, 1 << 50)
        _check_mib("--dead-limit-mib", self.dead_limit_bytes, 1 << 50)
        if self.queue_limit_bytes is None:
            return
        _check_mib("--queue-limit-mib", self.queue_limit_bytes, 1 << 50)
        if self.queue_limit_bytes < self.payload_limit_bytes:
            raise ConfigError(
                f"--queue-limit-mib is {self.queue_limit_bytes // MIB} MiB, less than the --payload-limit of "
                f"{self.payload_limit_bytes // MIB} MiB for the arguments of one task; raise the one or lower the other"
            )


def _checked_host(option: str, host: str, advice: str) -> str:
    """The host in its one spelling. Raises ConfigError."""
    try:
        return canonical_host(host)
    except ValueError as error:
        raise ConfigError(f"{option} {named(host)} is not a host; {advice} ({error})") from None


def _refuse_nobodys(option: str, host: str, advice: str) -> None:
    if why := why_nobodys(host):
        raise ConfigError(f"{option} {host} is {why}; {advice}")


def _declared(resources: tuple[str, ...]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """The amounts that ``--resource`` says, 0 of what the node is not to declare; and the numbers of those units that
    have some. Raises ConfigError."""
    found: dict[str, int] = {}
    units: dict[str, tuple[int, ...]] = {}
    for text in resources:
        name, _, amount = text.partition("=")
        try:
            if "," in amount:
                name, units[name] = read_units(text)
                number = len(units[name])
            elif amount == "0" and is_place_name(name):
                number = 0
            else:
                name, number = read_amount(text)
        except ValueError as error:
            raise ConfigError(f"--resource {named(text)} can't be used: {error}") from None
        if name in found:
            raise ConfigError(f"--resource names {name} twice; say once how much of it there is")
        found[name] = number
    gpus = found.get(GPU, 0)
    if gpus and GPU not in units and gpus <= UNITS_LIMIT:
        units[GPU] = tuple(range(gpus))
    count = sum(map(len, units.values())) if gpus <= UNITS_LIMIT else gpus
    if count > UNITS_LIMIT:
        raise ConfigError(f"--resource names {count} units that have numbers, as GPUs do; {UNITS_LIMIT} at most")
    return found, units


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}; allowed is a whole number from {low} to {high}")


def _check_worker_mib(option: str, size_bytes: int) -> None:
    """For a limit of what each worker has, which nobody would keep where nobody tells that."""
    if sys.platform != "linux":
        raise ConfigError(f"{option} needs Linux, which says in /proc how much memory a worker has; leave it out here")
    _check_mib(option, size_bytes, 1 << 50)


def _check_mib(option: str, size_bytes: int, high_bytes: int) -> None:
    """For an option that is given in MiB, of which the smallest size is one."""
    if not MIB <= size_bytes <= high_bytes:
        raise ConfigError(
            f"{option} is {size_bytes // MIB} MiB; allowed is a whole number of MiB from 1 to {high_bytes // MIB}"
        )
