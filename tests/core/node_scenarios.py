"""Runs a scripted scenario of whole nodes, with their workers and clients, and writes down what leaves them.

The files look and are rewritten like those of the consensus core (``scenarios.py``). Time passes only by ``advance``
and ``until``; in between, every node is woken when it asked to be, and what nodes send each other arrives at once.
Heartbeats, hellos and the log's own messages are not printed. Tasks are numbers, nodes and clients are single letters.

==========================================  ===================================================================
``start abc [KEY=NUMBER ...]``              these nodes exist from now on, and know each other; KEY: of Settings
``advance 0.5``                             time passes
``until a leads``                           time passes until it does (5 seconds at most)
``cut b``, ``join b``                       nothing reaches b, or comes from it; it is back
``stop b``, ``wake b``                      b's process stands still; it goes on
``restart a [KEY=NUMBER ...]``              its process ends; another goes on with what was durable, and these settings
``hold a``, ``write a``                     a's writes are not durable from now on; those so far are
``worker a w ready add,sub``                a worker of a can run these tasks
``worker a w done 1 2=failed``              it answers
``worker a w lost killed by signal 9``      it dies
``client c hello a``                        a client connects to a
``client c submit 1 2 [name=add]``          and so on: ``wait 1``, ``cancel 1``, ``ping``, ``gone``
``known a add 0.1``                         a leads, and expects tasks of this name to take so long
``status a``                                some of a's status
``quietly COMMAND``                         the same without printing
==========================================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from core.scenarios import Scenario
from paceline.core.effects import Effects, PeerBatch
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Log
from paceline.core.reports.questions import QUESTIONS
from paceline.core.reports.status import status
from paceline.core.settings import Settings
from paceline_protocol.codec import decode_held, decode_outcomes, encode_calls
from paceline_protocol.messages.client import (
    AdminReply,
    Cancel,
    CancelReply,
    CancelState,
    ClientMessage,
    ClientReply,
    Hello,
    Ping,
    Redirect,
    Refusal,
    Submit,
    Update,
    Wait,
    Welcome,
)
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd
from paceline_protocol.messages.work import (
    Dispatch,
    Enrol,
    EnrolWithDefaults,
    NodeOutcomes,
    Revoke,
    Revoked,
    Stopping,
    StopTasks,
)

TURNS_LIMIT = 1_000


class NodeScenario(Scenario):
    """One run of a scenario's commands."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[str, NodeCore] = {}
        self._out_of_reach: set[str] = set()
        self._asleep: set[str] = set()
        self._holding: dict[str, list[tuple[int | None, list[PeerBatch]]]] = {}
        self._seen: set[tuple[str, bytes, int]] = set()  # what workers are asked to stop
        self._attempts: dict[tuple[str, bytes, int], int] = {}  # what each worker was given
        self._connections: dict[str, str] = {}  # client -> node
        self._acks: dict[str, int] = {}
        self._submits: dict[str, int] = {}

    def _run_command(self, command: str) -> None:
        name, *words = command.split()
        if name == "quietly":
            kept = self._lines
            self._lines = []
            self._run_command(command.removeprefix("quietly "))
            self._lines = kept
            return
        getattr(self, f"_do_{name}")(*words)
        self._settle()

    # --- commands

    def _do_start(self, nodes: str, *options: str) -> None:
        numbers = _settings(options)
        numbers.setdefault("expect", len(nodes))
        for node_id in nodes:
            self._start(Settings(cluster_name="test", **numbers), Identity(node_id, incarnation=1), None)

    def _start(self, settings: Settings, identity: Identity, consensus: Consensus | None) -> None:
        core = self._nodes[identity.node_id] = NodeCore(
            settings,
            identity,
            address=identity.node_id,
            spare_cluster_id=f"cluster of {identity.node_id}",
            random=Random(identity.node_id),
            now=self._now,
            consensus=consensus,
            questions=QUESTIONS,
        )
        for other in self._nodes:
            core.on_address(other)
            self._nodes[other].on_address(identity.node_id)

    def _do_restart(self, node_id: str, *options: str) -> None:
        before = self._nodes[node_id]
        settings = replace(before.settings, **_settings(options))
        log = before.consensus.log
        assert log.snapshot_index == 0, "there is no snapshot to start from"
        consensus = Consensus(
            node_id,
            timing=settings.timing,
            random=Random(node_id),
            now=self._now,
            hard_state=before.consensus.hard_state,
            log=Log(entries=[replace(entry, decoded=None) for entry in log.entries_to(1, log.durable_index)]),
            feature_level=settings.feature_level,
        )
        self._start(settings, replace(before.identity, incarnation=before.identity.incarnation + 1), consensus)

    def _do_advance(self, seconds: str) -> None:
        self._pass_time(self._now + float(seconds))

    def _do_until(self, node_id: str, _leads: str) -> None:
        end = self._now + 5.0
        while self._nodes[node_id].leader is None:
            assert self._now < end, f"{node_id} does not lead"
            self._pass_time(self._now + 0.01)

    def _do_cut(self, node_id: str) -> None:
        self._out_of_reach.add(node_id)

    def _do_join(self, node_id: str) -> None:
        self._out_of_reach.remove(node_id)

    def _do_stop(self, node_id: str) -> None:
        self._asleep.add(node_id)

    def _do_wake(self, node_id: str) -> None:
        self._asleep.remove(node_id)

    def _do_hold(self, node_id: str) -> None:
        self._holding[node_id] = []

    def _do_write(self, node_id: str) -> None:
        for seq, promises in self._holding.pop(node_id):
            self._written(node_id, seq, promises)

    def _do_worker(self, node_id: str, worker: str, event: str, *words: str) -> None:
        node, worker_id = self._nodes[node_id], worker.encode()
        if event == "ready":
            node.on_worker_ready(worker_id, tuple(words[0].split(",")))
        elif event == "done":
            outcomes = tuple(self._outcome(node_id, worker_id, word) for word in words)
            node.on_worker_done(worker_id, outcomes, self._now)
        else:
            node.on_worker_lost(worker_id, " ".join(words), self._now)

    def _outcome(self, node_id: str, worker_id: bytes, word: str) -> Outcome:
        number, _, end = word.partition("=")
        attempt = self._attempts.pop((node_id, worker_id, int(number)))
        return (task_id(number), attempt, int(TaskEnd[(end or "succeeded").upper()]), b"", 1_000)

    def _do_client(self, client: str, event: str, *words: str) -> None:
        if event == "hello":
            self._connections[client] = words[0]
            self._acks[client] = self._submits[client] = 0
        node = self._nodes[self._connections[client]]
        key = client.encode()
        if event == "gone":
            node.on_client_gone(key)
        else:
            node.on_client(key, self._client_message(client, event, words), self._now)

    def _client_message(self, client: str, event: str, words: tuple[str, ...]) -> ClientMessage:
        options = dict(word.split("=") for word in words if "=" in word)
        ids = tuple(task_id(word) for word in words if word.isdecimal())
        if event == "hello":
            return Hello(client.encode() * 16, "")
        if event == "submit":
            self._submits[client] += 1
            limit = options.get("max_attempts")
            per_call = None if limit is None else {"max_attempts": int(limit)}
            calls = encode_calls(
                [(each, options.get("name", "add"), int(options.get("priority", "4")), b"", per_call) for each in ids]
            )
            return Submit(self._submits[client], self._acks[client], calls, prompt=True)
        if event == "wait":
            return Wait(self._acks[client], ids)
        return Cancel(1, ids) if event == "cancel" else Ping(self._acks[client])

    def _do_known(self, node_id: str, name: str, seconds: str) -> None:
        leader = self._nodes[node_id].leader
        assert leader is not None
        leader.dispatcher.durations.observe(name, int(float(seconds) * 1e6))

    def _do_status(self, node_id: str) -> None:
        told = status(self._nodes[node_id], self._now)
        keys = ("leader_id", "queued", "running", "accepted_total", "recorded_total", "results_kept", "fault_tolerance")
        self._lines.append(f"{node_id}: " + ", ".join(f"{key} {told[key]}" for key in keys))
        self._lines += [f"  {row['id']}: {row['role']}{'' if row['alive'] else ', silent'}" for row in told["nodes"]]

    # --- time, and what leaves

    def _pass_time(self, until: float) -> None:
        while True:
            awake = [node for node in self._nodes.values() if node.node_id not in self._asleep]
            due = min((node.next_deadline() for node in awake), default=until)
            if due > until:
                break
            self._now = max(self._now, due)
            for node in awake:
                if self._now >= node.next_deadline():
                    node.tick(self._now)
            self._settle()
        self._now = until

    def _settle(self) -> None:
        """Take effects and deliver what nodes send each other, until nothing moves."""
        for _ in range(TURNS_LIMIT):
            moved = False
            for node_id, node in self._nodes.items():
                if node_id not in self._asleep:
                    moved = self._perform(node_id, node.take_effects(self._now)) or moved
            if not moved:
                return
        raise AssertionError("the nodes never come to rest")

    def _perform(self, node_id: str, effects: Effects) -> bool:
        for notice in effects.notices:
            self._print(node_id, f"{notice.level}: {notice.text}")
        for worker_id, tasks in effects.to_workers:
            self._attempts |= {(node_id, worker_id, number(task[0])): task[1] for task in tasks}
            self._print(f"{node_id}->{worker_id.decode()}", f"run {named(tasks)}")
        to_stop = self._nodes[node_id].leader_link.slots.to_stop
        while to_stop:
            worker_id, count = to_stop.pop(0)
            if (node_id, worker_id, count) not in self._seen:  # it sees that at once, and is not signalled again
                self._seen.add((node_id, worker_id, count))
                self._print(
                    f"{node_id}->{worker_id.decode()}", f"asked to stop the task that it was given as number {count}"
                )
        self._send(node_id, effects.to_peers)
        seq = effects.persist.seq if effects.persist is not None else None
        if node_id in self._holding:
            self._holding[node_id].append((seq, effects.after_persist))
        else:
            self._written(node_id, seq, effects.after_persist)
        for key, reply in effects.to_clients:
            client = key.decode()
            if isinstance(reply, Update):
                self._acks[client] = reply.seq
            self._print(f"{node_id}->{client}", describe_reply(reply))
        held_back = seq is not None and node_id in self._holding
        return bool(effects.to_peers or effects.after_persist or (seq is not None and not held_back))

    def _written(self, node_id: str, seq: int | None, promises: list[PeerBatch]) -> None:
        if seq is not None:
            self._nodes[node_id].persisted(seq)
        self._send(node_id, promises)

    def _send(self, sender: str, batches: Iterable[PeerBatch]) -> None:
        for address, envelope, messages, _ in batches:
            lost = {sender, address} & (self._out_of_reach | self._asleep)
            for message in messages:
                told = describe_work(message)
                if told:
                    self._print(f"{sender}->{address}", told + (" (lost)" if lost else ""))
            if not lost:
                self._nodes[address].on_peer(envelope, messages, self._now)

    def _print(self, who: str, what: str) -> None:
        self._lines.append(f"{self._now:6.3f} {who} {what}")


_KINDS: dict[str, Callable[[float], Any]] = {"runs_tasks": bool}


def _settings(options: Iterable[str]) -> dict[str, Any]:
    numbers = {key: float(number) for key, number in (option.split("=") for option in options)}
    return {key: _KINDS.get(key, float if key.endswith("_s") else int)(number) for key, number in numbers.items()}


# --- words for what is printed


def task_id(word: str) -> bytes:
    return int(word).to_bytes(16, "big")


def number(identity: bytes) -> int:
    return int.from_bytes(identity, "big")


def listed(ids: Iterable[bytes]) -> str:
    return " ".join(str(number(each)) for each in ids) or "nothing"


def named(tasks: Iterable[Assignment]) -> str:
    return " ".join(f"{number(task[0])}/{task[1]}" for task in tasks)


def describe_work(message: object) -> str:
    match message:
        case Dispatch():
            return f"Dispatch {message.seq % (1 << INCARNATION_SHIFT)}: {named(message.tasks)}"
        case Enrol() | EnrolWithDefaults():
            held = " ".join(f"{number(each)}/{attempt}" for each, attempt in decode_held(message.held))
            return f"Enrol: {message.slots} slots for {','.join(message.names) or 'nothing'}; holds {held or 'nothing'}"
        case NodeOutcomes():
            ends = " ".join(
                f"{number(each)}/{attempt} {TaskEnd(end).name.lower()}"
                for each, attempt, end, *_ in decode_outcomes(message.outcomes)
            )
            return f"NodeOutcomes: {ends}"
        case Revoke():
            return f"Revoke {listed(message.ids)}"
        case Revoked():
            return f"Revoked: gives back {listed(message.given_back)}, keeps {listed(message.kept)}"
        case StopTasks():
            return "StopTasks " + " ".join(f"{number(each)}/{attempt}" for each, attempt in message.tasks)
        case Stopping():
            return f"Stopping {listed(message.ids)}"
    return ""


def describe_reply(reply: ClientReply) -> str:
    match reply:
        case Welcome() | Redirect():
            return f"{type(reply).__name__}: term {reply.term}, leader {reply.leader_id or 'unknown'}"
        case Update():
            parts = [f"accepted {seq}" for seq in reply.accepted]
            parts += [f"{number(each)} refused as {Refusal(why).name}" for each, why, _ in reply.refused]
            parts += [f"{number(each)} {TaskEnd(end).name.lower()}" for each, end, _ in reply.results]
            return f"Update {reply.seq}: {', '.join(parts)}"
        case CancelReply():
            return "CancelReply: " + ", ".join(
                f"{number(each)} {CancelState(state).name.lower()}" for each, state in reply.states
            )
        case AdminReply():
            return f"AdminReply {'done' if reply.done else 'not done'}: {reply.detail}"
    return type(reply).__name__


def run_file(path: Path) -> str:
    return NodeScenario().run(path.read_text())
