"""A node's conversation with its clients: who leads, answers to questions, and, while the node leads, their tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from paceline.core.clients.client_info import Clients
from paceline.core.clients.sessions import ClientSession
from paceline.core.measures.tally import Tally
from paceline.core.measures.traces import Traces
from paceline.core.membership.directory import Directory
from paceline.core.membership.identity import Identity
from paceline.core.node.leader_role import LeaderRole
from paceline.core.node.pacing import AT_ONCE, TASK
from paceline.core.node.questions import AskedOf, Question
from paceline.core.outbox import Outbox
from paceline.core.scheduling.leader import Leader
from paceline.core.settings import Settings
from paceline_protocol.codec import count_calls
from paceline_protocol.errors import LimitExceeded, ProtocolError
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import (
    Cancel,
    ClientMessage,
    ClientReply,
    Discard,
    Hello,
    Ping,
    Pong,
    Postponed,
    Read,
    Refusal,
    Requeue,
    Submit,
    Wait,
    Welcome,
)
from paceline_protocol.messages.queues import AlterTasks, SetQueue
from paceline_protocol.messages.schedules import BackfillSchedule, ChangeSchedule, PutSchedule, TriggerSchedule

Answer = Callable[[Question, bytes, Any, float], ClientReply | None]
"""(a question, the client's connection, its request, now) -> the reply, None if it follows later."""


class ClientConversation:
    """One node's conversation with all of its clients, each known by its connection. ``known``: their own
    descriptions."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        directory: Directory,
        role: LeaderRole,
        tally: Tally,
        traces: Traces,
        outbox: Outbox,
        questions: Iterable[Question],
        answer: Answer,
    ) -> None:
        self.known = Clients()
        self._settings = settings
        self._identity = identity
        self._directory = directory
        self._role = role
        self._tally = tally
        self._traces = traces
        self._outbox = outbox
        self._questions = {question.request: question for question in questions}
        self._answer = answer
        self._in_session: dict[type[Any], Callable[[Leader, ClientSession, Any, float], None]] = {
            Submit: self._submit,
            Ping: self._ping,
            Wait: self._wait,
            Read: self._read,
            Cancel: self._cancel,
            Requeue: self._requeue,
            Discard: self._discard,
            SetQueue: self._set_queue,
            AlterTasks: self._alter,
            PutSchedule: self._schedule,
            ChangeSchedule: self._schedule,
            TriggerSchedule: self._schedule,
            BackfillSchedule: self._schedule,
        }

    def hear(self, key: bytes, message: ClientMessage, now: float) -> int:
        """A client's message, on the connection ``key``. Returns how urgent it is (``pacing.py``).

        What a message acknowledges may end its session, if that was cut off. Then nothing else in it counts, and a
        Redirect has the client begin another.

        Raises ProtocolError, and does nothing, for calls that are malformed or too many."""
        leader = self._role.leader
        session = leader.sessions.get(key) if leader is not None else None
        if isinstance(message, Submit) and leader is not None and session is not None:
            self._submit(leader, session, message, now)
            if session.closed:
                self._outbox.reply(key, self._role.redirect(now))
            return AT_ONCE if message.prompt else TASK
        if isinstance(message, Hello):
            self._greet(leader, key, message.client_id, now)
            return AT_ONCE
        question = self._questions.get(type(message))
        if question is not None and question.asked_of is AskedOf.ANY_NODE:
            if session is not None:
                session.heard_at = now  # so that it is told when another leads
            self._ask(question, key, message, now)
        elif leader is None or session is None:
            self._outbox.reply(key, self._role.redirect(now))
        elif question is not None:
            self._ask(question, key, message, now)
        else:
            self._in_session[type(message)](leader, session, message, now)
            if session.closed:
                self._outbox.reply(key, self._role.redirect(now))
        return AT_ONCE

    def _greet(self, leader: Leader | None, key: bytes, client_id: bytes, now: float) -> None:
        if leader is not None:
            leader.sessions.open(key, client_id, now)
        self._outbox.reply(key, self._welcome(now))

    def _ask(self, question: Question, key: bytes, request: ClientMessage, now: float) -> None:
        reply = self._answer(question, key, request, now)
        if reply is not None:
            self._outbox.reply(key, reply)

    def _submit(self, leader: Leader, session: ClientSession, submit: Submit, now: float) -> None:
        try:
            if (count := count_calls(submit.calls)) > MAX_REQUEST_TASKS:
                raise LimitExceeded("calls in one Submit", count, MAX_REQUEST_TASKS)
            leader.admission.submit(session, submit, now)
        except ProtocolError:
            self._tally.refuse(Refusal.BAD_REQUEST)
            raise

    def _ping(self, leader: Leader, session: ClientSession, ping: Ping, now: float) -> None:
        leader.admission.acknowledge(session, ping.ack, now)
        if not session.closed:
            self._outbox.reply(session.key, Pong(leader.term))

    def _wait(self, leader: Leader, session: ClientSession, wait: Wait, now: float) -> None:
        postponed = leader.admission.wait(session, wait, now)
        if postponed:
            self._outbox.reply(session.key, Postponed(tuple(postponed)))

    def _read(self, leader: Leader, session: ClientSession, read: Read, now: float) -> None:
        leader.admission.read(session, read, now)

    def _cancel(self, leader: Leader, session: ClientSession, cancel: Cancel, now: float) -> None:
        leader.cancel(session, cancel, now)

    def _requeue(self, leader: Leader, session: ClientSession, request: Requeue, now: float) -> None:
        session.heard_at = now
        leader.dead.requeue(session.key, request, now)

    def _discard(self, leader: Leader, session: ClientSession, request: Discard, now: float) -> None:
        session.heard_at = now
        leader.dead.discard(session.key, request)

    def _set_queue(self, leader: Leader, session: ClientSession, request: SetQueue, now: float) -> None:
        session.heard_at = now
        leader.queues.set(session.key, request)

    def _alter(self, leader: Leader, session: ClientSession, request: AlterTasks, now: float) -> None:
        session.heard_at = now
        leader.alterations.alter(session.key, request)

    def _schedule(
        self,
        leader: Leader,
        session: ClientSession,
        request: PutSchedule | ChangeSchedule | TriggerSchedule | BackfillSchedule,
        now: float,
    ) -> None:
        session.heard_at = now
        leader.schedules.ask(session.key, request, now)

    def gone(self, key: bytes) -> int:
        """The connection can't be reached any more."""
        self.known.gone(key)
        if self._role.leader is not None:
            self._role.leader.sessions.close(key)
        return AT_ONCE

    def _welcome(self, now: float) -> Welcome:
        leader_id = self._role.leader_id(now)
        addresses = [self._directory.own_address]
        addresses += [peer.address for peer in self._directory.live(now, self._identity.cluster_id)]
        return Welcome(
            self._identity.node_id,
            self._identity.cluster_id,
            self._settings.cluster_name,
            self._role.term(),
            leader_id,
            self._directory.address_of(leader_id),
            tuple(addresses),
            self._settings.payload_limit_bytes,
        )

    def take_replies(self, now: float) -> list[tuple[bytes, ClientReply]]:
        """Take the messages to clients: the node's replies, the leader's Updates, and then traces."""
        replies = self._outbox.take_replies()
        leader = self._role.leader
        if leader is not None:
            if leader.cancelling.replies:
                replies += leader.cancelling.replies
                leader.cancelling.replies = []
            if leader.dead.replies:
                replies += leader.dead.replies
                leader.dead.replies = []
            if leader.queues.replies:
                replies += leader.queues.replies
                leader.queues.replies = []
            if leader.alterations.replies:
                replies += leader.alterations.replies
                leader.alterations.replies = []
            if leader.schedules.replies:
                replies += leader.schedules.replies
                leader.schedules.replies = []
            if leader.remarks.replies:
                replies += leader.remarks.replies
                leader.remarks.replies = []
            if leader.sessions.owes:
                replies += leader.take_updates(now)
        if self._traces.came:
            replies += self._traces.take(now)
        return replies
