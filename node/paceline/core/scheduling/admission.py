"""The leader's conversation with clients: which calls become tasks, who is told of which result, what they have
received.

A call is admitted once, however often it is submitted. If its task is open, the task is attached to the session that
submitted the copy, and the one that had it goes on to wait if it is another client's; if the task has ended, the copy
is answered with the result.

A call with a key has the id that follows from it (``paceline_protocol/keyed.py``). Once the time is over for which the
result of such a task was kept, the next call with its key is a new task, of the same id. Until then the key is held:
also by a dead task, and by one whose result was dropped past the limits, before its time. Of that nothing can be told,
and it must not run again.

A call by name alone is completed with what its nodes announce (``defaults.py``) as it is admitted, and refused as not
ready while that is not known.
"""

from __future__ import annotations

from typing import Final

from paceline.core.clients.session_table import SessionTable
from paceline.core.clients.sessions import ClientSession
from paceline.core.feature_levels import ClusterLevel
from paceline.core.measures.traces import Traces
from paceline.core.scheduling.defaults import Defaults
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.placement import PLACEMENTS_LIMIT, key_in
from paceline.core.scheduling.recent_names import RecentNames
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.releases import Releases
from paceline.core.settings import Settings
from paceline.core.state.call_options import resolve
from paceline.core.state.table import TaskTable
from paceline.core.state.task import TASK_BYTES, Task
from paceline_protocol.codec import decode_calls
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.inputs import AFTER, INPUTS, has_inputs, split
from paceline_protocol.keyed import key_of
from paceline_protocol.limits import MAX_FRAME_BYTES, MAX_GRAPHS, MAX_QUEUES
from paceline_protocol.messages.client import Read, Refusal, Submit, Wait
from paceline_protocol.messages.records import CALL_NAME, CALL_OPTIONS, Call, Options
from paceline_protocol.options import DEFAULT_QUEUE, contradiction, is_by_name, together

SUBMIT_LIMIT_BYTES: Final = MAX_FRAME_BYTES - (1 << 20)
"""The entry that holds the calls, with its moments made absolute, must fit into an Append, which is one frame too."""

KEY_IS_HELD: Final = (
    "a task with this idempotency_key has ended, and its result was dropped past the limits of the nodes "
    "(--result-limit-mib) before the key was free again. It is not run once more: use another key, or raise the limits"
)
INPUT_OVER: Final = (
    "it depends on task {}, of which the cluster has no result: that ended, and its submitter has it or its time is "
    "over, or no task of this id was accepted"
)
EXPIRED: Final = (
    "the task ended, and the time is over for which its result was kept, its result_ttl; give such tasks a longer one, "
    "or ask sooner"
)

_LIMITS: Final = frozenset(("max_running", "rate"))
"""Options that say how many may run, or start."""
_PLACING: Final = frozenset(("needs", "tags", "affinity", "batch"))
"""Options that say on which nodes a call may run, or is best."""


class Admission:
    """``missing_voters``: while there are any, every call is refused. ``cluster_level``: the feature level that the
    options of a call may need. The caller keeps both up to date."""

    def __init__(
        self,
        settings: Settings,
        table: TaskTable,
        tasks: LiveTasks,
        sessions: SessionTable,
        recording: Recording,
        releases: Releases,
        traces: Traces,
        recent_names: RecentNames,
        due: DueTasks,
        defaults: Defaults,
    ) -> None:
        self.missing_voters = 0
        self.cluster_level = ClusterLevel()
        self._settings = settings
        self._table = table
        self._tasks = tasks
        self._sessions = sessions
        self._recording = recording
        self._releases = releases
        self._traces = traces
        self._recent_names = recent_names
        self._due = due
        self._defaults = defaults

    def submit(self, session: ClientSession, submit: Submit, now: float) -> None:
        """Admit a batch of calls; none, if the session ends with what is acknowledged. Raises ProtocolError, with
        nothing admitted, if ``submit.calls`` is malformed or over SUBMIT_LIMIT_BYTES."""
        if len(submit.calls) > SUBMIT_LIMIT_BYTES:
            raise LimitExceeded("bytes of calls in one Submit", len(submit.calls), SUBMIT_LIMIT_BYTES)
        calls = decode_calls(submit.calls)
        self.acknowledge(session, submit.ack, now)
        if session.closed:
            return
        self._recording.make_room(submit, len(calls))
        new: list[Task] = []
        answered: set[bytes] = set()
        copies = False
        for call in calls:
            if self._admit(session, call, new, answered, now):
                copies = True
        self._recording.submitted(session, submit, new, now, complete=len(new) == len(calls), copies=copies)

    def _admit(self, session: ClientSession, call: Call, new: list[Task], answered: set[bytes], now: float) -> bool:
        """Take one call. A new task that is to be logged is added to ``new``, one that has ended to ``answered``. True:
        it is a copy, whose task the log may not have yet."""
        task_id = call[0]
        recording = self._recording
        task = recording.open_task(task_id)
        if task is not None:
            self._attach(task, session)
            return task.is_logged
        if recording.has_result(task_id) or (task_id in self._table.dead and key_of(call[CALL_OPTIONS])):
            result = recording.result_of(task_id)
            if result is not None and task_id not in answered:
                answered.add(task_id)
                self._sessions.add_result(session, task_id, *result)
            return not self._table.knows(task_id)
        asked, refusal = self._completed(call, now)
        if refusal is not None:
            self._sessions.refuse(session, task_id, *refusal)
            self._tasks.tally.refuse(refusal[0])
            return False
        # Of the tuples, compiled code makes others; their options are the same object, or were completed.
        task = recording.admit(session, asked, now, is_verbatim=asked[CALL_OPTIONS] is call[CALL_OPTIONS])
        if task.options is not None:
            if task.is_traced:
                self._traces.submitted(task_id)
            if not task.is_logged:
                return False
        new.append(task)
        return False

    def _completed(self, call: Call, now: float) -> tuple[Call, tuple[Refusal, str] | None]:
        """A call with what its nodes announce, if it is by name; and why it is not admitted, None if it may be."""
        said = call[CALL_OPTIONS]
        if said is None or not is_by_name(said):
            return call, self.refusal(call, now)
        asked = self._defaults.complete(call)
        return asked, self.refusal(asked, now) or self._refusal_by_name(asked, said, now)

    def refusal(self, call: Call, now: float) -> tuple[Refusal, str] | None:
        """Why a call is not admitted; None if it may be."""
        settings, tasks, recording = self._settings, self._tasks, self._recording
        task_id, name, _priority, args, options = call
        if self.missing_voters:
            return Refusal.NOT_READY, f"{self.missing_voters} of {settings.min_voters} voters are still to come"
        is_keyed = bool(key_of(options))
        if task_id in self._table.expired and not is_keyed:
            return Refusal.RESULT_EXPIRED, EXPIRED
        if task_id in self._table.released or task_id in self._table.dead:
            why = KEY_IS_HELD if is_keyed else "this task ended earlier and its result was released"
            return Refusal.UNKNOWN_ID, why
        if options and (too_low := self.cluster_level.refusal_of(options)):
            # A client that is told that the cluster is not ready asks again by itself.
            return Refusal.NOT_READY if self.cluster_level.is_rising else Refusal.LEVEL_TOO_LOW, too_low
        if options and has_inputs(options) and (of_inputs := self._refusal_of_inputs(task_id, options)) is not None:
            return of_inputs
        if options and "queue" in options and not tasks.queues.has_room_for(options["queue"]):
            return Refusal.QUEUE_FULL, f"the cluster has {MAX_QUEUES} queues with tasks in them, which is the most"
        if options and "graph" in options and not tasks.graphs.has_room_for(options["graph"]):
            return Refusal.QUEUE_FULL, f"{MAX_GRAPHS} graphs have tasks that have not ended, which is the most"
        if options and not _PLACING.isdisjoint(options):
            tags, needs, affinity = [options.get(key, "") or "" for key in ("tags", "needs", "affinity")]
            place = key_in(name, tags, needs, affinity, together(options))
            if not tasks.queues.has_room_to_place(options.get("queue", DEFAULT_QUEUE), place):
                why = (
                    f"tasks ask for {PLACEMENTS_LIMIT} different tags, needs and parts of affinities, or go together "
                    "by as many names and options, the most"
                )
                return Refusal.QUEUE_FULL, why
        if options and not _LIMITS.isdisjoint(options) and (no_room := tasks.gates.refusal(name, resolve(options))):
            return Refusal.QUEUE_FULL, no_room
        if too_large := self.too_large(args):
            return Refusal.PAYLOAD_TOO_LARGE, too_large
        if len(tasks.live) >= settings.queue_limit_tasks:
            return Refusal.QUEUE_FULL, f"the cluster holds {len(tasks.live)} tasks, its limit (--queue-limit)"
        unlogged_bytes = recording.unlogged_bytes
        kept_bytes = tasks.inputs.kept_bytes
        taken_bytes = tasks.live_bytes + kept_bytes + unlogged_bytes
        if taken_bytes + len(args) + TASK_BYTES > settings.queue_limit_bytes:
            why = f", {unlogged_bytes} of them until disks have written what has ended" if recording.is_full else ""
            why += f", {kept_bytes} of them as results that tasks depend on" if kept_bytes else ""
            return (
                Refusal.QUEUE_FULL,
                f"the cluster's tasks take {taken_bytes} bytes{why}, and may take {settings.queue_limit_bytes} "
                "(--queue-limit-mib)",
            )
        if tasks.is_unknown(name) and not self._recent_names.has(name, now):
            return Refusal.UNKNOWN_TASK, _unknown_name(name, tasks.known_names())
        return None

    def _refusal_of_inputs(self, task_id: bytes, options: Options) -> tuple[Refusal, str] | None:
        """Why a call can't depend on those tasks on which it is to; None if it can."""
        recording, results = self._recording, self._table.results
        for input_id in dict.fromkeys([*split(options.get(INPUTS)), *split(options.get(AFTER))]):
            task = recording.open_task(input_id)
            if task is not None and task.is_logged:
                continue
            if task is not None or input_id == task_id:
                return Refusal.BAD_REQUEST, f"it can't depend on task {input_id.hex()}, which is itself or not logged"
            if recording.is_ending(input_id) or (input_id in results and not self._releases.has_proposed(input_id)):
                continue
            return Refusal.INPUT_OVER, INPUT_OVER.format(input_id.hex())
        return None

    def _refusal_by_name(self, call: Call, said: Options, now: float) -> tuple[Refusal, str] | None:
        """Why a call by name, which has ``said`` this, is not admitted with what its nodes announce; None if it may be.
        While nobody has told whether it runs that name, it is not known either what is announced of it."""
        name, options = call[CALL_NAME], call[CALL_OPTIONS]
        may_be_told = not self._tasks.is_settled or self._recent_names.is_awaiting(now)
        if may_be_told and not self._tasks.is_served(name) and not self._recent_names.has_left(name, now):
            return Refusal.NOT_READY, f"no node has told yet whether it runs {name!r}, and with which options"
        if options and "limit_by" in options and "limit_key" not in said:
            return Refusal.BAD_REQUEST, (
                f"calls of {name!r} are limited by {options['limit_by']}, and a call by name does not know what that "
                "is: submit the task itself, or give its value as limit_key, or None as limit_key for a call without"
            )
        if options and "batch" in options and self._tasks.is_served(name) and "batch" not in self._defaults.of(name):
            why = f"{name!r} is called for one call at a time; leave batch out, or give it to its @task"
            return Refusal.BAD_REQUEST, why
        wrong = contradiction(options) if options else ""
        if not wrong:
            return None
        announced = ", ".join(self._defaults.of(name))
        return Refusal.BAD_REQUEST, f"{wrong}. The nodes announce {announced} for {name!r}, and the call asks for more"

    def scheduled(self, call: Call, now: float) -> tuple[Call, str]:
        """The call of a schedule, with what its nodes announce if it is by name; and why it is not admitted, "" if it
        may be."""
        if has_inputs(call[CALL_OPTIONS]):
            return call, "what a schedule calls can't depend on tasks"
        asked, refused = self._completed(call, now)
        return asked, "" if refused is None else refused[1]

    def too_large(self, args: bytes) -> str:
        """Why no call may have these arguments; "" if one may."""
        limit = self._settings.payload_limit_bytes
        if len(args) <= limit:
            return ""
        return f"the arguments take {len(args)} bytes, the cluster allows {limit}"

    def wait(self, session: ClientSession, wait: Wait, now: float) -> list[tuple[bytes, int]]:
        """Attach a client to tasks that were accepted earlier; to none, if the session ends with what is acknowledged.
        Returns those that have failed and wait to be tried again, each with the milliseconds that it still waits."""
        self.acknowledge(session, wait.ack, now)
        postponed: list[tuple[bytes, int]] = []
        if session.closed:
            return postponed
        for task_id in dict.fromkeys(wait.ids):
            task = self._recording.open_task(task_id)
            result = self._recording.result_of(task_id)
            if task is not None:
                self._attach(task, session)
                if wait_ms := self._due.retry_wait_ms(task, now):
                    postponed.append((task_id, wait_ms))
            elif result is not None:
                self._sessions.answer(session, task_id, *result)
            else:
                self._sessions.refuse(session, task_id, *self._untold(task_id, self._unknown(task_id)))
        return postponed

    def read(self, session: ClientSession, read: Read, now: float) -> None:
        """Tell a client how these tasks ended or end, whoever submitted them, once it is committed; of none, if the
        session ends with what is acknowledged."""
        self.acknowledge(session, read.ack, now)
        if session.closed:
            return
        for task_id in dict.fromkeys(read.ids):
            task = self._recording.open_task(task_id)
            result = self._recording.result_of(task_id)
            if task is not None or self._recording.is_ending(task_id):
                if task is None or task.session is not session:  # its own it is told anyway
                    self._sessions.wait_too(task_id, session, reads=True)
            elif result is not None:
                if task_id not in session.lent:  # or it waits to be sent already
                    self._sessions.add_result(session, task_id, *result, is_read=True)
            else:
                self._sessions.refuse(session, task_id, *self._untold(task_id, self._not_to_be_read(task_id)))

    def _untold(self, task_id: bytes, why: str) -> tuple[Refusal, str]:
        """The refusal of a task of which there is nothing to tell. ``why``: unless its time is over."""
        return (Refusal.RESULT_EXPIRED, EXPIRED) if task_id in self._table.expired else (Refusal.UNKNOWN_ID, why)

    def _not_to_be_read(self, task_id: bytes) -> str:
        """Why there is nothing to tell of a task to a client that only reads it."""
        if task_id not in self._table.released:
            return (
                "this cluster knows no task of this id: it was never accepted, or ended so long ago that its record is "
                "gone. `paceline submit` prints the ids of tasks, and future.task_id has them"
            )
        return (
            "the task ended, and its result is not kept any more, as its submitter has it, or as it was past the "
            "limits of the nodes (--result-limit-mib)"
        )

    def _unknown(self, task_id: bytes) -> str:
        """Why there is nothing to tell of a task to a client that waits for it, and so does not have its result."""
        if task_id not in self._table.released:
            return "this cluster has no record of the task"
        settings = self._settings
        return (
            "the task ended, and its result was dropped before this client fetched it, as when it is suspended for a "
            f"minute. The cluster keeps the newest {settings.result_limit_bytes >> 20} MiB of such results, and "
            f"{settings.result_limit_tasks} at most: fetch them sooner. A higher --result-limit-mib on every node "
            "raises the first of the two"
        )

    def acknowledge(self, session: ClientSession, ack: int, now: float) -> None:
        """The client has every Update up to ``ack``. Their results are released, together with others."""
        acknowledged = self._sessions.acknowledge(session, ack, now)
        logged = [task_id for task_id in acknowledged if self._recording.has_result(task_id)]
        self._releases.add(self._recording.without_kept(logged), now)

    def _attach(self, task: Task, session: ClientSession) -> None:
        """The result of an open task goes to this session, and to that of another client that waits for it."""
        before = task.session
        if before is session:
            return
        if before is not None:
            before.open_tasks -= 1
            if not before.closed and before.client_id != session.client_id:
                self._sessions.wait_too(task.id, before)
        if session.waits_too:
            self._sessions.waits_itself(task.id, session)
        ends_with_client = task.options is not None and task.options.ends_with_client and not task.has_ended
        if ends_with_client:
            self._tasks.owners.remove(task)
        task.session = session
        session.open_tasks += 1
        if ends_with_client:
            self._tasks.owners.add(task)


def _unknown_name(name: str, known: list[str]) -> str:
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"no node knows a task named {name!r}; the nodes run: {shown or 'no task at all'}"
