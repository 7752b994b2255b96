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
    runner = TaskRunner(1_000)
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
