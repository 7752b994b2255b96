"""How a node looks for others, and what it says of those that don't answer.

The rules of this module:

- It looks at the addresses that a person named, and at those that discovery finds. One that was named without a cluster
  file is all that says which cluster is meant: so such a node neither looks further nor announces itself before it
  belongs to a cluster. Anybody's nodes would do otherwise.
- It never stops a node from starting, or from going on. The machine behind an address may come later.
- What it says is bounded: at first after SILENT_AFTER_S, then ever more seldom while nothing changes.
- It looks and says from a thread of its own, where it may block. Of the node it reads only whether a batch could be
  sent to an address: that is so once a connection stands, with its handshake, whatever address the node there goes by.
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
"""A connection is tried each second, and each try takes a second at most. Longer than that nobody was there."""
PROBE_TIMEOUT_S = 1.0
REPEAT_MIN_S = 30.0
REPEAT_MAX_S = 600.0
FOUND_MAX = 64
"""Addresses that discovery found, and other clusters, that are watched. Anyone on the network can announce some."""

_logger = logging.getLogger("paceline.node")


@dataclass(slots=True)
class _Silence:
    """Something is not as it should be, since when, and when to say so next."""

    since: float
    said: int = 0
    due: float = 0.0


class Silences:
    """What is silent, by the words that name it, and when to say so: after a while, and then ever more seldom."""

    def __init__(self, silent_after_s: float = SILENT_AFTER_S) -> None:
        self._silent_after_s = silent_after_s
        self._silences: dict[str, _Silence] = {}

    def is_due(self, subject: str, now: float) -> bool:
        """It is silent now. Whether it is time to say so."""
        silence = self._silences.get(subject)
        if silence is None:
            silence = self._silences[subject] = _Silence(now, due=now + self._silent_after_s)
        if now < silence.due:
            return False
        silence.due = now + min(REPEAT_MIN_S * 2**silence.said, REPEAT_MAX_S)
        silence.said += 1
        return True

    def ends(self, subject: str) -> bool:
        """It is silent no longer. Whether it was said to be."""
        silence = self._silences.pop(subject, None)
        return silence is not None and silence.said > 0


class Search:
    """One node's search for others. ``is_reached``, ``has_met`` (whether any node said hello) and ``cluster_id`` (""
    while it belongs to none) are asked from a thread of this module, and ``on_address`` is called from several."""

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
        self._others: dict[str, str] = {}  # where a node of another cluster is, by the name of that
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
            return  # then it is no matter who else was found: some of that has stopped since, or is of others
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
            elif is_seed:  # of what discovery finds, some has always just stopped
                _logger.warning(
                    "%s does not answer (%s); check that a node runs there, and listens where this machine can reach "
                    "it: without --cluster or --bind it does on its own machine only. %s",
                    subject,
                    reasons[0],
                    self._meanwhile(),
                )

    def _tell_of_no_answer(self, seeds: dict[str, list[str]], now: float) -> None:
        """A node answers at the address that the other says it has, which may be one that only the other can use."""
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
        others, self._others = self._others, {}  # each is told of once for each time that it is found
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
    """Why no connection can be made to an address; "" if one can."""
    try:
        socket.create_connection(parse_address(address), PROBE_TIMEOUT_S).close()
    except TimeoutError:
        return f"no connection within {PROBE_TIMEOUT_S:.0f} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return ""
