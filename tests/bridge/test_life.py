"""What a bridge makes of a cluster that refuses it, or of a process that is short of something: no message is at fault,
and none becomes a dead letter."""

from __future__ import annotations

import errno
import os
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from bridge.messages import call_of, recorded
from paceline.client.relay import POSTPONED
from paceline.errors import (
    AccessRefused,
    ClientClosed,
    FeatureLevelTooLow,
    IncompatibleVersion,
    NoLeader,
    NotAllowed,
    OutOfResources,
    RequestRefused,
    ResultUnknown,
    UnknownTask,
    UsedWithinItself,
)
from paceline_bridge.bridge import Bridge
from paceline_bridge.cli import _run
from paceline_bridge.config import BridgeConfig
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.deliveries import CALLERS_LIMIT, Ledger
from paceline_bridge.life import ASK_INTERVAL_S, CROWDED_INTERVAL_S, Life
from paceline_bridge.message import Message, Refused, ReplyAddress, TaskCall
from paceline_bridge.owed import Delivery, OwedTask
from paceline_bridge.rabbitmq import Link
from paceline_bridge.troubles import Troubles
from paceline_bridge.window import Window
from paceline_protocol.errors import LocalProtocolError, PayloadTooLarge, UnserializableValue

CALL = TaskCall("plain", bytes(16), "tasks.add", (), {}, packed=b"\x91\xc0")
CONFIG = BridgeConfig(urls=("amqp://guest@127.0.0.1:1//",), queues={"q": ""})


class Watched:
    """A life whose one task is submitted, and what becomes of that."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.refused: list[Refused] = []
        self.life = life = object.__new__(Life)
        life._link = SimpleNamespace(fail=self.failures.append)  # type: ignore[assignment]
        life._troubles = Troubles()
        life._ledger = Ledger(10)
        life._answers = SimpleNamespace(refuse=lambda refused, *_: self.refused.append(refused))  # type: ignore[assignment]
        life._ledger.delivered()
        life._ledger.add(CALL, Delivery((1, 1), Message("q", b"1"), None, "plain"), 0.0)
        assert life._ledger.take(10) == CALL

    def submit(self, error: Exception) -> None:
        def fail(*_: Any) -> None:
            raise error

        self.life._relay = SimpleNamespace(submit_packed=fail)  # type: ignore[assignment]
        self.life._submit(CALL)


@pytest.mark.parametrize("submitting", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        NotAllowed("the observer 'shop' may not do that"),
        AccessRefused(("node1:7077",), 10.0, "its key was revoked"),
        NoLeader(10.0),
        IncompatibleVersion(1, 2),
        ClientClosed(),
        OutOfResources("this process can't connect to a node (Too many open files)"),
        UsedWithinItself(),
    ],
)
def test_what_concerns_the_cluster_or_this_process_gives_all_messages_back(error: Exception, submitting: bool) -> None:
    watched = Watched()
    if submitting:
        watched.submit(error)
    else:
        watched.life._refused_by_cluster(CALL.task_id, error)
    assert (watched.failures, watched.refused) == ([str(error)], [])


@pytest.mark.parametrize("error", [KeyError("as if"), MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_client_that_failed_has_no_message_refused(error: Exception) -> None:
    watched = Watched()
    watched.life._refused_by_cluster(CALL.task_id, error)
    watched.submit(error)
    assert (len(watched.failures), watched.refused) == (2, [])
    assert watched.failures[0].startswith(f"the client failed: {type(error).__name__}")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnknownTask("tasks.add"), "unknown-task"),
        (FeatureLevelTooLow("some node is older"), "cluster"),
        (RequestRefused("as if"), "cluster"),
        (LocalProtocolError("as if"), "cluster"),
        (PayloadTooLarge(2, 1), "too-large"),
        (UnserializableValue("argument 1", "socket"), "cluster"),
    ],
)
def test_what_concerns_one_task_refuses_its_message_alone(error: Exception, reason: str) -> None:
    watched = Watched()
    watched.life._settled = lambda *_: None  # type: ignore[method-assign]
    watched.life._refused_by_cluster(CALL.task_id, error)
    assert watched.failures == []
    assert [refused.reason for refused in watched.refused] == [reason]


class NoRelay:
    """A client that is there, and at which nothing happens."""

    def __init__(self) -> None:
        self.is_closed = False

    def connect(self) -> None:
        pass

    def status(self, *_: Any) -> Any:
        raise TimeoutError

    def close(self) -> None:
        self.is_closed = True


class Stopping(threading.Event):
    """Ends a bridge in the pause after so many lives, and makes no pause before."""

    def __init__(self, lives: int) -> None:
        super().__init__()
        self._left = lives

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        if not self._left:
            self.set()
        return self.is_set()


@pytest.mark.parametrize("where", ["the client", "a life", "the loop", "a thread"])
def test_a_bridge_that_is_short_of_something_tries_again_with_one_line_and_keeps_no_descriptor(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[NoRelay] = []

    def make(_: Any) -> Any:
        if where == "a life" and made:  # the first is of the thread that asks for the status
            raise OutOfResources("a client of a cluster needs descriptors (Too many open files)")
        made.append(NoRelay())
        return made[-1]

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    def no_thread(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")

    bridge = Bridge(CONFIG, make)
    bridge._stopping = Stopping(3)
    if where == "the client":
        monkeypatch.setattr(NoRelay, "connect", fail)
    elif where == "the loop":
        monkeypatch.setattr("select.epoll", fail)
    elif where == "a thread":
        monkeypatch.setattr(SelectorIOServicesAdapter, "getaddrinfo", no_thread)
    before = len(os.listdir("/proc/self/fd"))
    bridge.run()
    assert len(os.listdir("/proc/self/fd")) <= before
    [line] = [record for record in caplog.records if record.name == "paceline.bridge" and record.levelname != "INFO"]
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert "Too many open files" in line.message or "can't start new thread" in line.message
    assert line.message.endswith("; trying again")


class TwiceTold:
    """In the place of a Bridge. The second signal comes while the first is being passed on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.stops = 0

    def run(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        assert self._stopped.wait(10.0)

    def stop(self) -> None:
        assert self._lock.acquire(timeout=1.0), "it is held by whom this call interrupted"
        self.stops += 1
        if self.stops == 1:
            signal.raise_signal(signal.SIGINT)
        self._lock.release()
        if self.stops == 2:
            self._stopped.set()


def test_a_signal_that_comes_while_the_one_before_is_passed_on_waits_for_nothing() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    running = TwiceTold()
    try:
        _run(running)  # type: ignore[arg-type]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert running.stops == 2


def test_a_link_whose_loop_can_not_start_closes_what_it_has_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link("amqp://127.0.0.1:1/", {"q": False}, "dead", 10, 1 << 20, False, SimpleNamespace(on_message=None))  # type: ignore[arg-type]

    def fail() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("select.epoll", fail)
    with pytest.raises(OSError, match="Too many open files"):
        link.run()
    assert link._loop._poller._r_interrupt is None


def test_a_life_waits_for_the_tasks_whose_replies_the_last_one_owed() -> None:
    watched, waited = Watched(), list[list[bytes]]()
    life, owed = watched.life, OwedTask(CALL, 0.0, 0.0, [], submitted=True, accepted=True)
    life._counters, life._ledger = BridgeCounters(), Ledger(10)
    life._relay = SimpleNamespace(wait_for=waited.append)  # type: ignore[assignment]
    life._tick = lambda: None  # type: ignore[method-assign]
    life.carry([owed])
    life.on_ready()
    assert waited == [[CALL.task_id]]


def test_what_is_said_of_a_task_whose_message_is_acknowledged_is_no_sign_of_a_second_message() -> None:
    watched = Watched()
    life = watched.life
    life._counters = BridgeCounters()
    reply = ReplyAddress("r", "id", "id")
    owed = Delivery((1, 1), Message("q", b""), reply, "celery", acked=True)
    life._ledger = Ledger(10)
    life.carry([OwedTask(CALL, 0.0, 0.0, [owed], submitted=True, accepted=True)])
    life._refused_by_cluster(CALL.task_id, ResultUnknown("the result was dropped"))
    assert (owed.is_duplicate, [refused.reason for refused in watched.refused]) == (False, ["cluster"])


def test_a_caller_beyond_those_that_can_wait_for_one_task_is_told_so() -> None:
    watched = Watched()
    life = watched.life
    life._config = BridgeConfig(urls=CONFIG.urls, queues={"q": ""})
    life._relay = SimpleNamespace(pack=lambda *_: b"")  # type: ignore[assignment]
    call = call_of(recorded("celery-2"))
    others = tuple(ReplyAddress("r", "id", str(number)) for number in range(CALLERS_LIMIT))
    life.carry([OwedTask(call, 0.0, 0.0, [], submitted=True, accepted=True, owing=others)])
    life._take((1, 2), recorded("celery-2"))
    [refused] = watched.refused
    assert (refused.reason, refused.reply) == ("callers", call.reply)
    assert life._ledger.entries[call.task_id].deliveries == []


def test_what_a_delivery_weighs_is_noted_once_it_was_read() -> None:
    watched = Watched()
    weights = {(1, 2): 1_000}

    def heavier(tag: tuple[int, int], by_bytes: int) -> None:
        weights[tag] += by_bytes

    life = watched.life
    life._config = BridgeConfig(urls=CONFIG.urls, queues={"q": "tasks.add"})
    consumers = SimpleNamespace(heavier=heavier, weight_of=weights.__getitem__)
    life._link = SimpleNamespace(consumers=consumers)  # type: ignore[assignment]
    life._relay = SimpleNamespace(pack=lambda *_: bytes(5_000), has_room=False)  # type: ignore[assignment]
    life._stop_by_s, life._not_before_s = None, 0.0
    life._take((1, 2), Message("q", b"1"))
    [entry] = [entry for task_id, entry in life._ledger.entries.items() if task_id != CALL.task_id]
    assert entry.deliveries[0].weight_bytes == 6_000


def test_while_others_wait_for_its_place_the_cluster_is_asked_whether_a_task_waits_to_be_tried_again() -> None:
    """And else as rarely as for all."""
    watched, asked = Watched(), list[list[bytes]]()
    life, ledger, task_id = watched.life, watched.life._ledger, CALL.task_id
    life._window, life._ask_at_s, life._ask_crowd_at_s = Window(), ASK_INTERVAL_S, 0.0
    life._relay = SimpleNamespace(ask_again=asked.append)  # type: ignore[assignment]
    life._window.size = 1
    ledger.accept(task_id, 0.0)
    life._ask(2 * CROWDED_INTERVAL_S)
    assert asked == [], "nobody waits"
    other = replace(CALL, task_id=b"1" * 16)
    ledger.add(other, Delivery((1, 2), Message("q", b"1"), None, "plain"), 0.0)
    for _ in range(2):
        life._ask(2 * CROWDED_INTERVAL_S)
    assert asked == [[task_id]]
    life._heard(task_id, POSTPONED, 3_600_000)
    assert ledger.take(1) == other
    life._ask(3 * CROWDED_INTERVAL_S)
    assert asked == [[task_id]], "there is room"
