"""How a node looks for other nodes, and which warnings it logs about those that don't answer.

The rules of this module:

- A node looks at the addresses that a person named, and at those that discovery finds. An address that was named
  without a cluster file is the only thing that says which cluster is meant. So a node that was started with one neither
  uses discovery nor announces itself before it belongs to a cluster; it could join anybody's nodes otherwise.
- The search never stops a node from starting, or from going on. The machine behind an address may come later.
- Warnings are bounded: the first after SILENT_AFTER_S, and then ever more seldom while nothing changes.
- The search runs in a thread of its own, where it may block. It asks the node only whether a batch could be sent to an
  address. That is so once a connection with its handshake is established, whatever address that node itself announces.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from paceline.config import NodeConfig, is_loopback, parse_address
from paceline.discovery import Discovery, SeedResolver

LOOK_INTERVAL_S = 0.5
SILENT_AFTER_S = 4.0
"""The node tries to connect each second, and a try takes a second at most: by then several have failed."""
PROBE_TIMEOUT_S = 1.0
REPEAT_MIN_S = 30.0
REPEAT_MAX_S = 600.0
FOUND_MAX = 64
"""How many addresses that discovery found are watched, and how many other clusters. Anyone on the network can announce
some."""

_logger = logging.getLogger("paceline.node")


@dataclass(slots=True)
class _SilentSubject:
    """Since when a subject is silent, and when the next warning about it is due."""

    since: float
    said: int = 0
    due: float = 0.0


class Silences:
    """The subjects that are silent, each named as in its warning, and when a warning is due: first after
    ``silent_after_s``, and then ever more seldom."""

    def __init__(self, silent_after_s: float = SILENT_AFTER_S) -> None:
        self._silent_after_s = silent_after_s
        self._silences: dict[str, _SilentSubject] = {}

    def is_due(self, subject: str, now: float) -> bool:
        """Note that ``subject`` is silent. Whether a warning about it is due."""
        silence = self._silences.get(subject)
        if silence is None:
            silence = self._silences[subject] = _SilentSubject(now, due=now + self._silent_after_s)
        if now < silence.due:
            return False
        silence.due = now + min(REPEAT_MIN_S * 2**silence.said, REPEAT_MAX_S)
        silence.said += 1
        return True

    def ends(self, subject: str) -> bool:
        """Note that ``subject`` is not silent any more. Whether there was a warning about it."""
        silence = self._silences.pop(subject, None)
        return silence is not None and silence.said > 0


class NodeSearch:
    """One node's search for others. A thread of this module calls ``is_reached``, ``has_met`` (whether any node has
    said hello) and ``cluster_id`` ("" while the node belongs to none); several threads call ``on_address``."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        node_id: str,
        address: str,
        on_address: Callable[[str], None],
        is_reached: Callable[[str], bool],
        has_met: Callable[[], bool],
        cluster_id: Callable[[], str],
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        self._config = config
        self._own_address = address
        self._on_address = on_address
        self._is_reached = is_reached
        self._has_met = has_met
        self._cluster_id = cluster_id
        self._silences = Silences(silent_after_s)
        self._found: dict[str, None] = {}  # addresses of this cluster that discovery found, in order
        self._others: dict[str, str] = {}  # name of another cluster -> the address of one of its nodes
        self._lock = threading.Lock()  # discovery is not started while, or after, it is stopped
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-search", daemon=True)
        self._seeds = SeedResolver(config.join, on_address) if config.join else None
        self._discovery: Discovery | None = None
        if config.discovery:
            self._discovery = Discovery(
                node_id=node_id,
                cluster_name=config.cluster_name,
                address=address,
                loopback=is_loopback(config.effective_bind_host),
                on_address=self._on_found,
                on_other=self._on_other,
            )
        self._is_announced = False

    def start(self) -> None:
        """Returns at once."""
        if self._seeds is not None:
            self._seeds.start()
        if not self._config.is_pointed:
            self._announce()
        self._thread.start()

    def stop(self) -> None:
        """Withdraws the announcement, in bounded time. Does not wait for a probe under way."""
        with self._lock:
            self._stopping.set()
        if self._seeds is not None:
            self._seeds.stop()
        if self._discovery is not None and self._is_announced:
            self._discovery.stop()

    def _announce(self) -> None:
        with self._lock:
            if self._discovery is not None and not self._is_announced and not self._stopping.is_set():
                self._is_announced = True
                self._discovery.start()

    # Both are called by discovery, from its threads.
    def _on_found(self, address: str) -> None:
        if len(self._found) < FOUND_MAX:
            self._found[address] = None
        self._on_address(address)

    def _on_other(self, cluster_name: str, address: str) -> None:
        if len(self._others) < FOUND_MAX:
            self._others.setdefault(cluster_name, address)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_INTERVAL_S):
            if self._cluster_id():
                self._announce()
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        seeds = {} if self._seeds is None else self._seeds.addresses
        for seed, addresses in seeds.items():
            self._look_at(f"the seed {seed}", addresses, now, is_seed=True)
        if seeds and self._config.effective_expect == 0 and not self._cluster_id() and not self._has_met():
            self._tell_of_no_answer(seeds, now)
        if self._cluster_id():
            return  # a member need not warn of found addresses: those nodes may have stopped, or be another cluster's
        for address in list(self._found):
            self._look_at(f"the node found at {address}", [address], now, is_seed=False)
        if self._others and self._silences.is_due("this cluster", now):
            self._tell_of_others()

    def _look_at(self, subject: str, addresses: list[str], now: float, *, is_seed: bool) -> None:
        if any(address == self._own_address or self._is_reached(address) for address in addresses):
            if self._silences.ends(subject):
                _logger.info("%s answers now", subject)
        elif self._silences.is_due(subject, now):
            reasons = [_refusal(address) for address in addresses]
            if "" in reasons:
                _logger.warning(
                    "%s takes connections but no handshake succeeds: it is no paceline node, or has other keys than "
                    "%s; give both nodes the same cluster file. %s",
                    subject,
                    "this node's cluster file" if self._config.cluster else "this node, which was given none",
                    self._meanwhile(),
                )
            elif is_seed:  # an address that discovery found may be that of a node that has just stopped
                _logger.warning(
                    "%s does not answer (%s); check that a node runs there, and listens where this machine can reach "
                    "it: without --cluster or --bind it does on its own machine only. %s",
                    subject,
                    reasons[0],
                    self._meanwhile(),
                )

    def _tell_of_no_answer(self, seeds: dict[str, list[str]], now: float) -> None:
        """Warn if a seed is reached and no node has answered. A node answers to the address that this node announces,
        which may be an address that only this machine can use."""
        reached = [seed for seed, addresses in seeds.items() if any(map(self._is_reached, addresses))]
        if reached and self._silences.is_due("an answer", now):
            _logger.warning(
                "the seed %s is reached, and no answer comes back; check that it can reach this node at %s: another "
                "machine can only with --cluster, or with --insecure and --bind, and at --advertise if that is given. "
                "%s",
                reached[0],
                self._own_address,
                self._meanwhile(),
            )

    def _tell_of_others(self) -> None:
        others, self._others = self._others, {}  # one warning for each time that a cluster is found
        for name, address in others.items():
            _logger.warning(
                "this node, of the cluster %r, waits to join or form it, and finds a node of %s at %s; if they should "
                "be one cluster, give each machine a copy of the same cluster file",
                self._config.cluster_name,
                f"the cluster {name!r}" if name else "a cluster without a file",
                address,
            )

    def _meanwhile(self) -> str:
        if cluster_id := self._cluster_id():
            return f"This node goes on in the cluster that it belongs to ({cluster_id})"
        if self._config.is_pointed:
            return "This node asks again, and joins nobody else meanwhile"
        return "This node asks again, and looks for others meanwhile"


def _refusal(address: str) -> str:
    """Why a connection to an address fails; "" if it succeeds."""
    try:
        socket.create_connection(parse_address(address), PROBE_TIMEOUT_S).close()
    except TimeoutError:
        return f"no connection within {PROBE_TIMEOUT_S:.0f} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return ""
