"""How a node looks for other nodes, and which warnings it logs about those that don't answer.

The rules of this module:

- A node looks at the addresses that a person named, and at those that discovery finds. An address that was named
  without a cluster file is the only thing that says which cluster is meant. So a node that was started with one neither
  uses discovery nor announces itself before it belongs to a cluster; it could join anybody's nodes otherwise.
- The search never stops a node from starting, or from going on. The machine behind an address may come later.
- Warnings are bounded: the first after SILENT_AFTER_S, and then ever more seldom while nothing changes. A node that
  knows of no leader says after WAITING_SAID_S whom discovery has found and what became of each
  (``found_nodes.py``); its status says the same.
- The addresses of the machine are watched (``own_addresses.py``), since they may come and change later.
- The search runs in a thread of its own, where it may block. It asks the node what ``node_view.py`` has, and no more.
  An address is reached once a connection with its handshake is established, whatever the node there announces.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from paceline.config import NodeConfig, is_loopback, parse_address
from paceline.discovery import Discovery, SeedResolver, Sighting
from paceline.names import Names
from paceline.runtime.found_nodes import FoundNodes, probe
from paceline.runtime.interfaces import is_in_container
from paceline.runtime.limits import start_threads
from paceline.runtime.node_view import NodeView
from paceline.runtime.own_addresses import OwnAddresses

LOOK_INTERVAL_S = 0.5
SILENT_AFTER_S = 4.0
"""The node tries to connect each second, and a try takes a second at most: by then several have failed."""
WAITING_SAID_S = 10.0
"""How long a node waits for others before it says what it has found."""
REPORT_INTERVAL_S = 10.0
WAITING = "no leader"
ADDRESSES_INTERVAL_S = 2.0
"""From one look at the addresses of the machine to the next."""
REPEAT_MIN_S = 30.0
REPEAT_MAX_S = 600.0

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


@dataclass(frozen=True, slots=True)
class SearchNews:
    """What a search tells its node, from several threads. ``moved``: this node is elsewhere, (address, others).
    ``bind``: it has to listen at another address, as its interface has lost the one it listened at. ``report``: what
    was found, in lines; none once a leader is known."""

    address: Callable[[str], None]
    moved: Callable[[str, tuple[str, ...]], None]
    bind: Callable[[str], None]
    report: Callable[[tuple[str, ...]], None]


class NodeSearch:
    """One node's search for others, and its watch over its own addresses."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        node_id: str,
        own: OwnAddresses,
        names: Names,
        view: NodeView,
        news: SearchNews,
        silent_after_s: float = SILENT_AFTER_S,
        waiting_said_s: float = WAITING_SAID_S,
    ) -> None:
        self._config = config
        self._own = own
        self._view = view
        self._news = news
        self._names = names
        self._silences = Silences(silent_after_s)
        self._waits = Silences(waiting_said_s)
        self._waiting_said_s = waiting_said_s
        self._waiting_since = 0.0  # 0: a leader is known
        self._reported_at = self._said_at = 0.0
        self._reported: tuple[str, ...] = ()
        self._looked_at = 0.0  # the machine's addresses
        self._found = FoundNodes(config.cluster_name, config.cluster is not None, view)
        self._lock = threading.Lock()  # discovery is not started while, or after, it is stopped
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-search", daemon=True)
        self._seeds = SeedResolver(config.join, news.address, names=names) if config.join else None
        self._discovery: Discovery | None = None
        if config.discovery:
            self._discovery = Discovery(
                node_id=node_id,
                cluster_name=config.cluster_name,
                port=own.port,
                hosts=own.numbers,
                loopback=is_loopback(config.effective_bind_host),
                on_sighting=self._on_sighting,
            )
            self._discovery.announce(own.numbers, own.interface_hosts)
        self._is_announced = False

    def start(self) -> None:
        """Returns at once."""
        if self._seeds is not None:
            start_threads(self._seeds.start)
        if not self._config.is_pointed:
            self._announce()
        start_threads(self._thread.start)

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
                self._is_announced = self._discovery.start()

    def _on_sighting(self, sighting: Sighting) -> None:
        """Called by discovery, from its threads."""
        self._found.add(sighting)
        if sighting.cluster_name == self._config.cluster_name:
            for address in sighting.addresses:
                self._news.address(address)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_INTERVAL_S):
            if self._view.cluster_id() or not self._config.is_pointed:
                self._announce()
            now = time.monotonic()
            if now >= self._looked_at + ADDRESSES_INTERVAL_S:
                self._looked_at = now
                self._try("the addresses of this machine", self._look_at_own, now)
            self._try("the seeds", partial(self._look, now), now)
            self._try("what was found", partial(self._wait, now), now)

    def _try(self, what: str, look: Callable[[], None], now: float) -> None:
        """Look, whatever becomes of it. What is looked at was said by others, or no more files can be opened, and later
        changes must count."""
        subject = f"a look at {what}"
        try:
            look()
            self._silences.ends(subject)
        except Exception as error:  # noqa: BLE001 - as above
            if self._silences.is_due(subject, now):
                _logger.warning("can't look at %s: %r", what, error)

    # --- the addresses of this machine --------------------------------------------------------------------------

    def _look_at_own(self) -> None:
        before, bound = self._own.address, self._own.bind_host
        has_moved = self._own.look(self._view.towards())
        if self._own.bind_host != bound:
            _logger.warning(
                "the interface %s has lost the address %s; this node listens at its address %s now",
                self._config.effective_bind_host,
                bound,
                self._own.bind_host,
            )
            self._news.bind(self._own.bind_host)
        if has_moved:
            self._news.moved(self._own.address, self._own.others)
            if self._own.address != before:
                _logger.warning("this node is at %s now, and was at %s; the others are told", self._own.address, before)
        if self._discovery is not None:
            self._discovery.announce(self._own.numbers, self._own.interface_hosts)

    # --- seeds --------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        seeds = {} if self._seeds is None else self._seeds.addresses
        for seed, addresses in seeds.items():
            self._look_at(seed, addresses, now)
        if seeds and self._config.effective_expect == 0 and not self._view.cluster_id() and not self._view.has_met():
            self._tell_of_no_answer(seeds, now)

    def _look_at(self, seed: str, addresses: list[str], now: float) -> None:
        subject = f"the seed {seed}"
        if any(self._view.is_own(address) or self._view.is_reached(address) for address in addresses):
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
            else:
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
        reached = [seed for seed, addresses in seeds.items() if any(map(self._view.is_reached, addresses))]
        if reached and self._silences.is_due("an answer", now):
            _logger.warning(
                "the seed %s is reached, and no answer comes back; check that it can reach this node at %s: another "
                "machine can only with --cluster, or with --insecure and --bind, and at --advertise if that is given. "
                "%s",
                reached[0],
                self._own.address,
                self._meanwhile(),
            )

    # --- a node that waits --------------------------------------------------------------------------------------

    def _wait(self, now: float) -> None:
        """Once no leader was known for a while: report, and warn when there is news and then ever more seldom."""
        if self._view.has_leader():
            self._waiting_since = 0.0
            self._waits.ends(WAITING)
            self._report(())
            return
        self._waiting_since = self._waiting_since or now
        is_due = self._waits.is_due(WAITING, now)
        if now < self._waiting_since + self._waiting_said_s or now < self._reported_at + REPORT_INTERVAL_S:
            return
        self._reported_at = now
        lines = tuple(self._what_was_found())
        is_news = lines != self._reported
        self._report(lines)
        if is_due or (is_news and now >= self._said_at + REPEAT_MIN_S):
            self._said_at = now
            _logger.warning(
                "no leader for %.0f s. This node is at %s. %s",
                now - self._waiting_since,
                ", ".join([self._own.address, *self._own.others]),
                " ".join(line if line.endswith("?") else f"{line}." for line in lines),
            )

    def _report(self, lines: tuple[str, ...]) -> None:
        if lines != self._reported:
            self._reported = lines
            self._news.report(lines)

    def _what_was_found(self) -> list[str]:
        lines = self._found.report(self._own.address)
        if lines:
            lines.insert(0, f"Discovery has found {len(lines)} other node{'s' if len(lines) > 1 else ''}")
        elif self._config.discovery and not self._config.is_pointed:
            lines.append(
                "Discovery has found no other node; where multicast does not get through (clouds, containers, other "
                "subnets), name one with --join HOST:PORT"
            )
        for seed, (host, _) in ({} if self._seeds is None else self._seeds.seeds).items():
            if problem := self._names.problem(host):
                lines.append(f"The seed {seed} does not resolve ({problem})")
        if self._own.is_chosen and self._own.is_watched:
            if is_loopback(parse_address(self._own.address)[0]):
                lines.append("This machine has no address but loopback: is its network up?")
            elif is_in_container():
                lines.append(
                    f"This node is in a container, and {self._own.address} may be an address of its machine alone: "
                    "publish the port, and say with --advertise how other machines reach it"
                )
        return lines

    def _meanwhile(self) -> str:
        if cluster_id := self._view.cluster_id():
            return f"This node goes on in the cluster that it belongs to ({cluster_id})"
        if self._config.is_pointed:
            return "This node asks again, and joins nobody else meanwhile"
        return "This node asks again, and looks for others meanwhile"


def _refusal(address: str) -> str:
    """Why a connection to an address fails; "" if it succeeds."""
    return probe(*parse_address(address))[1]
