"""Whatever a user passes is refused before the client knows of it, and whatever fails in the client ends no thread."""

from __future__ import annotations

import enum
import errno
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import zmq

from client.fake_node import DEADLINE_S, FakeNode, wait_until
from client.session_rig import Rig, call, succeeded, task_id
from modes import source_only
from paceline import task
from paceline.client import Client, NamedTask
from paceline.client.driver import connections
from paceline.client.driver.background import Background
from paceline.client.driver.connections import Connections
from paceline.client.session.session import Session
from paceline.errors import ConfigError, NoNodeFound, OutOfResources
from paceline_protocol.errors import LocalProtocolError
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_NAME_CHARS, PAYLOAD_LIMIT_MAX_BYTES
from paceline_protocol.messages.client import AdminOp


class Names(enum.StrEnum):
    ADD = "add"


class SubclassOfStr(str):
    __slots__ = ()


class Level(enum.IntEnum):
    HIGH = 9


@dataclass
class Made:
    """A target of the user's own."""

    name: Any = "add"
    priority: Any = 4
    wire_options: Any = None


BAD_NAMES = ["", "n" * (MAX_NAME_CHARS + 1), "\ud800", "tasks.\udcff", SubclassOfStr("")]
BAD_TARGETS: list[Any] = [
    *BAD_NAMES,
    *(Made(name=name) for name in (*BAD_NAMES, None, b"add", 3)),
    *(Made(priority=priority) for priority in (99, -1, "high", True, None, 4.0, Level.HIGH, 10**5000)),
    Made(wire_options=[1]),
    Made(wire_options={"unknown": 1}),
    Made(wire_options={"\ud800": 1}),
    Made(wire_options={"max_attempts": 2**63}),
    Made(wire_options={"max_attempts": "3"}),
    Made(wire_options={"max_attempts": True}),
    Made(wire_options={"durability": 1, "delivery": 1}),
]


@task(name="add")
def add(a: int, b: int = 0) -> int:
    return a + b


def in_use(node: FakeNode, client: Client) -> None:
    """From now on calls pile up, and are packed by whichever thread comes along."""
    node.accepts = False
    for number in range(64):
        client.submit("add", number)


def test_what_can_not_be_submitted_is_refused_at_once_and_harms_no_other_call(node: FakeNode, client: Client) -> None:
    in_use(node, client)
    for bad in BAD_TARGETS:
        with pytest.raises(ConfigError, match="can't"):
            client.submit(bad, 1)
        with pytest.raises(ConfigError, match="can't"):
            client.map(bad, [1])
    assert len(client._session.ledger) == 64
    node.accepts = True
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
    client.close()
    assert not client._session.ledger.has_unaccepted


def test_a_task_whose_priority_was_written_over_is_refused_through_its_own_submit(node: FakeNode) -> None:
    broken = add.options(priority=9)
    broken.priority = 99
    with Client(node.address):
        with pytest.raises(ConfigError, match="priority 99"):
            broken.submit(1)
        with pytest.raises(ConfigError, match="priority 99"):
            broken.map([1])
        assert add.submit(1, 2).result(DEADLINE_S) == 3


@pytest.mark.parametrize("name", [*BAD_NAMES, None, 7])
def test_a_named_task_is_refused_when_it_is_made(name: Any) -> None:
    with pytest.raises(ConfigError, match="can't name a task"):
        NamedTask(name)


def test_a_name_may_be_a_member_of_an_enum_of_strings(client: Client) -> None:
    client.submit("add", 1).result(DEADLINE_S)  # so that the string itself is known
    targets: list[Any] = [Names.ADD, SubclassOfStr("add"), NamedTask(Names.ADD), Made(name=Names.ADD)]
    for target in targets:
        future = client.submit(target, 1, 2)
        assert future.result(DEADLINE_S) == 3
        assert type(future.name) is str


def test_options_that_change_after_the_submit_change_no_call(client: Client) -> None:
    target = Made(wire_options={"max_attempts": 3})
    future = client.submit(target, 1)
    target.wire_options["max_attempts"] = "three"
    client._driver.session.ledger.requeue_sent()
    assert future.result(DEADLINE_S) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"connect_timeout_s": "3"},
        {"connect_timeout_s": None},
        {"failover_timeout_s": float("nan")},
        {"failover_timeout_s": -0.1},
        {"failover_timeout_s": True},
        {"connect_timeout_s": 10**400},
        {"cluster": 5},
        {"cluster": b"cluster.toml"},
        {"payload_limit_bytes": "9"},
        {"payload_limit_bytes": 0},
        {"payload_limit_bytes": PAYLOAD_LIMIT_MAX_BYTES + 1},
        {"trace_every": 1.5},
        {"trace_every": -1},
    ],
)
def test_a_parameter_of_a_client_that_can_not_be_used_is_named_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Client("127.0.0.1:7077", **wrong)


@pytest.mark.parametrize("wrong", [None, b"127.0.0.1:7077", 5])
def test_what_is_no_address_is_refused_when_the_client_is_made(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="is no address of a node"):
        Client(wrong)


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(node: FakeNode, client: Client, wrong: Any) -> None:
    node.hold = True
    future = client.submit("add", 1)
    for wait in (future.result, future.exception, future.accepted, future.cancel):
        with pytest.raises(ConfigError, match="timeout is"):
            wait(wrong)


@pytest.mark.parametrize("wrong", ["3", 10**400, True])
@source_only  # compiled code looks at types by itself: it raises TypeError for the first two, and takes True for 1.0
def test_a_timeout_of_another_type_is_refused(node: FakeNode, client: Client, wrong: Any) -> None:
    test_a_timeout_that_is_no_number_of_seconds_is_refused(node, client, wrong)


@pytest.mark.parametrize("wrong", [None, "5", -1, float("nan"), True, 10**400])
def test_a_question_with_a_timeout_that_is_no_number_of_seconds_is_refused_and_not_asked(
    client: Client, wrong: Any
) -> None:
    future = client.submit("add", 1)
    questions: list[Callable[[], object]] = [
        lambda: client.status(wrong),
        lambda: client.where_is(future, wrong),
        lambda: client.waiting("add", wrong),
        lambda: client.cancel_tasks([], wrong),
        lambda: client.cancel_tasks([future], wrong),
        lambda: client.cancel_where("add", timeout=wrong),
        lambda: client.change_cluster(AdminOp.VOTERS, "3", wrong),
        lambda: client.close(wrong),
    ]
    if wrong is not None:
        questions.append(lambda: next(client.as_completed([future], wrong)))
    for ask in questions:
        with pytest.raises(ConfigError, match=r"timeout is .*math\.inf is for ever"):
            ask()
    assert not client._session.requests, "what is asked and not waited for is asked of each next leader"
    assert future.result(DEADLINE_S) == 1, "it is not closed"


def test_a_process_without_descriptors_is_told_so(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(node.address, connect_timeout_s=0.2)

    def refuse(*_: object) -> None:
        raise zmq.ZMQError(errno.EMFILE)

    with monkeypatch.context() as patched:
        patched.setattr(zmq.Context, "socket", refuse)
        with pytest.raises(OutOfResources, match=r"Too many open files.*ulimit -n"):
            client.connect()
    answers: list[object] = []

    def answered() -> bool:
        try:
            answers.append(client.submit("add", 1, 2).result(DEADLINE_S))
        except NoNodeFound:  # the node may take longer than connect_timeout_s to let it in
            return False
        return True

    wait_until(answered)
    assert answers == [3]
    client.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe", lambda: (_ for _ in ()).throw(OSError(errno.EMFILE, "Too many open files")))
        with pytest.raises(OutOfResources):
            Client(node.address)


def test_a_client_whose_thread_can_not_be_started_is_as_it_was(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(node.address)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OutOfResources, match="ulimit -u"):
            client.submit("add", 1, 2)
    called = threading.Event()
    client.submit("add", 1, 2).add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE_S)
    client.close()


def test_a_client_may_wait_for_ever(node: FakeNode) -> None:
    with Client(node.address, connect_timeout_s=math.inf, failover_timeout_s=math.inf) as client:
        assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
        with client._driver.turns.lock:
            client._session.lost(node.address, time.monotonic())
        assert client.submit("add", 2, 2).result(DEADLINE_S) == 4


@source_only
def test_a_frame_that_can_not_be_sent_ends_its_connection_and_no_call(
    node: FakeNode, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send_frame, failures = connections.send_frame, [zmq.ZMQError(errno.ENOMEM)]

    def fail_once(*args: Any) -> None:
        if failures:
            raise failures.pop()
        send_frame(*args)

    monkeypatch.setattr(connections, "send_frame", fail_once)
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
    assert not failures
    assert "can't send to" in caplog.text


def test_a_question_that_can_not_be_asked_is_refused_and_not_asked_of_each_next_leader(client: Client) -> None:
    questions: list[Callable[[], object]] = [
        lambda: client.change_cluster(AdminOp.PROMOTE, "\ud800"),
        lambda: client.change_cluster("promote", "n1"),  # type: ignore[arg-type]
        lambda: client.status(_about=(("a", 1),)),  # type: ignore[arg-type]
    ]
    for ask in questions:
        with pytest.raises((LocalProtocolError, TypeError)):  # TypeError: of compiled functions
            ask()
    with pytest.raises(TypeError, match="give its future, or its id"):
        client.where_is(1)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        client._session.cancel((bytes(16),) * (MAX_BATCH_ITEMS + 1), 0.0)
    assert not client._session.requests


def test_as_completed_refuses_what_is_no_future(client: Client) -> None:
    with pytest.raises(TypeError, match="what submit"):
        next(client.as_completed([client.submit("add", 1), 3]))  # type: ignore[list-item]


def test_as_completed_refuses_a_future_of_another_client_ended_or_not(node: FakeNode, client: Client) -> None:
    node.hold = True
    with Client(node.address, connect_timeout_s=DEADLINE_S) as other:
        own, foreign = client.submit("add", 1, 2), other.submit("add", 1, 2)
        for _ in range(2):
            with pytest.raises(TypeError, match=r"add.* is of another client; give each client its own"):
                next(client.as_completed([own, foreign], timeout=DEADLINE_S))
            node.release()
            assert foreign.result(DEADLINE_S) == 3


# --- what fails inside -----------------------------------------------------------------------------------------------


def test_a_batch_that_can_not_be_packed_ends_with_the_error_and_the_others_go_on() -> None:
    rig = Rig()
    rig.attach()
    rig.session.submit((task_id(1), "", 4, b"", None), rig.now)
    rig.submit(2)
    [(failed, error)] = rig.session.output.failed
    assert failed == task_id(1)
    assert isinstance(error, LocalProtocolError)
    rig.update(1, results=[succeeded(2)])
    assert not rig.session.ledger.tasks
    assert not rig.session.ledger.has_unaccepted


def test_a_batch_that_can_not_be_packed_again_ends_too() -> None:
    rig = Rig()
    rig.attach()
    options = {"max_attempts": 3}
    rig.session.submit((*call(1)[:4], options), rig.now)
    options["max_attempts"] = -1
    rig.session.lost("a:1", rig.now)
    rig.pass_time(0.1)
    rig.attach()
    assert [failed for failed, _ in rig.session.output.failed] == [task_id(1)]
    assert not rig.session.ledger.has_unaccepted


@source_only
def test_a_turn_that_fails_ends_what_was_waited_for_and_not_the_thread(
    node: FakeNode, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node.hold = True
    future = client.submit("add", 1)
    future.accepted(DEADLINE_S)
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    with monkeypatch.context() as patched:
        patched.setattr(Session, "received", lambda *_: {}["a mistake of ours"])
        node.release()
        assert called.wait(DEADLINE_S)  # nobody waits here: the background thread met the error
    with pytest.raises(KeyError, match="a mistake of ours"):
        future.result(DEADLINE_S)
    assert "KeyError" in caplog.text
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3


@source_only
def test_the_background_thread_goes_on_after_whatever_it_met(
    node: FakeNode, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()
    deliver = Connections.deliver

    def fail_once(connections: Connections, now: float) -> bool:
        if threading.current_thread().name == "paceline-client" and not failed.is_set():
            failed.set()
            raise MemoryError
        return deliver(connections, now)

    monkeypatch.setattr(Connections, "deliver", fail_once)
    assert failed.wait(DEADLINE_S)
    called = threading.Event()
    client.submit("add", 1, 2).add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE_S)  # by that thread alone, as nobody waits for the result
    assert "MemoryError" in caplog.text


@source_only
def test_a_client_without_its_thread_gets_another_at_its_next_question(
    node: FakeNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = client._driver.background._keeper
    assert keeper is not None
    with monkeypatch.context() as patched:
        patched.setattr(Background, "_take_turn", lambda background: setattr(background, "_keeper", None))
        keeper.join(DEADLINE_S)  # it ends, as one that could not begin for want of memory
    client._driver.background._keeper = keeper
    client.status(DEADLINE_S)
    called = threading.Event()
    client.submit("add", 1, 2).add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE_S)


def test_addresses_that_can_not_be_connected_to_are_each_told_once_and_the_search_goes_on(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(node.address, connect_timeout_s=0.3)
    with monkeypatch.context() as patched:
        patched.setattr(client._session._candidates, "given", ["no address", "nor this one", "nor that"])
        with pytest.raises(NoNodeFound):
            client.connect()
    for address in ("no address", "nor this one", "nor that"):
        assert caplog.text.count(f"can't connect to {address}") == 1
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
    client.close()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), ZeroDivisionError()])
def test_whatever_a_callback_raises_is_logged_and_the_thread_goes_on(
    client: Client, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    for _ in range(2):
        called = threading.Event()

        def fail(_: object) -> None:
            raise error

        future = client.submit("add", 1)
        future.add_done_callback(fail)
        future.add_done_callback(lambda _, called=called: called.set())  # type: ignore[misc]
        assert called.wait(DEADLINE_S)
    assert caplog.text.count(f"\n{type(error).__name__}") == 2


def test_sys_exit_in_a_callback_that_is_due_at_once_is_logged_too(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    future = client.submit("add", 1)
    future.result(DEADLINE_S)
    future.add_done_callback(lambda _: sys.exit(3))
    assert "SystemExit: 3" in caplog.text


def test_ctrl_c_in_a_callback_reaches_the_main_thread_once_the_other_callbacks_ran(client: Client) -> None:
    future = client.submit("add", 1)
    future.result(DEADLINE_S)
    ran: list[int] = []

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with client._driver.turns.lock:
        client._driver.resolver.ended.append(future)
        future._callbacks = [interrupt, lambda _: ran.append(1)]
    with pytest.raises(KeyboardInterrupt):
        client._driver.resolver.run_callbacks()
    assert ran == [1]
