"""The fuzzers on fixed seeds, for seconds: what they found before does not come back, and they find what is planted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy
import pytest

from fuzz import live, wire_targets
from fuzz.bytes_mutation import ByteMutator
from fuzz.execution import Execution
from fuzz.frames import CHANGES, Frames
from fuzz.fuzz import ALL, again, table
from fuzz.memory import MIXES, Ended, run
from fuzz.samples import CLASSES
from fuzz.speakers import _MAY_SEND, _PEERS_MAY_SEND, ROLES, ClientSpeaker, Verdicts
from fuzz.targets import TARGETS
from fuzz.world import FuzzWorld
from paceline.codecs.kinds import FieldsPlan
from paceline.core.clients.session_table import SessionTable
from paceline.core.clients.sessions import ClientSession
from paceline.core.membership import replica_keeper
from paceline.core.scheduling.leader import Leader
from paceline.core.work.slots import Slots
from paceline.runtime.client_frames import ClientFrames
from paceline.runtime.forbidden import MAY_SEND
from paceline.runtime.reactor import Reactor
from paceline.runtime.transport.transport import Source
from paceline.security import KeyRole
from paceline_protocol import forms
from paceline_protocol.codec import decode, encode
from paceline_protocol.errors import ProtocolError
from paceline_protocol.forms import Ext
from paceline_protocol.messages.children import Stop
from paceline_protocol.messages.client import Admin, Cancel, Ping
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.messages.records import Outcome

REGRESSIONS = Path(__file__).parent / "regressions"
EACH_REGRESSION = sorted(path.relative_to(REGRESSIONS).as_posix() for path in REGRESSIONS.glob("*/*"))
INPUTS = 1_200
FRAMES = 5_000
SPEAKING_SEEDS = range(1, 6)
"""Until nodes have heard each message: which one a seed leaves out is chance."""
SEEDS = 32


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is refused is logged, some thousand times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_bytes_come_only_named_errors_leave_what_reads_them(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    execution = Execution(target, tmp_path)
    for data in seeds:
        execution.run(data)
    mutator = ByteMutator(Random(name), seeds, target.longest_bytes)
    for _ in range(INPUTS):
        execution.run(mutator.next())
    assert execution.report.crashes == {}
    execution.write()
    assert len(execution.report.kinds) > 1, "all inputs were the same to it"


def test_values_are_compared_wherever_arrays_and_sets_are_in_them() -> None:
    array, larger_table = numpy.arange(3), {8, 0, *range(100, 140)} - {*range(100, 140)}
    one, other = [(array, {8, 0})], [(array.copy(), larger_table)]
    assert repr(one) != repr(other)
    assert wire_targets.is_same(one, other)
    assert wire_targets.is_same({"of": one}, {"of": other})
    assert not wire_targets.is_same([(array + 1, {8, 0})], other)
    assert not wire_targets.is_same({"of": one}, {"of": [*one, one]})


@pytest.mark.parametrize("path", EACH_REGRESSION)
def test_what_was_found_once_does_not_come_back(path: str, tmp_path: Path) -> None:
    execution = Execution(TARGETS[path.partition("/")[0]], tmp_path)
    execution.run((REGRESSIONS / path).read_bytes())
    assert execution.report.crashes == {}


def test_there_is_a_seed_of_every_message_and_of_every_form_of_a_value() -> None:
    assert {type(decode(frame)) for frame in wire_targets.frame_seeds()} == set(CLASSES)
    seen: set[int] = set()
    for value in wire_targets.VALUES:
        packed = forms.packb(value, default=forms.form_of, strict_types=True, unicode_errors="surrogatepass")
        seen |= {number for number in Ext if bytes((number,)) in packed}
    assert seen >= set(Ext)


def test_an_error_that_nobody_names_is_found_and_saved_once_with_the_shortest_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(forms._READERS, int(Ext.UUID), lambda data: (_ for _ in ()).throw(AssertionError(len(data))))
    target = TARGETS["payload"]
    execution = Execution(target, tmp_path)
    for data in (b"\0\x91\xd8\6" + bytes(16), b"\0\xd8\6" + bytes(16), b"\0\x92\xc0\xd8\6" + bytes(16)):
        execution.run(data)
    ((where, (saved, said)),) = execution.report.crashes.items()
    assert where.startswith("AssertionError at ")
    assert (said, Path(saved).read_bytes()) == ("AssertionError: 16", b"\0\xd8\6" + bytes(16))
    assert again("payload", saved) == f"./dev fuzz payload --replay {saved}"


def test_a_value_that_its_class_makes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FieldsPlan, "build", lambda plan, cls, named, state: cls(**state))
    execution = Execution(TARGETS["values"], tmp_path)
    for data in TARGETS["values"].seeds():
        execution.run(data)
    said = {what for _, what in execution.report.crashes.values()}
    assert any("__post_init__" in what and "has run" in what for what in said)


# --- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_of_every_message_there_are_frames_that_are_right_and_frames_that_are_wrong(cls: type) -> None:
    frames = Frames(Random(1))
    for _ in range(20):
        assert type(decode(frames.right(cls))) is cls
    refused = 0
    for _, change in CHANGES * 3:
        try:
            decode(change(frames, cls))
        except ProtocolError:
            refused += 1
    assert 0 < refused < 3 * len(CHANGES)


# --- nodes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", MIXES)
def test_whoever_speaks_no_node_ends_and_who_behaves_is_served(mix: str) -> None:
    met: set[str] = set()
    wanted: set[str] = set()
    sources: set[str] = set()
    for speaker in (ROLES[role] for role in MIXES[mix] if role != "stranger"):
        may_send = _PEERS_MAY_SEND if speaker.source is Source.PEER else _MAY_SEND[speaker.source]
        sources.add(speaker.source.name)
        wanted |= {f"{speaker.source.name}: {cls.__name__} taken" for cls in may_send}
    for seed in SPEAKING_SEEDS:
        world = run(seed, MIXES[mix], frames=FRAMES)
        assert world.sent_frames >= FRAMES
        assert world.verdicts.malformed
        assert world.verdicts.unexpected or mix == "memory-node"
        taken = {kind for kind in world.verdicts.kinds if kind.endswith(" taken")}
        met |= {kind for kind in taken if kind.partition(":")[0] in sources}
        if wanted <= met:
            break
    assert wanted == met, "and so a node has heard each message of each role, and no other"


def test_a_seed_decides_everything() -> None:
    told: list[list[str]] = []
    for _ in range(2):
        lines: list[str] = []
        run(2, MIXES["memory-all"], frames=2_000, trace=lines.append)
        told.append(lines)
    assert told[0] == told[1]
    assert len(told[0]) > 500


def quoted_whole(patch: pytest.MonkeyPatch) -> None:
    """A client's argument is quoted at any length, and what can't be sent ends the turn: as it was once. Clients have
    little else to say, as few of all their messages would be this one."""

    def quotable(self: ClientSpeaker, world: FuzzWorld) -> None:
        before(self, world)
        self.may_send = [Admin, Ping]

    before = ClientSpeaker.__init__
    patch.setattr(ClientSpeaker, "__init__", quotable)
    patch.setattr(replica_keeper, "MAX_DETAIL_CHARS", 1 << 30)
    patch.setattr(Reactor, "_encoded", lambda self, reply: encode(reply))


def believes_clients(patch: pytest.MonkeyPatch) -> None:
    """A frame that clients may not send is passed on."""
    patch.setitem(MAY_SEND, KeyRole.NODE, frozenset(CLASSES))


def counts_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ClientFrames, "_refuse", lambda self, key, why: None)


def believes_workers(patch: pytest.MonkeyPatch) -> None:
    """A worker may end what another was given."""

    def done(self: Slots, worker_id: bytes, outcomes: tuple[Outcome, ...], now: float) -> list[Outcome]:
        before(self, worker_id, outcomes, now)
        return [outcome for outcome in outcomes if outcome[0] in self.held.attempts]

    before = Slots.done
    patch.setattr(Slots, "done", done)


def cancels_all(patch: pytest.MonkeyPatch) -> None:
    """Who cancels a task cancels those of others, too."""

    def cancel(self: Leader, session: ClientSession, request: Cancel, now: float) -> None:
        before(self, session, request._replace(ids=tuple(self.tasks.live) or request.ids), now)

    before = Leader.cancel
    patch.setattr(Leader, "cancel", cancel)


def gives_away(patch: pytest.MonkeyPatch) -> None:
    """Who asks for another's task has it, and the other hears no more of it."""
    patch.setattr(SessionTable, "wait_too", lambda self, task_id, session, **_: None)


@pytest.mark.parametrize(
    ("plant", "mix", "first"),
    [
        (quoted_whole, "memory-client", 1),
        (believes_clients, "memory-stranger", 1),
        (counts_nothing, "memory-client", 1),
        (believes_workers, "memory-worker", 1),
        (cancels_all, "memory-client", 1),
        (gives_away, "memory-client", 1),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_planted_fault_is_found(plant: object, mix: str, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``first``: a seed from which on it is found soon."""
    plant(monkeypatch)  # type: ignore[operator]
    found = 0
    for seed in range(first, first + SEEDS):
        try:
            run(seed, MIXES[mix], frames=FRAMES)
        except Ended:
            found = seed
            break
    assert found, f"not in {SEEDS} seeds"


@pytest.mark.parametrize("secure", [False, True])
def test_a_real_node_lives_and_serves_who_behaves_while_everybody_speaks(secure: bool) -> None:
    report = live.run(1, ("stranger", "client"), 2.0, secure=secure)
    assert report.failures == []
    assert any("forbidden" in kind for kind in report.kinds) == secure
    assert report.sent_frames > 1_000
    assert report.peak_bytes > 0


# --- what is told -----------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_target(tmp_path: Path) -> None:
    execution = Execution(TARGETS["address"], tmp_path, tmp_path / "address.json")
    execution.run(b"node1:7077")
    execution.write()
    head, row = table([execution.report]).splitlines()
    assert head.split()[:5] == ["target", "executions", "edges", "kinds", "found"]
    assert row.split()[:5] == ["address", "1", "-", "1", "0"]
    assert len(ALL) == len(set(ALL))


def test_a_frame_is_judged_as_a_node_judges_it() -> None:
    verdicts = Verdicts()
    assert verdicts.judge(Source.CLIENT, [encode(Ping(0))]) == "taken"
    assert verdicts.judge(Source.CLIENT, [encode(Stop())]) == "unexpected"
    assert verdicts.judge(Source.PEER, [encode(Envelope("c", "a", 1, "b")), encode(Ping(0))]) == "unexpected"
    assert verdicts.judge(Source.WORKER, [b"P"]) == "MalformedFrame"
    assert (verdicts.malformed, verdicts.unexpected) == (1, 3)
