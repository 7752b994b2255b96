"""What a node tells a client: frames in any order, and how tasks have ended."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from fuzz.samples import Known, Samples
from fuzz.target import Cut, Target, joined, must
from paceline.client.future import error_of
from paceline.client.session.candidates import TERM_COUNTS_S
from paceline.client.session.session import Session, SessionState
from paceline.errors import IncompatibleVersion
from paceline_protocol.codec import encode
from paceline_protocol.errors import MalformedPayload
from paceline_protocol.messages.client import Update, Welcome
from paceline_protocol.messages.message import Sender, sent_by
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import pack_error

NODE = "a:1"
TASK_ID = b"t" * 16
FRAMES_LIMIT = 32
GIVES_UP_S = 1_000.0
WELCOME = Welcome("a", "cluster", "", 1, "a", NODE, (NODE,), 1 << 20)


def session(data: bytes) -> str:
    """Nothing. A client that was told nonsense finds its leader all the same, once that says who it is. The first byte
    chooses whether the client is attached before."""
    cut = Cut(data)
    found = Session(bytes(16), [NODE], random=Random(1), failover_timeout_s=GIVES_UP_S, connect_timeout_s=GIVES_UP_S)
    found.submit((TASK_ID, "add", 4, b"args", None), 0.0)
    if cut.byte() % 2:
        found.received(NODE, encode(WELCOME), 0.0)
    count = 0
    for _ in range(FRAMES_LIMIT):
        frame = cut.some()
        if not frame:
            break
        found.received(NODE, frame, 0.0)
        count += 1
    told = {type(error).__name__ for _, error in found.output.failed}
    if IncompatibleVersion.__name__ in told:
        return "of another version"
    found.connect(TERM_COUNTS_S)
    found.lost(NODE, TERM_COUNTS_S)
    found.tick(TERM_COUNTS_S + 1.0)
    found.received(NODE, encode(WELCOME._replace(cluster_id="")), TERM_COUNTS_S + 1.0)
    found.received(NODE, encode(WELCOME), 2 * TERM_COUNTS_S + 1.0)
    must(found.state is SessionState.ATTACHED, f"the client is {found.state.name} and does not hear its leader")
    return f"{min(count, 5)} frames, {found.output.malformed_frames and 'malformed'}, {', '.join(sorted(told))}"


def session_seeds() -> Iterable[bytes]:
    known = Known()
    known.hear(WELCOME)
    known.ids.extend([TASK_ID] * 60)
    samples = Samples(Random(3), known)
    kinds = sorted(sent_by(Sender.NODE), key=lambda cls: cls.__name__)
    for attached in (b"\0", b"\1"):
        yield attached + joined(encode(WELCOME), encode(Update(1, (1,), (), ((TASK_ID, 1, b"\xc0"),))))
        for cls in kinds:
            yield attached + joined(encode(samples.message(cls)), encode(samples.message(cls)))


def ending(data: bytes) -> str:
    """MalformedPayload. It is an exception that can be shown. The first byte is how the task ended."""
    cut = Cut(data)
    ends = [end for end in TaskEnd if end is not TaskEnd.SUCCEEDED]
    end = ends[cut.byte() % len(ends)]
    try:
        error = error_of(end, cut.rest())
    except MalformedPayload:
        return f"{end.name}: MalformedPayload"
    must(isinstance(error, Exception), "it is no exception")
    return f"{end.name}: {type(error).__name__}{'' if str(error) else ', and says nothing'}"


def ending_seeds() -> Iterable[bytes]:
    errors = (
        ValueError("no"),
        KeyError(1),
        FileNotFoundError(2, "no such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        UnicodeEncodeError("utf-8", "\udc80", 0, 1, "invalid"),
        SyntaxError("bad", ("file", 1, 2, "text")),
        ImportError("x"),
        OSError(22, "invalid"),
        StopIteration(1),
        MemoryError(),
    )
    for number, error in enumerate(errors):
        yield bytes([number % 2]) + pack_error(error, "Traceback")
        yield b"\0" + pack_error(error, "Traceback")


TARGETS = (
    Target("session", session, session_seeds),
    Target("ending", ending, ending_seeds),
)
