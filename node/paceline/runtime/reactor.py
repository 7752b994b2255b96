"""The loop of a node: poll, let the core think, write down, send. One thread; the only reader of the clocks.

A turn never waits for anything but ``poll``: not for the disk (the journal has its own thread), not for DNS or
discovery (theirs call :meth:`Reactor.add_address`), not for a slow client (what it can't take is kept, bounded, and
tried again).

The order within a turn is the core's contract (``core/effects.py``): what promises nothing leaves at once, what
promises leaves when the journal says that it is durable.

When the journal fails, nothing is promised any more: no vote, no acknowledgement. A leader first transfers the
leadership, which takes messages and no disk of its own: its followers get what they lack of the log, the best of them
is told to campaign, and the others elect it. What was never durable here may still be committed by their disks. Then,
or after FAILED_TRANSFER_S, the turn ends with the journal's error; a node that does not lead ends at once.

The file is long, as it is the one turn: each of its steps is short, and their order is what counts.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from paceline.core.effects import Effects, PeerBatch, WorkerBatch
from paceline.core.measures.histogram import LATENCY_BOUNDS_US, Histogram
from paceline.core.measures.repeats import is_power_of_ten
from paceline.core.membership.main_connection import SentByMain
from paceline.core.node import NodeCore
from paceline.errors import JournalFailed
from paceline.runtime.child_frames import ChildFrames
from paceline.runtime.children.interface import Children
from paceline.runtime.children.lifetimes import LifetimeLimits, Lifetimes
from paceline.runtime.children.scaling import Scaling
from paceline.runtime.client_frames import ClientFrames
from paceline.runtime.counters import Counters
from paceline.runtime.forbidden import BATCH, Forbidden
from paceline.runtime.journal.journal import Journal
from paceline.runtime.transport.transport import BURST_MESSAGES, Received, Sent, Source, Transport
from paceline.runtime.unsent import UnsentFrames
from paceline.security import KeyRole
from paceline_protocol.codec import decode, encode, encode_fields
from paceline_protocol.errors import ProtocolError
from paceline_protocol.limits import ANNOUNCED_BYTES, MAX_BATCH_FRAMES
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.children import Run, WorkerFailed
from paceline_protocol.messages.client import ClientReply, Coming, Failure, Refusal
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.messages.message import Sender, sent_by

MAX_WAIT_S: Final = 1.0
FAILED_TRANSFER_S = 0.5
"""How long a leader whose journal failed goes on so that another voter can lead."""
TURN_S: Final = 0.001
"""Once a turn has taken so long, it takes no further message from clients and peers; and one that took more than five
times as long, with its answers, halves how many the next takes at most, while a shorter one adds one.

Their connections are read in turn, one message at a time, and each message is bounded in what it costs. So a client
that floods the node slows itself: the others wait for a turn, and for one message of each connection
(docs/decisions/0030)."""
ADDRESSES_LIMIT = 1_024
TOLD_LIMIT = 64
"""What other threads have told, and the next turn takes."""
UNREACHED_ADDRESSES = 1_024
"""Addresses that are known not to be reached. Beyond it others are taken for reached; it is only for what is said."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# Compared for each frame: a Final of a compiled module is not looked up as an attribute is.
_CLIENT: Final = Source.CLIENT
_PEER: Final = Source.PEER
_WORKER: Final = Source.WORKER
_CHILD: Final = Source.CHILD
_WAKE: Final = Source.WAKE
_OK: Final = Sent.OK
_GONE: Final = Sent.GONE

_NODE: Final = KeyRole.NODE
_FROM_PEERS: Final = sent_by(Sender.PEER) - {Envelope}  # which is the head of each batch, and nothing else

_logger = logging.getLogger("paceline.node")


class Reactor:
    """Runs one :class:`NodeCore` on one transport, journal and pool of children."""

    def __init__(
        self,
        core: NodeCore,
        transport: Transport,
        journal: Journal | None,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        children: Children | None = None,
        on_worker_failed: Callable[[bytes, WorkerFailed], None] | None = None,
        save_identity: Callable[[], None] | None = None,
        metrics: Callable[[float], bytes] | None = None,
        lifetime_limits: LifetimeLimits | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        """``clock``: monotonic, in seconds. ``wall_clock``: in seconds since 1970, which may be set at any time.
        ``metrics``: what the web process is answered. ``lifetime_limits``: when workers are replaced; None: never.
        ``scaling``: how many workers there are to be; None: as many as there are."""
        self.core = core
        self.counters = Counters()
        self._transport = transport
        self._journal = journal
        self._clock = clock
        self._wall_clock = wall_clock
        self._save_identity = save_identity
        self.turn_time = Histogram(LATENCY_BOUNDS_US)  # of a turn, without its wait: what comes meanwhile waits so long
        self._turn_began = 0.0
        self._addresses: deque[str] = deque(maxlen=ADDRESSES_LIMIT)  # from other threads, and told by anyone
        self._told: deque[Callable[[NodeCore], None]] = deque(maxlen=TOLD_LIMIT)  # by other threads of this node
        self._sent_by_main = SentByMain()
        self.unreached: set[str] = set()  # addresses to which the last batch could not be sent; read by other threads
        self._promises: deque[tuple[int, list[PeerBatch]]] = deque()  # (Persist.seq to wait for, batches)
        self._submitted_seq = 0
        self._durable_seq = 0
        self.unsent = UnsentFrames()
        self._burst_messages = BURST_MESSAGES
        self._forbidden = Forbidden(self.counters)
        self._clients = ClientFrames(core, transport, self.counters, self._forbidden, self._send_client)
        self._unsendable = 0  # replies and messages to peers
        lifetimes = Lifetimes(lifetime_limits or LifetimeLimits())
        self.scaling = scaling or Scaling(0, 0)
        self._children = ChildFrames(
            core, transport, self.counters, children, on_worker_failed, metrics, lifetimes, self.scaling
        )
        self._failure: JournalFailed | None = None  # of the journal: nothing is written or promised any more
        self._failed_term = 0  # the one that this node led when that happened
        self._ends_at = inf  # when the failure is raised, whoever leads

    def add_address(self, address: str) -> None:
        """Discovery found a node. May be called from any thread."""
        self._addresses.append(address)
        self._transport.wake()

    def tell(self, event: Callable[[NodeCore], None]) -> None:
        """Have the core told of an event, in the next turn. May be called from any thread. Of more than TOLD_LIMIT the
        oldest are lost."""
        self._told.append(event)
        self._transport.wake()

    def reload(self, now: float) -> None:
        """Have the workers replaced by others, which import their modules as they are now."""
        self._children.reload(now)

    @property
    def is_reloading(self) -> bool:
        """Whether some workers are still to be replaced for that."""
        return self._children.lifetimes.outdated > 0

    def revoked(self, key: bytes) -> None:
        """The client on this connection is told nothing any more, of what waits for it either."""
        self.unsent.drop(key)
        self.core.on_client_gone(key)

    def turn(self) -> None:
        """Wait for something to do, and do it. Raises JournalFailed once nothing is left to do without a journal."""
        deadline = self.core.next_deadline()
        received = self._transport.poll(self._wait_s(deadline))
        now = self._turn_began = self._clock()
        self.counters.turns += 1
        self.core.on_wall_clock(self._wall_clock() - now)
        if now >= deadline or self.core.is_moment_due(now):
            self.core.tick(now)
        if self._transport.faults:
            self._children.cast_out_all(self._transport.faults)
        for item in received:
            self._receive(item, now)
        if self._transport.has_more:
            now = self._receive_more(now)
        while self._told:
            self._told.popleft()(self.core)
        while self._addresses:
            self.core.on_address(self._addresses.popleft())
        if now >= self._children.respawn_at:
            self._children.respawn(now)
        if now >= self._children.lifetimes.look_at:
            self._children.look(now)
        if now >= self.scaling.look_at:
            self._children.scale(now)
        if now >= self._children.stand_ins.look_at:
            self._children.dismiss_stand_in(now)
        if self.unsent:
            for gone in self.unsent.retry(self._transport.send_client):
                self.core.on_client_gone(gone)
        slots = self.core.leader_link.slots
        if slots.stuck:
            self._children.take_back(now)
        if slots.limits:
            self._children.keep_limits(now)
        self._perform(now)

    def _wait_s(self, deadline: float) -> float:
        now = self._clock()
        if self._turn_began:
            took_s = now - self._turn_began
            self.turn_time.observe_s(took_s)
            if took_s > 5 * TURN_S:
                self._burst_messages = max(1, self._burst_messages // 2)
            elif self._burst_messages < BURST_MESSAGES:
                self._burst_messages += 1
        if self.unsent:
            return 0.001
        due_at = min(deadline, self._children.respawn_at)  # of two, min() is no call
        due_at = min(due_at, self._children.lifetimes.look_at)
        due_at = min(due_at, self.scaling.look_at)
        due_at = min(due_at, self._children.stand_ins.look_at)
        wait_s = min(due_at, self._ends_at) - now
        return min(max(wait_s, 0.0), MAX_WAIT_S)

    # --- in -----------------------------------------------------------------------------------------------------

    def _receive_more(self, now: float) -> float:
        """Take from clients and peers what else is here, while the turn is short. Returns when the last came, so that
        no trace says that a message was received before it was sent."""
        transport, clock = self._transport, self._clock
        ends_at = self._turn_began + TURN_S
        for _ in range(self._burst_messages - 1):
            if clock() >= ends_at:
                break
            item = transport.receive_more()
            if item is None:
                break
            now = clock()
            self._receive(item, now)
        return now

    def _receive(self, received: Received, now: float) -> None:
        source, key, frames = received
        if source is _WAKE:
            return
        if source is _CHILD:
            assert isinstance(key, int)
            self._children.ended(key, now)
            return
        assert isinstance(key, bytes)
        counters = self.counters
        counters.frames_received += len(frames)
        counters.bytes_received += len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
        try:
            if source is _CLIENT:
                self._clients.receive(key, frames, now)
            elif source is not _PEER:
                self._children.receive(source, key, frames[0], now)
            else:
                self._from_peer(key, frames, now)
        except ProtocolError as error:
            counters.frames_malformed += 1
            _logger.debug("malformed frame from %s: %s", source.name, error)
            if source is _WORKER:
                self._children.cast_out(key, f"it sent what is no frame: {error}")

    def _from_peer(self, key: bytes, frames: list[bytes], now: float) -> None:
        if not frames or self._clients.is_ignored(key):
            self._clients.batch_unread(key)
            return
        standing = self._transport.standing(key)
        if standing.role is not _NODE:
            self._forbidden.drop(standing, BATCH, len(frames))
            return
        envelope, *rest = (decode(frame) for frame in frames)
        messages: list[Any] = [message for message in rest if type(message) in _FROM_PEERS]
        if isinstance(envelope, Envelope) and len(messages) == len(rest):
            self.core.on_peer(envelope, messages, now)
        else:
            self.counters.frames_unexpected += len(frames)

    # --- out ----------------------------------------------------------------------------------------------------

    def _perform(self, now: float) -> None:
        """Carry out effects until the core has no more; a journal that answers at once is a second round."""
        core = self.core
        to_workers, to_peers, to_clients = core.take_urgent(now)
        slots = core.leader_link.slots
        if slots.to_stop or slots.to_cancel:
            self._children.stop_tasks()
        if slots.lacks_async_workers:
            self._children.start_async_workers(now)
        if slots.lacks_stand_ins:
            self._children.start_stand_ins(now)
        if slots.leaving:
            self._children.replace_leaving(now)
        if slots.to_give_up:
            self._children.give_up()
        if core.traces.leaving:
            core.traces.left(self._clock())  # before what it wakes up can have seen the clock
        self._send_urgent(to_workers, to_clients)
        if to_peers:
            self._send_peers(to_peers)
        while True:
            if self._journal is not None:
                self._take_durable(self._journal, now)
            if not core.effects_due(now):
                if self._failure is not None:
                    self._go_on_without_journal(self._failure, now)
                return
            effects = core.take_effects(now)
            if effects.identity_changed and self._save_identity is not None:
                if self._failure is not None:
                    raise self._failure  # who it is can't be written down either
                self._save_identity()  # before anything tells of it: a consent is given once, whatever crashes
            self._send(effects)
            if self._journal is None:
                self._send_peers(effects.after_persist)
                continue
            if self._failure is not None:
                continue
            if effects.persist is not None:
                self._submitted_seq = effects.persist.seq
                self._journal.submit(effects.persist)
            if effects.after_persist:
                self._promises.append((self._submitted_seq, effects.after_persist))
            if effects.save_snapshot is not None:
                self._journal.save_snapshot(effects.save_snapshot)

    def _take_durable(self, journal: Journal, now: float) -> None:
        """Tell the core what is written, and keep the promises that waited for it."""
        failure = journal.failure  # read first: what is durable by now is all that ever will be
        durable = journal.durable_seq()
        if durable > self._durable_seq:
            self._durable_seq = durable
            self.core.persisted(durable)
        while self._promises and self._promises[0][0] <= durable:
            self._send_peers(self._promises.popleft()[1])
        if failure is not None and self._failure is None:
            self._journal_failed(failure, now)

    def _journal_failed(self, failure: JournalFailed, now: float) -> None:
        """The journal failed in this moment. Raises that, unless this node leads and somebody can take over."""
        core = self.core
        self._failure = failure
        self._promises.clear()
        if core.leader is None or not core.transfer_leadership(now):
            raise failure
        self._failed_term = core.leader.term
        self._ends_at = now + FAILED_TRANSFER_S

    def _go_on_without_journal(self, failure: JournalFailed, now: float) -> None:
        """Everything of this turn has left. Raises the failure once another leads, or can't be waited for."""
        core = self.core
        if core.leader is not None:
            is_over = not core.transfer_leadership(now)  # again, if that took too long and nobody campaigned
        else:  # deposed in the same term: it lost touch with the others, who elect one without its help
            is_over = core.leader_id(now) != "" or core.consensus.term == self._failed_term
        if is_over or now >= self._ends_at:
            raise failure

    def _send(self, effects: Effects) -> None:
        if self.core.traces.leaving:
            self.core.traces.left(self._clock())
        self._send_urgent(effects.to_workers, effects.to_clients)
        self._send_peers(effects.to_peers)
        for address in effects.forget_addresses:
            self._transport.forget_peer(address)
        for notice in effects.notices:
            _logger.log(_LEVELS[notice.level], notice.text)

    def _send_urgent(self, batches: list[WorkerBatch], replies: list[tuple[bytes, ClientReply]]) -> None:
        for worker_id, tasks in batches:
            # A worker that can't be reached has ended, or is about to: its children event redelivers what it had. The
            # frame is shorter than the one that its largest task came in, or than a batch, so that it can be encoded.
            frame = encode_fields(Run, (tasks,))
            self.counters.bytes_sent += len(frame)
            self._transport.send_child(worker_id, frame)
        for key, reply in replies:
            self._send_client(key, self._encoded(reply))

    # What can't be encoded is a defect of ours, to which one client or peer has led: the others are served on.

    def _encoded(self, reply: ClientReply) -> bytes:
        """The frame of a reply."""
        try:
            return encode(reply)
        except ProtocolError as error:
            self._say_unsendable("an answer", error)
            return encode(Failure(Refusal.BAD_REQUEST, "the answer can't be sent; the node's log says why"))

    def _say_unsendable(self, what: str, error: ProtocolError) -> None:
        self._unsendable += 1
        if is_power_of_ten(self._unsendable):
            _logger.error("can't send %s (number %d of these): %s; please report this", what, self._unsendable, error)

    def _send_peers(self, batches: list[PeerBatch]) -> None:
        """A batch that can't be sent is lost, as it might be on the way; the protocols above repair that."""
        for address, envelope, messages, is_quick in batches:
            try:
                frames = [*map(encode, messages)]
            except ProtocolError:
                frames = self._sendable(address, messages)
            for start in range(0, len(frames), MAX_BATCH_FRAMES - 1):
                part = frames if len(frames) < MAX_BATCH_FRAMES else frames[start : start + MAX_BATCH_FRAMES - 1]
                self._send_peer(address, envelope, part, is_quick)

    def _sendable(self, address: str, messages: Sequence[PeerMessage]) -> list[bytes]:
        """The frames of a batch without those messages that can't be encoded."""
        frames: list[bytes] = []
        for message in messages:
            try:
                frames.append(encode(message))
            except ProtocolError as error:
                self._say_unsendable(f"a {type(message).__name__} to {address}", error)
        return frames

    def _send_peer(self, address: str, envelope: Envelope, frames: list[bytes], is_quick: bool) -> None:
        size_bytes = sum(map(len, frames))
        try:
            head = encode(self._sent_by_main.label(envelope, size_bytes, is_quick))
        except ProtocolError as error:
            self._say_unsendable(f"an Envelope to {address}", error)
            return
        self.counters.bytes_sent += len(head) + size_bytes
        if self._transport.send_peer(address, [head, *frames], is_quick=is_quick) is not _OK:
            self.counters.peer_sends_failed += 1
            if len(self.unreached) < UNREACHED_ADDRESSES:
                self.unreached.add(address)
        elif address in self.unreached:
            self.unreached.discard(address)

    def _send_client(self, key: bytes, frame: bytes) -> None:
        """Send a frame, and announce it first if it is large: its client may take this node for silent otherwise."""
        if len(frame) >= ANNOUNCED_BYTES:
            self._send_client(key, encode(Coming(len(frame))))
        self.counters.bytes_sent += len(frame)
        if not self.unsent or key not in self.unsent:
            sent = self._transport.send_client(key, frame)
            if sent is _OK:
                return
            if sent is _GONE:
                self.core.on_client_gone(key)
                return
            self.counters.client_sends_stalled += 1
        for given_up in self.unsent.keep(key, frame):
            self.counters.clients_given_up += 1
            self.core.on_client_gone(given_up)
