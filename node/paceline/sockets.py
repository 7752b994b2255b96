"""Functions on pyzmq sockets that the node and the client share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import zmq

send_frame: Final = cast("Callable[[zmq.Socket[bytes], bytes, int, bool], object]", zmq.backend.Socket.send)
"""(socket, frame, flags, copy). zmq.Socket.send is a wrapper around this for options that are not used here, and costs
three times as much."""
