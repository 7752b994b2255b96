"""For sockets that stand in for a node: whoever connects is let in, whatever it shows."""

from __future__ import annotations

import zmq

from paceline.runtime.transport.gate import Gate
from paceline.runtime.transport.zap import answer

OPEN = Gate(None, b"")


def let_in(zap: zmq.Socket[bytes]) -> None:
    """Answer one request of libzmq (``open_zap``)."""
    asker, delimiter, *request = zap.recv_multipart()
    zap.send_multipart([asker, delimiter, *answer(request, OPEN.user_of)])
