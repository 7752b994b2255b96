"""What a session hands to its shell. There is one such object for the client's life, and all parts of the session fill
it."""

from __future__ import annotations

from collections import deque

from paceline.client.session.sampling import TRACES_LIMIT_TASKS
from paceline_protocol.messages.records import Call, Result
from paceline_protocol.messages.trace import Trace


class Output:
    """Lists that the session fills and the shell empties in place.

    - ``outbox``, in order: ``(address, frame)`` is to be sent on the connection to that address, which is opened if
      there is none; ``(address, None)`` closes that connection, with everything it may still deliver.
    - ``results``: how tasks ended.
    - ``over``: calls that depend on results which the cluster does not have, each with what the leader said.
    - ``failed``: tasks that the cluster did not take, and why.
    - ``accepted``: the ids of tasks that the cluster has accepted. Filled for a relay alone.
    - ``postponed``: accepted tasks that wait to be tried again, each with how many milliseconds. For a relay alone.
    - ``traces``: of sampled calls, as the leader told them.

    ``malformed_frames`` counts the frames that held no message for a client.
    """

    __slots__ = ("accepted", "failed", "malformed_frames", "outbox", "over", "postponed", "results", "traces")

    def __init__(self) -> None:
        self.outbox: list[tuple[str, bytes | None]] = []
        self.results: list[Result] = []
        self.accepted: list[bytes] = []
        self.over: list[tuple[Call, str]] = []
        self.failed: list[tuple[bytes, Exception]] = []
        self.postponed: list[tuple[bytes, int]] = []
        self.traces: deque[Trace] = deque(maxlen=TRACES_LIMIT_TASKS)
        self.malformed_frames = 0
