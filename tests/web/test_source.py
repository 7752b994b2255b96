"""What the node adds to what its core tells."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Any

from integration.conftest import wait_until
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.raft.log import HardState
from paceline.core.raft.ready import Persist
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline.errors import JournalFailed
from paceline.runtime.children.web_child import JOURNAL_STUCK_S, MetricsSource
from paceline.runtime.counters import Counters
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.recovery import Recovered
from paceline.runtime.reactor import Reactor
from paceline.runtime.transport.transport import Unread
from paceline.security import Standing
from paceline.web.families import families
from paceline_protocol.payload import unpack_value


class NoTransport:
    """Of a reactor that is only asked."""

    unread = Unread(0)

    def standing(self, sender: bytes) -> Standing:
        raise NotImplementedError


def reactor(now: float) -> Reactor:
    core = NodeCore(
        Settings(cluster_name="test"),
        Identity("a", incarnation=1),
        address="a:1",
        spare_cluster_id="cluster-a",
        random=Random(1),
        now=now,
        durable_at_once=True,
        questions=QUESTIONS,
    )
    for tenth in range(20):
        core.tick(now + tenth / 10)
        core.take_effects(now + tenth / 10)
    return Reactor(core, NoTransport(), None, clock=time.monotonic, wall_clock=time.time)  # type: ignore[arg-type]


def told(source: MetricsSource, now: float) -> dict[str, Any]:
    body: dict[str, Any] = unpack_value(source(now))
    return body


def test_everything_that_the_metrics_need_is_told() -> None:
    now = time.monotonic()
    body = told(MetricsSource(reactor(now), None, workers=0), now + 2)
    assert len(list(families(body))) > 40
    assert body["not_ready"] == []
    assert set(Counters().as_dict()) < set(body)


def test_workers_that_are_missing_are_a_reason_not_to_be_ready() -> None:
    now = time.monotonic()
    assert told(MetricsSource(reactor(now), None, workers=2), now + 2)["not_ready"] == ["0 of 2 workers are ready"]


class StuckFiles(RealFiles):
    """A disk that does not answer, once it is told not to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stuck = False

    def sync(self, descriptor: int) -> None:
        while self.is_stuck:
            time.sleep(0.001)
        super().sync(descriptor)


def test_a_disk_that_does_not_answer_is_a_reason_not_to_be_ready(tmp_path: Path) -> None:
    files = StuckFiles()
    journal = DiskJournal(tmp_path, Recovered(), mode="fsync", wake=lambda: None, files=files)
    try:
        now = time.monotonic()
        source = MetricsSource(reactor(now), journal, workers=0)
        assert told(source, now + 2)["not_ready"] == []
        files.is_stuck = True
        journal.submit(Persist(seq=1, hard_state=HardState(1, "a")))
        wait_until(lambda: journal.writing_since is not None, "the journal writes")
        assert journal.writing_since is not None
        assert told(source, journal.writing_since + JOURNAL_STUCK_S - 0.1)["not_ready"] == []
        (reason,) = told(source, journal.writing_since + JOURNAL_STUCK_S + 1.0)["not_ready"]
        assert reason == "the disk does not answer: one write of the journal has taken 6 s"
    finally:
        files.is_stuck = False
        journal.close()
    assert told(source, now + 60)["not_ready"] == []
    assert sum(journal.write_time.counts) == 1


def test_a_journal_that_failed_is_a_reason_not_to_be_ready(tmp_path: Path) -> None:
    journal = DiskJournal(tmp_path, Recovered(), mode="fsync", wake=lambda: None)
    journal.close()
    journal.failure = JournalFailed("write", str(tmp_path), "no space left on device")
    now = time.monotonic()
    (reason,) = told(MetricsSource(reactor(now), journal, workers=0), now + 2)["not_ready"]
    assert "no space left on device" in reason
