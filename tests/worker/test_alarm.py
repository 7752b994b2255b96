"""Alarms that tasks leave, and those of others."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Iterator
from signal import ITIMER_REAL, getitimer, setitimer

import pytest

from paceline.worker import registry
from paceline.worker.alarm import Alarm
from paceline.worker.execute import FAILED, TaskRunner
from paceline.worker.main import BEGUN_BYTES, Worker
from paceline.worker.registry import TaskOptions
from paceline.worker.stop_requests import StopRequests
from paceline_protocol.messages.records import Assignment
from paceline_protocol.payload import pack_args, unpack_error


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    def raise_timeout(number: int, frame: object) -> None:
        raise TimeoutError

    setitimer(ITIMER_REAL, 0)  # that of pytest-timeout
    before = signal.signal(signal.SIGALRM, raise_timeout)
    yield
    setitimer(ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_an_alarm_is_switched_off_and_the_task_that_left_it_is_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.tasks, "fetch", registry.Task(print, "fetch", TaskOptions()))
    alarm = Alarm()
    with caplog.at_level(logging.WARNING, "paceline.worker"):
        for name in ("fetch", "fetch", "not of this worker"):
            setitimer(ITIMER_REAL, 60.0)
            alarm.end(name)
            assert getitimer(ITIMER_REAL) == (0.0, 0.0)
        alarm.end("fetch")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("task fetch has left an alarm")


def assigned(*names: str) -> list[Assignment]:
    return [(bytes(16), 1, name, b"", None) for name in names]


def test_of_tasks_that_ran_together_the_one_that_leaves_alarms_without_a_handler_is_named_the_next_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave() -> None:
        setitimer(ITIMER_REAL, 60.0)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for name, function in (("fetch", leave), ("other", leave), ("print", print)):
        monkeypatch.setitem(registry.tasks, name, registry.Task(function, name, TaskOptions()))
    runner = TaskRunner(1_000, StopRequests(memoryview(bytearray(BEGUN_BYTES)).cast("Q")))
    with caplog.at_level(logging.WARNING, "paceline.worker"):
        leave()
        runner.end_alarm(assigned("fetch", "print"))
        assert getitimer(ITIMER_REAL) == (0.0, 0.0)
        assert not caplog.records
        for name in ("fetch", "print"):
            runner.execute(name, pack_args((), {}))
        leave()
        runner.end_alarm(assigned("other"))
    fetch, other = [record.getMessage() for record in caplog.records]
    assert fetch.startswith("task fetch has left an alarm")
    assert other.startswith("task other has left an alarm")


def test_an_alarm_without_a_handler_that_a_module_has_set_stays() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    setitimer(ITIMER_REAL, 60.0, 60.0)
    TaskRunner(1_000, StopRequests(memoryview(bytearray(BEGUN_BYTES)).cast("Q"))).end_alarm(assigned("fetch"))
    assert getitimer(ITIMER_REAL)[1] == 60.0


def test_an_alarm_that_a_module_has_set_stays(caplog: pytest.LogCaptureFixture) -> None:
    setitimer(ITIMER_REAL, 60.0, 60.0)
    Alarm().end("fetch")
    assert getitimer(ITIMER_REAL)[1] == 60.0
    assert not caplog.records


class StrikesTwice(Alarm):
    """Two strikes come just before it is switched off."""

    def __init__(self) -> None:
        super().__init__()
        self._strikes = 2

    def end(self, name: str) -> None:
        if self._strikes:
            self._strikes -= 1
            raise TimeoutError
        super().end(name)


@pytest.mark.parametrize("returns", [True, False])
def test_an_alarm_that_repeats_and_strikes_once_more_before_it_is_off_is_how_its_task_ends(
    monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    def fetch() -> None:
        setitimer(ITIMER_REAL, 60.0, 60.0)
        if not returns:
            raise ValueError

    monkeypatch.setitem(registry.tasks, "fetch", registry.Task(fetch, "fetch", TaskOptions()))
    runner = TaskRunner(1_000, StopRequests(memoryview(bytearray(BEGUN_BYTES)).cast("Q")))
    runner._alarm = StrikesTwice()
    end, payload = runner.execute("fetch", pack_args((), {}))
    assert (end, unpack_error(payload).type_name) == (FAILED, "TimeoutError")
    assert getitimer(ITIMER_REAL) == (0.0, 0.0)


def test_what_a_signal_handler_raises_while_a_worker_waits_is_not_taken_for_the_end_of_its_node() -> None:
    link, other = socket.socketpair()
    with link, other:
        worker = Worker(link, 1_000, memoryview(bytearray(BEGUN_BYTES)).cast("Q"))
        setitimer(ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutError):
            worker.serve()
