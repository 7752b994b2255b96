"""Two ways to choose what happens next in a :class:`~simulation.consensus_world.World`. A seed reproduces a run.

*Actions*: no clock. Any message may arrive at any time, any node may wake, crash or be slow, each at random. It looks
for broken safety, and finds in seconds what a realistic network would hide for years.

*Timed*: virtual time, delays, losses, partitions, crashes; then everything heals, and the cluster must come back: a
leader soon, and every node caught up.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

from paceline.core.raft.configuration import config_history
from paceline_protocol.messages.consensus import Config
from simulation.consensus_nodes import Disk, Flight, Node
from simulation.consensus_world import World

NETWORK_LIMIT = 60
LEADER_WITHIN_S = 1.0
COMMIT_WITHIN_S = 1.5
"""After healing, too. It may need a voter that joined a moment ago and has nothing of the log: that gets all of it
first, in batches of two entries where limits are small."""
CAUGHT_UP_WITHIN_S = 10.0
HANDED_OVER_WITHIN_S = 2.0
READ_WITHIN_S = 1.0
FORGOTTEN_WITHIN_S = 1.0
PROPOSED_WITHIN_S = 0.2


class NotLive(AssertionError):
    """The cluster is healthy again and yet makes no progress."""


def changed_config(config: Config, node_ids: list[str], choose: random.Random) -> Config:
    """A configuration that differs by one server, chosen at random."""
    voters, learners = set(config.voters), set(config.learners)
    node_id = choose.choice(node_ids)
    part = choose.choice(("absent", "learner", "voter", "voter"))
    voters.discard(node_id)
    learners.discard(node_id)
    if part != "absent":
        (voters if part == "voter" else learners).add(node_id)
    return Config(tuple(sorted(voters)), tuple(sorted(learners))) if voters else config


class ActionRun:
    """A run without a clock."""

    def __init__(self, seed: int, say: Callable[[str], None] | None = None) -> None:
        self.choose = random.Random(seed)
        nodes = "abcde"[: self.choose.choice((1, 2, 3, 3, 3, 4, 5, 5))]
        voters = nodes[: self.choose.randint(1, len(nodes))] if self.choose.random() < 0.3 else nodes
        self.world = World(nodes, seed, voters=voters, say=say)
        churn, crashes = self.choose.choice((0, 1, 4)), self.choose.choice((0, 1, 3, 8))
        actions: list[tuple[Callable[[], None], int]] = [
            (self.deliver, 60),
            (self.write, 30),
            (self.wake, 8),
            (self.propose, self.choose.choice((2, 8))),
            (self.read, self.choose.choice((0, 2, 8))),
            (self.drop, self.choose.choice((0, 3, 12))),
            (self.double, self.choose.choice((0, 3))),
            (self.campaign, self.choose.choice((0, 0, 1))),
            (self.transfer_leadership, self.choose.choice((0, 1, 4))),
            (self.crash, crashes),
            (self.restart, crashes * 3),
            (self.change_config, churn),
            (self.compact, self.choose.choice((0, 1))),
        ]
        self._actions = [action for action, _ in actions]
        self._weights = [weight for _, weight in actions]

    def run(self, steps: int) -> None:
        for action in self.choose.choices(self._actions, self._weights, k=steps):
            action()

    def _node(self) -> Node | None:
        up = self.world.up()
        return self.choose.choice(up) if up else None

    def _leader(self) -> Node | None:
        """Any node that believes that it leads, deposed ones too."""
        leaders = [node for node in self.world.up() if node.core is not None and node.core.is_leader]
        return self.choose.choice(leaders) if leaders else None

    def _take_flight(self, remove: bool) -> Flight | None:
        network = self.world.network
        if len(network) > NETWORK_LIMIT:
            del network[self.choose.randrange(len(network))]
        if not network:
            return None
        place = self.choose.randrange(len(network)) if self.choose.random() < 0.5 else 0
        return network.pop(place) if remove else network[place]

    def deliver(self) -> None:
        if flight := self._take_flight(remove=True):
            self.world.deliver(flight)

    def drop(self) -> None:
        self._take_flight(remove=True)

    def double(self) -> None:
        if flight := self._take_flight(remove=False):
            self.world.deliver(flight)

    def write(self) -> None:
        waiting = [node for node in self.world.up() if node.writes]
        if waiting:
            self.world.complete_write(self.choose.choice(waiting))

    def wake(self) -> None:
        if node := self._node():
            self.world.wake(node)

    def campaign(self) -> None:
        """As if a leader had told it to, whatever it knows of the log: the worst that TimeoutNow can do."""
        node = self._node()
        if node is not None and self._leader() is not None:
            self.world.campaign(node, transfer=True)

    def transfer_leadership(self) -> None:
        if node := self._leader():
            self.world.transfer_leadership(node, self.choose.choice(list(self.world.nodes)))

    def propose(self) -> None:
        if node := self._leader():
            self.world.propose(node)

    def read(self) -> None:
        if node := self._leader():
            self.world.read(node)

    def change_config(self) -> None:
        if node := self._leader():
            assert node.core is not None
            wanted = changed_config(node.core.config, list(self.world.nodes), self.choose)
            self.world.propose_config(node, wanted)

    def crash(self) -> None:
        if node := self._node():
            self.world.crash(node)

    def restart(self) -> None:
        down = [node for node in self.world.nodes.values() if node.core is None]
        if down:
            self.world.restart(self.choose.choice(down).node_id)

    def compact(self) -> None:
        if node := self._node():
            self.world.take_snapshot(node)


class TimedRun:
    """A run in virtual time: a while of faults, then a while of peace."""

    def __init__(self, seed: int, bootstrap: bool = False, say: Callable[[str], None] | None = None) -> None:
        self.choose = random.Random(seed)
        self.now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._cut: set[tuple[str, str]] = set()  # one-way links that are down
        self._copied: tuple[str, Disk] | None = None  # a node, and its disk at some moment
        nodes = "abcde"[: self.choose.choice((1, 2, 3, 3, 4, 5))]
        self.loss = self.choose.choice((0.0, 0.02, 0.2))
        self.doubling = self.choose.choice((0.0, 0.05))
        self.delay_s = self.choose.choice((0.0005, 0.005, 0.03))
        self.write_s = self.choose.choice((0.0002, 0.01, 0.1))
        self.faults = True
        self.world = World(
            nodes,
            seed,
            voters="" if bootstrap else nodes,
            on_send=self._on_send,
            on_write=self._on_write,
            say=None if say is None else lambda text: say(f"{self.now:8.4f} {text}"),
        )
        self._bootstrap = bootstrap
        self._start("a")

    def _start(self, node_id: str) -> None:
        """Start a node; the one that forms the cluster tries again if a crash came before its log was durable."""
        node = self.world.nodes[node_id]
        if node.core is None:
            self.world.restart(node_id)
        if self._bootstrap and node_id == "a" and node.disk.last_index() == 0:
            self.world.bootstrap(node)

    # --- the engine ---

    def at(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), event))

    def run_until(self, end: float, condition: Callable[[], bool] | None = None) -> bool:
        """Run to ``end``, or until ``condition`` holds; returns whether it does."""
        while condition is None or not condition():
            next_event = self._events[0][0] if self._events else float("inf")
            sleepers = [(node.core.next_deadline(), node.node_id) for node in self.world.up() if node.core]
            next_wake, sleeper = min(sleepers, default=(float("inf"), ""))
            self.now = max(self.now, min(next_event, next_wake, end))
            if min(next_event, next_wake) > end:
                return condition is None
            self._set_clocks()
            if next_event <= next_wake:
                heapq.heappop(self._events)[2]()
            else:
                self.world.tick(self.world.nodes[sleeper], self.now)
        return True

    def _set_clocks(self) -> None:
        for node in self.world.nodes.values():
            node.now = self.now

    def _on_send(self, flight: Flight) -> None:
        if self.faults and self.choose.random() < self.loss:
            return
        if (flight.sender, flight.recipient) in self._cut:
            return
        copies = 2 if self.faults and self.choose.random() < self.doubling else 1
        for _ in range(copies):
            self.at(self.choose.uniform(0.2, 1.0) * self.delay_s, lambda: self.world.deliver(flight))

    def _on_write(self, node: Node) -> None:
        """Each write takes its time; one that a crash interrupted never completes."""
        core = node.core

        def complete() -> None:
            if node.core is core and node.writes:
                self.world.complete_write(node)

        self.at(self.choose.uniform(0.1, 1.0) * self.write_s, complete)

    # --- the story ---

    def run(self, faulty_s: float) -> None:
        self._plan_faults(faulty_s)
        self.run_until(faulty_s)
        self._heal()
        healed_at = self.now
        if not self.run_until(healed_at + LEADER_WITHIN_S, self._has_leader):
            raise NotLive(f"no leader within {LEADER_WITHIN_S} s of healing")
        if not self.run_until(healed_at + COMMIT_WITHIN_S, self._has_committed):
            raise NotLive(f"nothing is committed within {COMMIT_WITHIN_S} s of healing")
        if not self.run_until(healed_at + CAUGHT_UP_WITHIN_S, self._caught_up):
            raise NotLive(f"not every member caught up within {CAUGHT_UP_WITHIN_S} s of healing")
        # A transfer that was asked for at the last moment may still take a leader away, and its reads with it.
        self.run_until(self.now + 2 * self.world.timing.election_timeout_max_s)
        self._read_in_peace()
        self._put_a_disk_back()
        self._transfer_leadership()

    def _put_a_disk_back(self) -> None:
        """In peace, a follower gets its disk back as it was at some moment before. If it lacks what it has acknowledged
        to the leader it ends, and meanwhile nothing is committed that counts on it; then it gets a disk with all."""
        leader, copied = self.world.leader(), self._copied
        assert leader is not None
        assert leader.core is not None
        if copied is None or copied[0] == leader.node_id or copied[0] not in leader.core.config.voters:
            return
        node, disk = self.world.nodes[copied[0]], copied[1]
        if config_history(disk.log(), disk.snapshot.config).current != leader.core.config:
            return  # with the votes of then it may lead by itself
        term, must_end = leader.core.term, leader.core.match_of(node.node_id) > disk.last_index()
        self.world.crash(node)
        whole = node.disk.copy()
        self.world.roll_back(node, disk)
        self._start(node.node_id)
        for _ in range(3):
            self.at(self.choose.uniform(0, PROPOSED_WITHIN_S), self._propose)
        proposed_at = self.now + PROPOSED_WITHIN_S
        has_ended = self.run_until(self.now + FORGOTTEN_WITHIN_S, lambda: node.core is None)
        if must_end and not has_ended and leader.core is not None and leader.core.term == term:
            raise NotLive(f"{node.node_id} has forgotten, and goes on {FORGOTTEN_WITHIN_S} s later")
        if has_ended:
            self.world.roll_back(node, whole)
            self._start(node.node_id)
        self.run_until(proposed_at)
        if not self.run_until(self.now + CAUGHT_UP_WITHIN_S, self._caught_up):
            raise NotLive(f"not every member caught up within {CAUGHT_UP_WITHIN_S} s after {node.node_id} forgot")

    def _copy(self) -> None:
        node = self.choose.choice(list(self.world.nodes.values()))
        self._copied = (node.node_id, node.disk.copy())

    def _read_in_peace(self) -> None:
        """Whoever leads then confirms a read."""
        leader = self.world.leader()
        assert leader is not None
        ticket = self.world.read(leader)
        if not self.run_until(self.now + READ_WITHIN_S, lambda: ticket is not None and ticket not in leader.reads):
            raise NotLive(f"a read is not confirmed within {READ_WITHIN_S} s")

    def _transfer_leadership(self) -> None:
        """In peace, whoever is asked to take over does."""
        leader = self.world.leader()
        assert leader is not None
        assert leader.core is not None
        others = [voter for voter in leader.core.config.voters if voter != leader.node_id]
        if not others:
            return
        term, target = leader.core.term, self.choose.choice(others)
        self.world.transfer_leadership(leader, target)
        if not self.run_until(self.now + HANDED_OVER_WITHIN_S, lambda: self.world.leaders.get(term + 1) == target):
            raise NotLive(f"{target} does not lead term {term + 1} within {HANDED_OVER_WITHIN_S} s of being asked to")

    def _plan_faults(self, faulty_s: float) -> None:
        for _ in range(int(faulty_s * 20)):
            self.at(self.choose.uniform(0, faulty_s), self._propose)
            self.at(self.choose.uniform(0, faulty_s), self._read)
        self.at(self.choose.uniform(0, faulty_s), self._copy)
        faults = (self._crash, self._partition, self._reconnect, self._compact, self._change_config, self._transfer)
        for fault in faults:
            for _ in range(self.choose.randint(0, int(faulty_s * 1.5))):
                self.at(self.choose.uniform(0, faulty_s), fault)

    def _heal(self) -> None:
        """Peace: links, disks and nodes work. The delays stay."""
        self.faults = False
        self._cut.clear()
        for node in self.world.nodes.values():
            if node.core is None:
                self._start(node.node_id)
        self.write_s = min(self.write_s, 0.01)
        self.delay_s = min(self.delay_s, 0.005)

    def _has_leader(self) -> bool:
        """One that a majority follows."""
        leader = self.world.leader()
        return leader is not None and leader.core is not None and leader.core.has_quorum_lease(self.now)

    def _has_committed(self) -> bool:
        leader = self.world.leader()
        return leader is not None and leader.core is not None and leader.core.has_committed_in_term

    def _caught_up(self) -> bool:
        leader = self.world.leader()
        if leader is None or leader.core is None or not leader.core.has_committed_in_term:
            return False
        members = {*leader.core.config.voters, *leader.core.config.learners}
        return all(self.world.nodes[member].applied_index == leader.core.log.last_index for member in members)

    def _propose(self) -> None:
        if leader := self.world.leader():
            self.world.propose(leader)

    def _read(self) -> None:
        """Of anyone who believes that it leads."""
        for node in self.world.up():
            if node.core is not None and node.core.is_leader:
                self.world.read(node)

    def _crash(self) -> None:
        up = self.world.up()
        if not up:
            return
        node = self.choose.choice(up)
        self.world.crash(node)

        def restart() -> None:
            if node.core is None:
                self._start(node.node_id)

        self.at(self.choose.uniform(0.01, 2.0), restart)

    def _partition(self) -> None:
        """Cut one-way links between two sides, or around one node."""
        nodes = list(self.world.nodes)
        side = set(self.choose.sample(nodes, self.choose.randint(1, len(nodes))))
        both_ways = self.choose.random() < 0.7
        for sender in nodes:
            for recipient in nodes:
                if (sender in side) != (recipient in side) and (both_ways or sender in side):
                    self._cut.add((sender, recipient))

    def _reconnect(self) -> None:
        self._cut.clear()

    def _transfer(self) -> None:
        if leader := self.world.leader():
            self.world.transfer_leadership(leader, self.choose.choice(list(self.world.nodes)))

    def _compact(self) -> None:
        if up := self.world.up():
            self.world.take_snapshot(self.choose.choice(up))

    def _change_config(self) -> None:
        leader = self.world.leader()
        if leader is not None and leader.core is not None:
            wanted = changed_config(leader.core.config, list(self.world.nodes), self.choose)
            self.world.propose_config(leader, wanted)
