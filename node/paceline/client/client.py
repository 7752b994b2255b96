"""The client: what a program uses to run tasks on a cluster.

Making a Client opens nothing. The first use, or entering its ``with`` block, looks for the leader and says at once what
is wrong if there is none. From then on a leader that changes is the client's own business: what was submitted is given
to the next one, under the same ids, and only a cluster that stays away longer than ``failover_timeout_s`` is an error.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from paceline.client import closing
from paceline.client.altering import AlterQuestions
from paceline.client.closing import CLOSE_TIMEOUT_S
from paceline.client.dead_tasks import DeadTaskQuestions
from paceline.client.driver.driver import Driver, PackedCall
from paceline.client.future import Future
from paceline.client.gathering import Gathering
from paceline.client.graphs import Graph, GraphQuestions
from paceline.client.inputs import after_of, packed_call
from paceline.client.live_tasks import LiveTaskQuestions
from paceline.client.mapping import WINDOW_BYTES, WINDOW_TASKS, Bounds, Calls, MapBounds, Mapped, Unordered
from paceline.client.progress import ProgressQuestions
from paceline.client.questions import TaskQuestions
from paceline.client.queues import QueueQuestions
from paceline.client.schedules import ScheduleQuestions
from paceline.client.session.relaying import RelaySession
from paceline.client.session.session import Session
from paceline.client.targets import NamedTask, Target, parts_of
from paceline.client.together import Together
from paceline.client_keys import ClientKeys
from paceline.cluster_file import AnyFile
from paceline.config import is_loopback, parse_address
from paceline.errors import ConfigError, RequestRefused, UpstreamFailed
from paceline.options import check_seconds, shown
from paceline.own_cluster import find_cluster
from paceline.parameters import parameters_of, with_parameters
from paceline_protocol.errors import FoundReference
from paceline_protocol.keyed import key_of
from paceline_protocol.limits import PAYLOAD_LIMIT_MAX_BYTES
from paceline_protocol.messages.client import AdminOp
from paceline_protocol.messages.trace import Stage
from paceline_protocol.payload import pack_args, unpack_value

if TYPE_CHECKING:
    from paceline.worker.registry import Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Client(
    Gathering,
    TaskQuestions,
    LiveTaskQuestions,
    ProgressQuestions,
    DeadTaskQuestions,
    AlterQuestions,
    GraphQuestions,
    QueueQuestions,
    ScheduleQuestions,
):
    """A connection to a cluster. Any number of threads may share it; processes may not: make one in each.

    :param addresses: nodes, as "host:port" or "host"; any one that lives is enough to find the others. Without any,
        PACELINE_CONNECT; without that, in a worker, the cluster that runs it; anywhere else this machine's port 7077
        and whatever discovery finds, at the same time.
    :param cluster: the cluster file, or its path; without it, PACELINE_CLUSTER. It names the cluster and has its keys.
        A worker's own cluster needs none.
    :param connect_timeout_s: how long the first use looks for a leader.
    :param failover_timeout_s: how long a later absence of a leader is waited out.
    :param payload_limit_bytes: the packed arguments of one call; without it, what the nodes allow.
    :param prompt: always have the acceptance of tasks confirmed at once. For programs that submit and wait for
        acceptance and not for results.
    :param trace_every: sample the first call, and then every so many: :meth:`take_traces` tells where their time went.
        0: none. What is not sampled costs no more for it.
    """

    def __init__(
        self,
        *addresses: str,
        cluster: str | Path | AnyFile | None = None,
        connect_timeout_s: float = 10.0,
        failover_timeout_s: float = 30.0,
        payload_limit_bytes: int | None = None,
        prompt: bool = False,
        trace_every: int = 0,
        _relays: bool = False,
    ) -> None:
        check_seconds("connect_timeout_s", connect_timeout_s)
        check_seconds("failover_timeout_s", failover_timeout_s)
        if type(trace_every) is not int or trace_every < 0:
            raise ConfigError(f"trace_every is {shown(trace_every)}; sample one of so many calls, or none with 0")
        if payload_limit_bytes is not None and (
            type(payload_limit_bytes) is not int or not 0 < payload_limit_bytes <= PAYLOAD_LIMIT_MAX_BYTES
        ):
            raise ConfigError(
                f"payload_limit_bytes is {shown(payload_limit_bytes)}, and must be a whole number of bytes from 1 to "
                f"{PAYLOAD_LIMIT_MAX_BYTES}, which is what fits into a frame"
            )
        found = find_cluster(addresses, cluster)
        self._payload_limit_bytes = payload_limit_bytes
        kind = RelaySession if _relays else Session
        session = kind(
            os.urandom(16),
            found.addresses,
            random=random.Random(os.urandom(8)),  # noqa: S311 - for pauses and the order of nodes
            cluster_name=found.cluster.name if found.cluster is not None else "",
            connect_timeout_s=connect_timeout_s,
            failover_timeout_s=failover_timeout_s,
        )
        self._session = session
        self._driver = Driver(
            session,
            ClientKeys(found.cluster, on_this_machine=_is_here(found.addresses)),
            prompt=prompt,
            trace_every=trace_every,
            discovery_timeout_s=connect_timeout_s if found.discovers else None,
        )
        lifetime = self._driver.lifetime
        self._driver.lease = closing.watch(lifetime, found.addresses)

    # --- the life of a client ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Find the leader now. Raises NoNodeFound, NoLeader, IncompatibleVersion or ClientClosed."""
        self._driver.connect()

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> None:
        """Wait at most ``timeout`` seconds until what was submitted is accepted, then close.

        Accepted tasks run all the same. Futures without a result raise ClientClosed. Closing twice does nothing. If
        some were not accepted by then, a line in the log says how many.

        At the exit of the interpreter every open client is closed so. One that nobody has any more, nor a future of it,
        closes itself. Raises UsedWithinItself in a signal handler that interrupts the client's own doing.
        """
        check_seconds("timeout", timeout)
        lifetime = self._driver.lifetime
        try:
            lost = lifetime.close(timeout)
        finally:
            with _current_lock:
                if lifetime.has_ended and self in _entered:
                    _entered.remove(self)
        closing.is_closed(lifetime)
        closing.tell_lost(lost, timeout)

    def __enter__(self) -> Client:
        try:
            self.connect()
        except BaseException:
            self.close(0)
            raise
        with _current_lock:
            _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        at = self._session.leader_address
        return f"<paceline client, {'leader at ' + at if at else self._session.state.value}>"

    # --- tasks ---------------------------------------------------------------------------------------------------

    # A checker knows the arguments and the result of a task, and nothing of a name.
    @overload
    def submit(self, target: Task[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, target: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...
    @overload
    def submit(self, target: NamedTask | str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...
    def submit(self, target: Target, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task on the cluster: ``client.submit(add, 2, 3)``. Returns at once.

        ``target`` is a task, ``task.options(priority=...)``, the name of a task, or a :class:`NamedTask`. Raises
        UnserializableValue or PayloadTooLarge for arguments that can't be sent, TypeError if ``target`` is no task,
        ConfigError if its name or an option can't be used, and what :meth:`connect` raises. With 200,000 tasks
        outstanding, or 256 MiB of calls that are not accepted, it waits until there is room.

        A future of this client among the arguments, also inside lists, tuples, dicts and values of classes, stands for
        its result: the task waits for it. If that task does not succeed, this one ends with UpstreamFailed.

        With an ``idempotency_key`` the future is that of the one task of its name and key, whoever submitted it first.
        """
        try:
            call = self._pack(target, args, kwargs)
        except UpstreamFailed as error:  # it is not told otherwise than if the input had failed a moment later
            return self._driver.ended(parts_of(target)[0], error)
        future = self._driver.submit(call)
        if closing.has_exited:
            closing.await_acceptance(future)
        return future

    @overload
    def map(
        self, target: Task[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Mapped[T]: ...
    @overload
    def map(self, target: Task[..., R], /, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]) -> Mapped[R]: ...
    @overload
    def map(
        self, target: NamedTask | str, /, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Mapped[Any]: ...
    def map(
        self,
        target: Target,
        /,
        *iterables: Iterable[Any],
        window: int = WINDOW_TASKS,
        window_bytes: int = WINDOW_BYTES,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> Mapped[Any]:
        """Like the built-in ``map``, on the cluster: the results in the order of the arguments. They are taken with
        ``for``, or in a loop with ``async for``.

        Lazy: nothing is submitted before the first result is asked for, and never more than ``window`` tasks are ahead
        of the result that is taken, nor about ``window_bytes`` of arguments and results; one task always. So the
        iterables may be endless, and are read as results are taken. The first exception is raised at its place, whether
        it is a task's, of an iterable or of arguments that can't be sent; then, or when the iterator is dropped or
        closed, what has not ended is cancelled. With ``return_exceptions`` those of tasks, and of arguments that can't
        be sent, are results as others, and all goes on. TimeoutError: ``timeout`` seconds from now.
        """
        bounds = Bounds(window, window_bytes, timeout, return_exceptions)
        return Mapped(self._driver, self._calls(target, iterables), bounds)

    @overload
    def imap_unordered(
        self, target: Task[..., Coroutine[Any, Any, T]], /, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Unordered[T]: ...
    @overload
    def imap_unordered(
        self, target: Task[..., R], /, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Unordered[R]: ...
    @overload
    def imap_unordered(
        self, target: NamedTask | str, /, *iterables: Iterable[Any], **bounds: Unpack[MapBounds]
    ) -> Unordered[Any]: ...
    def imap_unordered(
        self,
        target: Target,
        /,
        *iterables: Iterable[Any],
        window: int = WINDOW_TASKS,
        window_bytes: int = WINDOW_BYTES,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> Unordered[Any]:
        """Like :meth:`map`, with the results as they come: one that takes long holds up no other. So an exception is
        raised when it comes."""
        bounds = Bounds(window, window_bytes, timeout, return_exceptions)
        return Unordered(self._driver, self._calls(target, iterables), bounds)

    def _calls(self, target: Target, iterables: tuple[Iterable[Any], ...]) -> Calls:
        # A wrong target is an error here and not at the first result.
        parts = parts_of(target)
        if key_of(parts[2]):
            raise ConfigError(
                f"all calls of this map of {parts[0]} would have the same idempotency_key, and so be one task; submit "
                "them one by one, each with its own"
            )
        arguments = zip(*iterables, strict=False)
        return Calls(
            parts,
            arguments,
            self._payload_limit_bytes or 0,
            parameters_of(target),
            owner=self._driver,
            after=after_of(target, parts[2]),
        )

    def status(self, timeout: float = 5.0, *, _about: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
        """What the leader knows about the cluster; what any node knows, while there is no leader.

        Raises NoNodeFound if none answers in time.
        """
        check_seconds("timeout", timeout)
        body = self._driver.status(timeout, _about)
        if body is None:
            raise self._session.no_node_found(timeout)
        status: dict[str, Any] = unpack_value(body)
        return status

    def take_traces(self) -> dict[bytes, dict[Stage, int]]:
        """When the sampled calls that came back since the last time passed where: by task id, the moment of each stage
        in the order of the way, in nanoseconds of the monotonic clock. At most 4,096 calls; the oldest are dropped.

        A trace comes a little after its result, and may be lost, as when the leader changes: then it is not there.
        Moments of processes on one machine compare. Those of another machine are of its own clock: of these only the
        spans between two that were taken there mean anything.
        """
        return {
            task_id: {Stage(stage): at_ns for stage, at_ns in stamps.items()}
            for task_id, stamps in self._driver.take_traces().items()
        }

    def change_cluster(self, op: AdminOp, argument: str, timeout: float = 30.0) -> str:
        """Ask the leader for one of these changes and wait, at most ``timeout`` seconds, until it is done. Returns what
        is the case then, for a person. ``argument`` is a node's whole id, or of VOTERS the number.

        Raises RequestRefused, with the reason, if it can't be done, NoLeader or NoNodeFound, and TimeoutError if
        nothing is known by then: the change may still be made.
        """
        check_seconds("timeout", timeout)
        answer = self._driver.admin(op, argument, timeout)
        if answer is None:
            raise TimeoutError(f"no answer within {timeout:g} s; `paceline status` shows whether it was done")
        done, detail = answer
        if not done:
            raise RequestRefused(detail)
        return detail

    def graph(self, name: str) -> Graph:
        """The tasks that have this name in common, ``graph=name``: how far they are, and cancelling them. Raises
        ConfigError for what is no such name."""
        return Graph(self, name)

    def _together(self, graph: str | None = None) -> Together:
        """For calls that are submitted in one go: see ``paceline.graphs``. ``graph``: to which those belong that do not
        say another one."""
        return Together(self, graph)

    def _pack(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PackedCall:
        # Each submit comes by here, and most have neither: what a call of a function costs is what all of them pay.
        name, priority, options = parts_of(target)
        parameters = parameters_of(target) if type(target) is not str else None
        if parameters:
            options = with_parameters(parameters, options, args, kwargs)
        limit_bytes = self._payload_limit_bytes or self._session.payload_limit_bytes
        after = after_of(target, options) if options else ()
        if not after:
            try:
                return name, priority, pack_args(args, kwargs, limit_bytes), options
            except FoundReference:
                pass
        return packed_call(self._driver, (name, priority, options), args, kwargs, limit_bytes, after)

    def _limit_bytes(self) -> int:
        return self._payload_limit_bytes or self._session.payload_limit_bytes


def _is_here(addresses: tuple[str, ...]) -> bool:
    return any(is_loopback(parse_address(address)[0]) for address in addresses)


# --- the current client -----------------------------------------------------------------------------------------

_current_lock = threading.RLock()  # a signal handler may close a client at any moment
_entered: list[Client] = []  # by `with`, the innermost last
_default: Client | None = None


def current_client() -> Client:
    """The client that ``task.submit()`` uses: of the innermost open ``with Client()`` in this process, else one default
    client, made on first use."""
    global _default
    with _current_lock:
        while _entered and _entered[-1]._driver.lifetime.has_ended:
            _entered.pop()  # its close() was interrupted
        if _entered:
            return _entered[-1]
        if _default is None or _default._driver.lifetime.has_ended:
            _default = Client()
        return _default


def _inherited() -> Exception:
    return RuntimeError("this client belongs to the parent process; make a new Client after a fork")


def _after_fork() -> None:
    """In the child: the sockets and the background thread stayed with the parent, and its locks may be taken."""
    global _current_lock, _default
    _current_lock = threading.RLock()
    _default = None
    _entered.clear()
    closing.disown_all(_inherited)


os.register_at_fork(after_in_child=_after_fork)
