"""Who may connect: the answer to a ZAP request (RFC 27), as a pure function.

libzmq asks before it gives a connection's first message to the socket. The question comes over an inproc socket of the
same context, which the transport polls beside its others, so there is no thread and nothing to lock. The gate says who
is who (``gate.py``): anything that it does not know is refused, and so is every other mechanism. A rule that was not
written is not a permission.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"
_REQUEST_FRAMES = 6  # version, request id, domain, address, routing id, mechanism; then the credentials
_REQUEST_ID_LIMIT_BYTES = 255


def answer(frames: Sequence[bytes], user_of: Callable[[bytes, Sequence[bytes]], str]) -> list[bytes]:
    """The reply to one request: version, request id, status code, status text, user id, metadata.

    ``frames`` start at the version; ``user_of(mechanism, credentials)`` says who that is, "" for nobody. A request that
    is not ZAP 1.0 gets an empty list: nobody is there to answer, and libzmq refuses the connection when no answer
    comes.
    """
    if len(frames) < _REQUEST_FRAMES or frames[0] != VERSION or len(frames[1]) > _REQUEST_ID_LIMIT_BYTES:
        return []
    user = user_of(frames[5], frames[6:])
    if user:
        return [VERSION, frames[1], b"200", b"OK", user.encode(), b""]
    return [VERSION, frames[1], b"400", b"unknown here", b"", b""]
