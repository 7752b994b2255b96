"""A node in a thread: a ROUTER that speaks the client's protocol and runs tasks itself, as far as a test lets it."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import zmq

from letting_in import let_in
from paceline.runtime.transport.zmq_sockets import open_zap
from paceline_protocol import codec
from paceline_protocol.messages import Message
from paceline_protocol.messages.client import (
    Cancel,
    CancelReply,
    CancelState,
    ClientReply,
    Failure,
    Hello,
    Ping,
    Pong,
    Redirect,
    Refusal,
    StatusReply,
    StatusRequest,
    Submit,
    TaskReply,
    TaskRequest,
    Update,
    Wait,
    Welcome,
)
from paceline_protocol.messages.message import PROTOCOL_VERSION
from paceline_protocol.messages.records import Call, Result, TaskEnd
from paceline_protocol.payload import ErrorInfo, pack_error, pack_error_info, pack_value, unpack_args

DEADLINE_S = 10.0


class Custom(Exception):
    """An exception of the user's own."""


def fail(message: str) -> None:
    raise ValueError(message)


def fail_custom() -> None:
    raise Custom("mine")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b=0: a + b,
    "echo": lambda value: value,
    "fail": fail,
    "fail_custom": fail_custom,
}


class FakeNode:
    """With ``hold`` it accepts tasks and keeps them until :meth:`release`. ``stop`` is as sudden as SIGKILL."""

    def __init__(
        self,
        name: str = "n1",
        *,
        leader: FakeNode | None = None,
        leads: bool = True,
        hold: bool = False,
        accepts: bool = True,
        version: int = PROTOCOL_VERSION,
        term: int = 1,
        port: int = 0,
    ) -> None:
        self.name = name
        self.leads = leads
        self.leader = leader
        self.hold = hold
        self.stops = False  # what is held runs, and goes on though it is asked to stop
        self.accepts = accepts
        self.is_ready = True
        self.version = version
        self.term = term
        self.payload_limit_bytes = 64 * 1024
        self.known: dict[bytes, Call] = {}
        self.received: list[Message] = []
        self.changed = threading.Condition()
        self._held: list[tuple[bytes, Call]] = []
        self._seqs: dict[bytes, int] = defaultdict(int)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._zap = open_zap(self._context)
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 0)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._router.setsockopt(zmq.PLAIN_SERVER, 1)
        self._router.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT).removeprefix("tcp://")
        self._commands: list[Callable[[], None]] = []
        self._wake_read, self._wake_write = os.pipe()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"fake-node-{name}", daemon=True)
        self._thread.start()

    # --- for tests -----------------------------------------------------------------------------------------------

    def __enter__(self) -> FakeNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._do(lambda: None)
            self._thread.join(DEADLINE_S)
            assert not self._thread.is_alive()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def release(self, count: int | None = None) -> None:
        """Run the first ``count`` of the held tasks, or all, and hold no more if all."""

        def run() -> None:
            held = self._held[:count]
            del self._held[: len(held)]
            self.hold = self.hold and count is not None
            for session, call in held:
                self._reply_results(session, [call])

        self._do(run)

    def end(self, task_id: bytes, state: TaskEnd, payload: bytes = b"") -> None:
        """End a held task in this way."""

        def run() -> None:
            for session, _call in [item for item in self._held if item[1][0] == task_id]:
                self._update(session, results=((task_id, int(state), payload),))

        self._do(run)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Until something that this node received makes the condition true."""
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE_S), f"{self.name} waited in vain"

    def count(self, kind: type) -> int:
        return sum(isinstance(message, kind) for message in self.received)

    # --- the thread ----------------------------------------------------------------------------------------------

    def _do(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._zap, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        while not self._stopping:
            for source, _ in poller.poll():
                if source == self._wake_read:
                    os.read(self._wake_read, 1)
                    self._commands.pop(0)()
                elif source is self._zap:
                    let_in(self._zap)
                else:
                    self._take_frame()
        self._router.close(linger=0)
        self._zap.close(linger=0)
        self._context.term()

    def _take_frame(self) -> None:
        session, frame = self._router.recv_multipart()
        message = codec.decode(frame)
        with self.changed:
            self.received.append(message)  # first: who has the answer finds what it answers, without a wait
            self._answer(session, message)
            self.changed.notify_all()

    def _send(self, session: bytes, reply: ClientReply) -> None:
        try:
            self._router.send_multipart([session, codec.encode(reply, version=self.version)], zmq.NOBLOCK)
        except zmq.ZMQError:
            pass  # that client is gone

    def _answer(self, session: bytes, message: Message) -> None:
        leader = self if self.leads else self.leader
        leader_id, leader_address = (leader.name, leader.address) if leader is not None else ("", "")
        if self.version != PROTOCOL_VERSION:
            self._send(session, Failure(Refusal.BAD_REQUEST, "another version"))
        elif isinstance(message, Hello):
            self._seqs[session] = 0
            addresses = (self.address, *([leader_address] if leader_address != self.address else []))
            self._send(
                session,
                Welcome(
                    self.name, "cluster", "", self.term, leader_id, leader_address, addresses, self.payload_limit_bytes
                ),
            )
        elif isinstance(message, StatusRequest):
            self._send(session, StatusReply(message.request, pack_value({"leader_id": leader_id, "node": self.name})))
        elif not self.leads:
            self._send(session, Redirect(self.term, leader_id, leader_address))
        elif isinstance(message, Submit):
            self._take_submit(session, message)
        elif isinstance(message, Wait):
            self._take_wait(session, message)
        elif isinstance(message, Cancel):
            self._take_cancel(session, message)
        elif isinstance(message, Ping):
            self._send(session, Pong(self.term))
        elif isinstance(message, TaskRequest) and self.accepts:
            state = "ready" if message.id in self.known else "unknown"
            where = {"state": state, "why": "so it is", "name": None, "is_open": state == "ready"}
            self._send(session, TaskReply(message.request, pack_value(where)))

    def _take_submit(self, session: bytes, submit: Submit) -> None:
        calls = codec.decode_calls(submit.calls)
        if not self.accepts:
            return
        if not self.is_ready:
            self._update(session, refused=tuple((call[0], int(Refusal.NOT_READY), "forming") for call in calls))
            return
        refused = [call for call in calls if call[1] not in FUNCTIONS]
        taken = [call for call in calls if call[1] in FUNCTIONS]
        self.known.update((call[0], call) for call in taken)
        accepted = (submit.seq,)
        refusals = tuple((call[0], int(Refusal.UNKNOWN_TASK), f"no task {call[1]!r}") for call in refused)
        if self.hold:
            self._held.extend((session, call) for call in taken)
            self._update(session, accepted=accepted, refused=refusals)
        else:
            self._update(session, accepted=accepted, refused=refusals)
            self._reply_results(session, taken)

    def _take_wait(self, session: bytes, wait: Wait) -> None:
        unknown = [task_id for task_id in wait.ids if task_id not in self.known]
        self._update(session, refused=tuple((task_id, int(Refusal.UNKNOWN_ID), "unknown") for task_id in unknown))
        known = [self.known[task_id] for task_id in wait.ids if task_id in self.known]
        if self.hold:
            self._held.extend((session, call) for call in known)
        else:
            self._reply_results(session, known)

    def _take_cancel(self, session: bytes, cancel: Cancel) -> None:
        held = {call[0] for _, call in self._held}
        if self.stops:
            stopping = [(task_id, int(CancelState.STOPPING)) for task_id in cancel.ids if task_id in held]
            self._send(session, CancelReply(cancel.request, tuple(stopping)))
            return
        self._held = [item for item in self._held if item[1][0] not in cancel.ids]
        states = [
            (task_id, int(CancelState.CANCELLED if task_id in held else CancelState.FINISHED)) for task_id in cancel.ids
        ]
        self._send(session, CancelReply(cancel.request, tuple(states)))
        ended = [(task_id, int(TaskEnd.CANCELLED), b"") for task_id in cancel.ids if task_id in held]
        self._update(session, results=tuple(ended))

    def _reply_results(self, session: bytes, calls: list[Call]) -> None:
        if calls:
            self._update(session, results=tuple(_run_call(call) for call in calls))

    def _update(
        self,
        session: bytes,
        *,
        accepted: tuple[int, ...] = (),
        refused: tuple[tuple[bytes, int, str], ...] = (),
        results: tuple[Result, ...] = (),
    ) -> None:
        self._seqs[session] += 1
        self._send(session, Update(self._seqs[session], accepted, refused, results))


def _run_call(call: Call) -> Result:
    args, kwargs = unpack_args(call[3])
    try:
        value = FUNCTIONS[call[1]](*args, **kwargs)
    except (ArithmeticError, TypeError, ValueError, Custom) as error:
        return call[0], int(TaskEnd.FAILED), pack_error(error, traceback.format_exc())
    return call[0], int(TaskEnd.SUCCEEDED), pack_value(value)


def lost_payload() -> bytes:
    return pack_error_info(ErrorInfo("TaskLost", "paceline.errors", "signal 9", (3, "signal 9"), ""))


def wait_until(condition: Callable[[], object]) -> None:
    """For what no event tells. With a deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.002)
