"""Asks one node what it knows. A Client would ask the leader; here each node's own view is wanted, on its own host."""

from __future__ import annotations

import itertools
import time
from types import TracebackType
from typing import Any

import zmq

from hosts.network import Host
from paceline.config import ClusterFile
from paceline_protocol.codec import decode, encode
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages.client import StatusReply, StatusRequest
from paceline_protocol.payload import unpack_value

ANSWER_TIMEOUT_S = 0.5


class Probe:
    """A context manager: a socket on ``host``, to the node there. A link that is down does not keep it from asking."""

    def __init__(self, host: Host, port: int, cluster: ClusterFile) -> None:
        self._requests = itertools.count(1)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # libzmq opens connections on threads of its own, which stay where the first socket of the context was made.
        with host.entered():
            self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt_string(zmq.CURVE_SERVERKEY, cluster.keys.public)
        self._socket.setsockopt_string(zmq.CURVE_PUBLICKEY, cluster.keys.public)
        self._socket.setsockopt_string(zmq.CURVE_SECRETKEY, cluster.keys.secret)
        self._socket.connect(f"tcp://{host.address}:{port}")

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=0)

    def status(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any] | None:
        """The node's status; None if it does not answer in time, as when it is dead or stopped."""
        deadline_s = time.monotonic() + timeout_s
        request = next(self._requests)
        if not self._ready(zmq.POLLOUT, deadline_s):
            return None
        self._socket.send(encode(StatusRequest(request)))
        while self._ready(zmq.POLLIN, deadline_s):
            try:
                reply = decode(self._socket.recv())
            except ProtocolError:
                continue  # not what was asked for; the deadline holds
            if isinstance(reply, StatusReply) and reply.request == request:
                body: dict[str, Any] = unpack_value(reply.body)
                return body
        return None

    def _ready(self, event: int, deadline_s: float) -> bool:
        rest_s = deadline_s - time.monotonic()
        return rest_s > 0 and bool(self._socket.poll(int(rest_s * 1000) + 1, event))
