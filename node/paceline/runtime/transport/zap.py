"""Who may connect: the answer to a ZAP request (RFC 27), as a pure function.

libzmq asks before it gives a CURVE connection's first message to the socket. The question comes over an inproc socket
of the same context, which the transport polls beside its others, so there is no thread and nothing to lock.

Only the keys of the cluster are allowed. Anything else is refused, and so is every other mechanism: a rule that was not
written is not a permission.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"
_REQUEST_FRAMES = 6  # version, request id, domain, address, routing id, mechanism; then the credentials
_REQUEST_ID_LIMIT_BYTES = 255


def answer(frames: Sequence[bytes], allowed: Container[bytes]) -> list[bytes]:
    """The reply to one request: version, request id, status code, status text, user id, metadata.

    ``frames`` start at the version; ``allowed`` holds the 32-byte public keys that may connect. A request that is not
    ZAP 1.0 gets an empty list: there is nobody to answer, and libzmq refuses the connection when no answer comes.
    """
    if len(frames) < _REQUEST_FRAMES or frames[0] != VERSION or len(frames[1]) > _REQUEST_ID_LIMIT_BYTES:
        return []
    request_id, mechanism, credentials = frames[1], frames[5], frames[6:]
    if mechanism == b"CURVE" and len(credentials) == 1 and credentials[0] in allowed:
        return [VERSION, request_id, b"200", b"OK", b"", b""]
    return [VERSION, request_id, b"400", b"not a key of this cluster", b"", b""]
