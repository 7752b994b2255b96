"""The speakers of ``speakers.py`` against the process of a real node, beside a client that is measured.

The client that behaves is a process of its own, so that making frames costs it nothing: it submits one task at a time
and waits for its result, at first alone, and then while everybody speaks. Each of its tasks must have its one right
outcome. The node must live, within ``RSS_LIMIT_BYTES``, and must have counted each frame that it had to drop.

With keys the node has a cluster file, whoever behaves has the key of a client, and whoever does not has that of a node,
a client or an observer.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil
import zmq

from fuzz.execution import Report
from fuzz.speakers import ROLES, Speaker, Verdicts
from paceline import Client, Cluster
from paceline.cluster_file import ClientFile
from paceline.config import parse_address
from paceline.errors import IdentityLost, NodeRunsTwice
from paceline.key_changes import issue
from paceline.local_token import read_token
from paceline.runtime.transport.transport import Source
from paceline.security import ISSUED_ROLES, Credentials, KeyRole, Standing
from paceline.sockets import show
from paceline_bench.report.stats import percentile

TASKS: Final = Path(__file__).with_name("live_tasks.py")
ROLES_OF_SOCKETS: Final = ("stranger", "client", "node")
"""The others speak on socket pairs that nobody else has an end of."""
LIVE: Final[dict[str, tuple[str, ...]]] = {
    "live": ROLES_OF_SOCKETS,
    **{f"live-{role}": (role,) for role in ROLES_OF_SOCKETS},
    "live-keys": ("stranger", "client"),
    "live-keys-node": ("node",),
}
"""The targets, and who speaks in each."""
SECURE: Final = {"live-keys", "live-keys-node"}
"""Those in which everybody has a key."""
RSS_LIMIT_BYTES: Final = 1 << 30
"""What a node may take, whatever is said to it: what it keeps for clients that do not read, twice, and itself."""
IDLE_S: Final = 3.0
BURST: Final = 50
LOOK_EVERY_S: Final = 0.25
DRAIN_S: Final = 5.0
"""How long a node that has something to read may count nothing."""
TASK_S: Final = 60.0
KEPT_CONNECTIONS: Final = 256
"""Of sessions that are over, so that the node has read all of them before they end."""
BACKLOG_FRAMES: Final = 10_000
"""That the node has not read yet, beyond which the speakers wait: less than the kept connections have brought."""
CONNECT_MS: Final = 2_000
COUNTED: Final = 0.95
"""Part of the frames to be dropped that must be counted: what is under way when a connection ends may be lost. That
none goes uncounted is shown in memory (``world.py``)."""
ENDED_BY_NAME: Final = (IdentityLost.exit_code, NodeRunsTwice.exit_code)
PAUSE_S: Final = 0.01
"""Between two tasks of the client that behaves."""


@dataclass
class Measured:
    """What the client that behaves has seen. Seconds, in the order in which they came."""

    idle_s: list[float] = field(default_factory=list)
    during_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


IDLE, SPEAKING, DRAINING, OVER = range(4)
"""The phases of a run. What is measured counts in the first two."""

Keys = dict[KeyRole, Credentials]
"""What the holder of a key of each role shows; without keys everybody is a node's equal."""


def without_keys() -> Keys:
    return {KeyRole.NODE: Credentials(token=read_token())}


def with_keys(cluster: Cluster) -> tuple[Keys, ClientFile]:
    """Give a secure cluster that was not started yet a key for each role. Returns them, and one for who behaves."""
    assert cluster._cluster_file is not None
    files = {}
    for role in ISSUED_ROLES:
        cluster._cluster_file, files[role] = issue(cluster._cluster_file, f"a-bad-{role.value}", role)
    cluster._cluster_file, behaves = issue(cluster._cluster_file, "who-behaves", KeyRole.CLIENT)
    keys = {role: file.credentials for role, file in files.items()}
    return {KeyRole.NODE: cluster._cluster_file.credentials, **keys}, behaves


def behave(address: str, key: ClientFile | None, phase: Any, measures: Any, results: Connection) -> None:
    """The client that behaves. ``measures``: of each phase that counts, set once it has measured a task."""
    measured, number = Measured(), 0
    with Client(address, cluster=key) as client:
        while phase.value != OVER:
            number += 1
            now_in, began = phase.value, time.perf_counter()
            try:
                answer = client.submit("live_tasks.double", number).result(TASK_S)
            except Exception as error:  # noqa: BLE001 - each is a task without its right outcome
                measured.wrong.append(f"task {number}: {type(error).__name__}: {error}")
                continue
            took_s = time.perf_counter() - began
            if answer != 2 * number:
                measured.wrong.append(f"task {number} gave {answer}")
            if now_in in (IDLE, SPEAKING):
                (measured.during_s if now_in == SPEAKING else measured.idle_s).append(took_s)
                measures[now_in].set()
            time.sleep(PAUSE_S)
    results.send(measured)


class LiveEnd:
    """The end of one connection to the node: a ``MemoryEndpoint`` in what speakers use of it."""

    def __init__(self, ground: Ground, address: str, role: KeyRole) -> None:
        self.name = address
        self.role = role
        self.node_gone = False
        self._ground = ground
        # Not as the product's own are set up: those end a connection on which the other end takes nothing for long.
        self._socket = ground.context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        show(self._socket, ground.keys[role], *parse_address(address))
        self._socket.connect(f"tcp://{address}")
        self._is_up = False

    def send(self, frames: list[bytes]) -> bool:
        if not self._is_up:  # what a session begins with has to arrive
            self._is_up = bool(self._socket.poll(CONNECT_MS, zmq.POLLOUT))
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes]:
        found = []
        while len(found) < BURST and self._socket.poll(0):
            found.append(self._socket.recv())
        return found

    def close(self) -> None:
        """The session is over. Its connection ends later: with it, what the node has not read yet is lost."""
        self._ground.leave(self)

    def shut(self) -> None:
        self._socket.close(linger=0)


@dataclass
class LiveNode:
    """A node as speakers see one."""

    address: str
    reactor: bool = True  # it runs


class Ground:
    """A ``FuzzWorld`` in what speakers use of it, with one real node."""

    def __init__(
        self, seed: int, roles: Sequence[str], keys: Keys, address: str, node_id: str, cluster_id: str
    ) -> None:
        self.rng = Random(seed)
        self.keys = keys
        self._given: dict[bytes, KeyRole] = {}  # to sessions that are about to begin
        self.nodes = [LiveNode(address)]
        self.network = self
        self.verdicts = Verdicts()
        self.sent_frames = 0
        self.context: zmq.Context[Any] = zmq.Context()
        self._left: deque[LiveEnd] = deque()
        self._peers = [LiveEnd(self, address, KeyRole.NODE) for _ in range(4)]
        self.speakers = [ROLES[role](self) for role in roles]  # type: ignore[arg-type]
        for speaker in self.speakers:
            texts = speaker.frames.known.texts
            texts["cluster_id"].append(cluster_id)
            texts["recipient"].append(node_id)
            texts["sender"].extend(("n0", "n1"))  # whoever says that it is this very node may end it, by name

    def said_by_nodes(self) -> list[list[bytes]]:
        """There is one alone."""
        return []

    def give_key(self, node: LiveNode, session: bytes, standing: Standing) -> None:
        if standing.role in self.keys:  # else everybody of this user may say everything
            self._given[session] = standing.role

    def ids_of_others(self) -> list[bytes]:
        """What the client that behaves waits for is known to nobody here."""
        return []

    def client(self, address: str, session: bytes) -> LiveEnd:
        return LiveEnd(self, address, self._given.pop(session, KeyRole.NODE))

    def leave(self, end: LiveEnd) -> None:
        """Nobody speaks on this connection any more."""
        self._left.append(end)
        if len(self._left) > KEPT_CONNECTIONS:
            self._left.popleft().shut()

    def read_all(self) -> None:
        """What comes for those who have left, too."""
        for end in (*self._left, *self._peers):
            end.receive()

    def send(self, speaker: Speaker, end: Any, frame: bytes) -> None:
        if end.send([frame]):
            self._count(speaker.source, [frame], end.role)

    def send_peer(self, speaker: Speaker, node: LiveNode, frames: list[bytes]) -> None:
        if self.rng.choice(self._peers).send(frames):
            self._count(Source.PEER if len(frames) > 1 else Source.CLIENT, frames, KeyRole.NODE)

    def _count(self, source: Source, frames: list[bytes], role: KeyRole) -> None:
        self.sent_frames += len(frames)
        self.verdicts.judge(source, frames, role)

    def close(self) -> None:
        for speaker in self.speakers:
            speaker.close()
        for end in (*self._left, *self._peers):
            end.shut()
        self.context.term()


@dataclass
class LiveReport:
    """Of one run."""

    roles: tuple[str, ...]
    secure: bool
    sent_frames: int
    seconds: float
    peak_bytes: int
    measured: Measured
    kinds: list[str]
    counted: str
    failures: list[str]

    def lines(self) -> list[str]:
        idle, during = of_latency(self.measured.idle_s), of_latency(self.measured.during_s)
        return [
            f"live node{' with keys' if self.secure else ''}, {', '.join(self.roles)}: "
            f"{self.sent_frames:,} frames in {self.seconds:.0f} s "
            f"({self.sent_frames / self.seconds:,.0f}/s), {len(self.kinds)} kinds, at most {self.peak_bytes >> 20} MiB",
            f"  the client beside: idle {idle}; during {during}{self._slower()}",
            f"  {self.counted}",
            *(f"  FAILED: {failure}" for failure in self.failures),
        ]

    def _slower(self) -> str:
        measured = self.measured
        if not measured.idle_s or not measured.during_s:
            return ""
        return f"; p99 {percentile(measured.during_s, 99) / percentile(measured.idle_s, 99):.1f} times that of idle"


def of_latency(taken_s: list[float]) -> str:
    if not taken_s:
        return "no task ended"
    p50, p99 = percentile(taken_s, 50), percentile(taken_s, 99)
    return f"p50 {p50 * 1e3:.1f}, p99 {p99 * 1e3:.1f}, max {max(taken_s) * 1e3:.1f} ms of {len(taken_s):,} tasks"


def run(seed: int, roles: Sequence[str], for_s: float, *, secure: bool = False) -> LiveReport:
    """Speak to a node for so long. ``secure``: with keys."""
    described = Cluster.local(TASKS, metrics=True, secure=secure)
    keys, key = with_keys(described) if secure else (without_keys(), None)
    with described as cluster:
        node = cluster.nodes[0]
        with cluster.client() as client:
            status = client.status()
        context = multiprocessing.get_context("spawn")
        phase = context.Value("i", 0)
        measures = {each: context.Event() for each in (IDLE, SPEAKING)}
        results, other_end = context.Pipe(duplex=False)
        behaving = context.Process(target=behave, args=(node.address, key, phase, measures, other_end), daemon=True)
        behaving.start()
        measures[IDLE].wait(TASK_S)
        time.sleep(IDLE_S)
        phase.value = SPEAKING
        ground = Ground(seed, roles, keys, node.address, str(status["nodes"][0]["id"]), str(status["cluster_id"]))
        before = counted_by(node.metrics_address, {})
        began = time.monotonic()
        peak_bytes, failures = speak(ground, node, for_s)
        seconds = time.monotonic() - began
        measures[SPEAKING].wait(TASK_S if node.alive else 0)
        phase.value = DRAINING
        counted = dropped(ground, node, before, failures)
        phase.value = OVER
        measured = results.recv() if results.poll(TASK_S + IDLE_S) else Measured()
        behaving.join(IDLE_S)
        ground.close()
    # Whoever speaks as a node may lead, and then others wait for as long as it speaks.
    away = ("NoLeader", "NoNodeFound") if "node" in roles else ()
    failures += [each for each in measured.wrong if not any(word in each for word in away)][:5]
    if not measured.during_s:
        failures.append("no task of the client that behaves ended meanwhile")
    kinds = list(ground.verdicts.kinds)
    return LiveReport(tuple(roles), secure, ground.sent_frames, seconds, peak_bytes, measured, kinds, counted, failures)


def speak(ground: Ground, node: Any, for_s: float) -> tuple[int, list[str]]:
    """(The most memory that the node had, what went wrong)."""
    process, peak_bytes, look_at = psutil.Process(node.pid), 0, 0.0
    before = counts = counted_by(node.metrics_address, {})
    end, allowed = time.monotonic() + for_s, BACKLOG_FRAMES
    while (now := time.monotonic()) < end:
        for speaker in ground.speakers if ground.sent_frames < allowed else ():
            speaker.listen()
            for _ in range(BURST):
                speaker.speak()
        if now < look_at and ground.sent_frames >= allowed:
            time.sleep(PAUSE_S)
        if now >= look_at:
            look_at = now + LOOK_EVERY_S
            ground.read_all()
            counts = counted_by(node.metrics_address, counts)
            allowed = int(counts["received"] - before["received"]) + BACKLOG_FRAMES
            if not node.alive:
                return peak_bytes, ended(ground, node)
            peak_bytes = max(peak_bytes, process.memory_info().rss)
            if peak_bytes > RSS_LIMIT_BYTES:
                return peak_bytes, [f"the node takes {peak_bytes >> 20} MiB"]
    return peak_bytes, []


def ended(ground: Ground, node: Any) -> list[str]:
    """What is wrong with that the node has ended. Whoever speaks as a node may end another by name."""
    by_name = any(speaker.role == "node" for speaker in ground.speakers) and node._process.returncode in ENDED_BY_NAME
    return [] if by_name else [f"the node has ended{node._log_tail()}"]


def dropped(ground: Ground, node: Any, before: dict[str, float], failures: list[str]) -> str:
    """What the node has counted, once it has read everything. What it did not count is a failure."""
    if not node.alive:
        failures += ended(ground, node)
        return "it has counted nothing any more"
    wanted = ground.verdicts.malformed + ground.verdicts.unexpected + ground.verdicts.forbidden
    kinds = ("malformed", "unexpected", "ignored", "forbidden")
    end, last = time.monotonic() + DRAIN_S, before
    for speaker in ground.speakers:
        speaker.close()
    while True:
        ground.read_all()
        now = counted_by(node.metrics_address, last)
        if now != last:
            last, end = now, time.monotonic() + DRAIN_S
        counted = {kind: int(now[kind] - before[kind]) for kind in kinds}
        if sum(counted.values()) >= wanted or time.monotonic() > end:
            break
        time.sleep(LOOK_EVERY_S)
    if sum(counted.values()) < COUNTED * wanted:
        failures.append(f"of the frames that were sent {wanted} had to be dropped, and {counted} were counted")
    return "dropped and counted: " + ", ".join(f"{count:,} {kind}" for kind, count in counted.items())


def counted_by(address: str, last: dict[str, float]) -> dict[str, float]:
    """The counters of the node; ``last``, if it has no time to say."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=DRAIN_S) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        if not last:
            raise
        return last
    return {
        kind: float(line.split()[1])
        for line in lines
        for kind in ("received", "malformed", "unexpected", "ignored", "forbidden")
        if line.startswith(f"paceline_frames_{kind}_total")
    }


def main() -> None:
    """``python -m fuzz.live TARGET SECONDS SEED DIRECTORY``."""
    target, for_s, seed, directory = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    found = run(seed, LIVE[target], for_s, secure=target in SECURE)
    print("\n".join(found.lines()), flush=True)
    report = Report(target, found.sent_frames, dict.fromkeys(found.kinds, 1), peak_bytes=found.peak_bytes)
    report.slowest_s, report.slowest = max(found.measured.during_s, default=0.0), "of the client beside"
    report.crashes = {failure[:80]: (str(directory / f"{target}.log"), failure) for failure in found.failures}
    (directory / f"{target}.json").write_text(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
