"""Signal handlers that raise, at every step of the client's own, and handlers and finalizers that use the client."""

from __future__ import annotations

import dis
import functools
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import pytest

from client.fake_node import DEADLINE_S, FakeNode, wait_until
from modes import source_only
from paceline import names as names_module
from paceline.client import Client
from paceline.client.client import current_client
from paceline.client.driver import turns
from paceline.client.driver.driver import Driver
from paceline.client.driver.lifetime import Lifetime
from paceline.errors import ClientClosed, UsedWithinItself
from paceline.names import Names
from paceline_protocol.messages.client import Cancel

# What a handler raises while a finalizer runs Python ignores, and says.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


WITHIN = os.path.join("paceline", "client", "driver"), os.path.join("paceline", "client", "session")


class Limit(Exception):
    """What a handler raises."""


def cancelled_ids(node: FakeNode) -> set[bytes]:
    return {task_id for message in node.received if isinstance(message, Cancel) for task_id in message.ids}


@functools.cache
def checked_offsets(code: CodeType) -> frozenset[int]:
    """Before which instructions Python looks for signals: behind calls, at the start, and where a loop begins again."""
    checked: set[int] = set()
    before = "RESUME"
    for instruction in dis.get_instructions(code):
        if before.startswith(("CALL", "RESUME")):
            checked.add(instruction.offset)
        if instruction.opname.startswith("JUMP_BACKWARD"):
            checked.add(int(instruction.argval))
        before = instruction.opname
    return frozenset(checked)


class Strike:
    """Does something at one step of the client's, where a signal handler may run."""

    def __init__(self, at_step: int, action: Callable[[], object]) -> None:
        self.steps = 0
        self.struck = False
        self._at_step = at_step
        self._action = action
        # Kept: CPython 3.11 may free a method that is made for an event while it still traces by it.
        self._on_frame = self._enter_frame
        self._on_step = self._step

    def __enter__(self) -> Strike:
        sys.settrace(self._on_frame)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter_frame(self, frame: FrameType, _event: str, _argument: object) -> Any:
        if not any(part in frame.f_code.co_filename for part in WITHIN):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._on_step

    def _step(self, frame: FrameType, event: str, _argument: object) -> Any:
        if event == "opcode" and not self.struck and frame.f_lasti in checked_offsets(frame.f_code):
            self.steps += 1
            if self.steps > self._at_step:
                self.struck = True
                self._action()
        return self._on_step


def limit() -> None:
    raise Limit("the time is over")


def interrupt() -> None:
    raise KeyboardInterrupt


def every_step(strides: int, action: Callable[[], object]) -> Iterator[Strike]:
    """A strike at each step of what is done with it, every so many of them; ends when all of it has been struck."""
    step = strides // 2
    while True:
        strike = Strike(step, action)
        yield strike
        if not strike.struck:
            return
        step += strides


@source_only
@pytest.mark.parametrize(("action", "raised"), [(limit, Limit), (interrupt, KeyboardInterrupt)])
def test_a_handler_that_raises_ends_the_interrupted_call_and_loses_nothing_of_the_others(
    node: FakeNode, client: Client, action: Callable[[], object], raised: type[BaseException]
) -> None:
    others: list[Any] = []
    count = 0
    for strike in every_step(7, action):
        other = client.submit("add", count, 1)
        try:
            with strike:
                client.submit("echo", count).result(DEADLINE_S)
        except raised:
            pass
        assert other.result(DEADLINE_S) == count + 1
        others.append(other)
        count += 1
    assert count > 20
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3


@source_only
def test_a_handler_that_raises_while_a_client_connects_leaves_it_usable(node: FakeNode) -> None:
    for strike in every_step(7, limit):
        client = Client(node.address)
        try:
            with strike:
                client.connect()
        except Limit:
            pass
        assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
        client.close()


@source_only
def test_a_look_up_of_which_the_beginning_was_interrupted_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "WITHIN", (os.path.join("paceline", "names.py"),))
    monkeypatch.setattr(names_module, "look_up", lambda _: ("10.0.0.1",))
    for strike in every_step(1, interrupt):
        names = Names()
        try:
            with strike:
                names.hosts("node1")
        except KeyboardInterrupt:
            pass
        assert names.resolve("node1", DEADLINE_S) == ("10.0.0.1",)


@source_only
def test_a_close_that_is_interrupted_is_finished_by_the_next_one(node: FakeNode) -> None:
    for strike in every_step(7, interrupt):
        client = Client(node.address)
        future = client.submit("add", 1, 2)
        try:
            with strike:
                client.close()
        except KeyboardInterrupt:
            pass
        client.close()
        assert client._driver.turns.is_closed
        assert client._driver._connections._sockets.closed
        assert future.done()


@source_only
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the descriptors of the process")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # where it was interrupted before it began to close
def test_a_client_whose_close_was_interrupted_leaves_nothing_once_nobody_has_it(node: FakeNode) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for strike in every_step(17, interrupt):
        client = Client(node.address)
        client.submit("add", 1, 2)
        try:
            with strike:
                client.close()
        except KeyboardInterrupt:
            pass
        del client
        gc.collect()  # which ended in a wait without end, for sockets that were open
        wait_until(lambda: not any(thread.name == "paceline-client" for thread in threading.enumerate()))
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)


@source_only
def test_a_client_whose_close_was_interrupted_is_nobodys_current_one(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(node.address) as outer:
        inner = Client(node.address).__enter__()
        assert current_client() is inner
        with monkeypatch.context() as patched:
            patched.setattr(Lifetime, "close", lambda lifetime, _: (lifetime._turns.fail_open(), interrupt()))
            with pytest.raises(KeyboardInterrupt):
                inner.close()
        assert current_client() is outer
        inner.close()


@source_only
def test_a_map_that_is_interrupted_as_it_submits_cancels_what_it_has_submitted(
    node: FakeNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.hold = True
    add, count = Driver._add, 0

    def struck(*given: Any) -> Any:
        nonlocal count
        count += 1
        future = add(*given)
        if count == 60:
            raise KeyboardInterrupt
        return future

    with monkeypatch.context() as patched:
        patched.setattr(Driver, "_add", struck)
        with pytest.raises(KeyboardInterrupt):
            next(client.map("add", range(1000)))
    last = client.submit("add", 1)
    last.accepted(DEADLINE_S)
    submitted = node.known.keys() - {last.task_id}
    node.wait_for(lambda: cancelled_ids(node) == submitted)
    assert len(submitted) == 60


def test_a_map_that_is_interrupted_as_it_waits_cancels_the_task_that_it_waited_for_too(
    node: FakeNode, client: Client, strike_asleep: Callable[[Callable[[], object]], None]
) -> None:
    node.hold = True
    client.connect()
    strike_asleep(limit)
    with pytest.raises(Limit):
        next(client.map("add", range(10)))
    node.wait_for(lambda: len(node.known) == 10 and cancelled_ids(node) == set(node.known))


def test_a_time_limit_that_strikes_as_map_reads_its_arguments_is_raised_at_once(node: FakeNode, client: Client) -> None:
    previous = signal.signal(signal.SIGUSR1, lambda *_: limit())

    def numbers() -> Iterator[int]:
        yield 1
        signal.raise_signal(signal.SIGUSR1)
        yield 2

    try:
        with pytest.raises(Limit):
            next(client.map("echo", numbers()))
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert not node.known


class Handler:
    def __call__(self, *_: object) -> None:
        sys.exit(3)

    def method(self, *_: object) -> None:
        sys.exit(3)


@pytest.mark.parametrize("handler", [Handler(), Handler().method, functools.partial(Handler(), 1)])
def test_what_a_handler_raises_in_a_callback_reaches_the_main_thread(
    client: Client, handler: Callable[..., object]
) -> None:
    future = client.submit("add", 1)
    future.result(DEADLINE_S)
    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(SystemExit):
            future.add_done_callback(lambda _: signal.raise_signal(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, previous)


@source_only
def test_what_a_handler_asks_of_a_client_works_or_is_refused_by_name_at_once(node: FakeNode, client: Client) -> None:
    refused: list[object] = []
    answered: list[object] = []

    def ask() -> None:
        began_s = time.monotonic()
        try:
            answered.append(client.submit("add", 2, 3).result(DEADLINE_S))
        except UsedWithinItself as error:
            refused.append(error)
        assert time.monotonic() - began_s < DEADLINE_S / 2

    for strike in every_step(7, ask):
        with strike:
            assert client.submit("echo", "x").result(DEADLINE_S) == "x"
    assert set(answered) == {5}
    assert refused


@pytest.fixture
def strike_asleep(client: Client) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Has a signal handler of the main thread do something, once that sleeps in a wait."""
    threads: list[threading.Thread] = []
    previous = signal.getsignal(signal.SIGUSR1)
    main = threading.main_thread().ident
    assert main is not None

    def has_struck() -> bool:
        with client._driver.turns.lock:  # or it could be awake again by then, and in the midst of a turn
            if client._driver.turns.asleep:
                signal.pthread_kill(main, signal.SIGUSR1)
                return True
        return False

    def strike() -> None:
        wait_until(has_struck)

    def begin(action: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: action())
        threads.append(threading.Thread(target=strike))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join(DEADLINE_S)
    signal.signal(signal.SIGUSR1, previous)


def test_a_handler_may_close_the_client_that_the_main_thread_waits_with(
    node: FakeNode, client: Client, strike_asleep: Callable[[Callable[[], object]], None]
) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    strike_asleep(client.close)
    with pytest.raises(ClientClosed):
        future.result(DEADLINE_S)


def test_a_handler_may_wait_for_a_task_while_the_main_thread_waits_for_another(
    node: FakeNode, client: Client, strike_asleep: Callable[[Callable[[], object]], None]
) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    results: list[object] = []

    def ask() -> None:
        node.hold = False
        results.append(client.submit("add", 2, 3).result(DEADLINE_S))
        node.release()

    strike_asleep(ask)
    assert future.result(DEADLINE_S) == 1
    assert results == [5]


def test_a_handler_that_raises_while_the_main_thread_sleeps_costs_no_connection(
    node: FakeNode, client: Client, strike_asleep: Callable[[Callable[[], object]], None]
) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    strike_asleep(limit)
    with pytest.raises(Limit):
        future.result(DEADLINE_S)
    node.release()
    assert future.result(DEADLINE_S) == 1
    assert len(node._seqs) == 1  # connections; one may have said Hello again before it was answered


def test_a_signal_that_another_thread_receives_ends_the_wait_of_the_main_thread_too(
    node: FakeNode, client: Client
) -> None:
    """It wakes nobody, and compiled code looks for no signal by itself."""
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    previous = signal.signal(signal.SIGUSR1, lambda *_: limit())

    def strike() -> None:
        wait_until(lambda: client._driver.turns.asleep)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    striker = threading.Thread(target=strike)
    striker.start()
    try:
        with pytest.raises(Limit):
            future.result(DEADLINE_S)
    finally:
        striker.join()
        signal.signal(signal.SIGUSR1, previous)


def test_a_finalizer_may_use_the_client_of_the_thread_that_collects(node: FakeNode, client: Client) -> None:
    ended: list[object] = []

    class Job:
        def __init__(self) -> None:
            self.me = self
            self.future = client.submit("add", 1)

        def __del__(self) -> None:
            if threading.current_thread().name.startswith("fake-node"):  # which can't wait for itself
                ended.append(None)
                return
            try:
                ended.append(self.future.cancel(DEADLINE_S))
            except UsedWithinItself as error:
                ended.append(error)

    thresholds = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for number in range(60):
            Job()
            assert client.submit("echo", number).result(DEADLINE_S) == number
    finally:
        gc.set_threshold(*thresholds)

    def all_ended() -> bool:
        gc.collect()  # does nothing while another thread collects
        return len(ended) == 60

    wait_until(all_ended)


def test_a_driver_that_is_not_heard_of_keeps_nobody_waiting(node: FakeNode, client: Client) -> None:
    """As one whose own clearing up was interrupted."""
    client.connect()
    driver = client._driver.turns
    with driver.lock:
        stale = turns._Waiter(lambda: False)
        stale.ident = 0
        stale.seen_s = time.monotonic()
        driver._driver = stale
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
