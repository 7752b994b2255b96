"""Whatever bytes come, decoding raises the protocol's own errors, and its memory is bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_protocol import codec, packing
from paceline_protocol.errors import MalformedFrame, ProtocolError
from paceline_protocol.messages import Message
from paceline_protocol.messages.children import (
    CleaningUp,
    Done,
    GoesOn,
    LoopBlocked,
    MetricsReply,
    MetricsRequest,
    NodeMoved,
    Remarks,
    Run,
    ServeAsync,
    Stop,
    StopAttempts,
    Waits,
    WorkerFailed,
    WorkerReady,
)
from paceline_protocol.messages.client import (
    Admin,
    AdminReply,
    Cancel,
    CancelReply,
    Coming,
    DeadChanges,
    DeadTaskReply,
    DeadTaskRequest,
    DeadTasksReply,
    DeadTasksRequest,
    Discard,
    Failure,
    FindReply,
    FindRequest,
    Hello,
    OutputReply,
    OutputRequest,
    Ping,
    Pong,
    Postponed,
    ProgressReply,
    ProgressRequest,
    Read,
    Redirect,
    Requeue,
    StatusReply,
    StatusRequest,
    Submit,
    TaskReply,
    TaskRequest,
    Update,
    Wait,
    WaitingReply,
    WaitingRequest,
    Welcome,
)
from paceline_protocol.messages.consensus import (
    Append,
    AppendResponse,
    Confirm,
    Confirmed,
    Forgotten,
    Removed,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from paceline_protocol.messages.graphs import FindInGraph, GraphsReply, GraphsRequest, TasksOfGraphRequest
from paceline_protocol.messages.live import RunNow, RunNowReply, TasksReply, TasksRequest
from paceline_protocol.messages.membership import Consent, ConsentReceived, Envelope, OtherStart, PeerHello
from paceline_protocol.messages.message import PROTOCOL_VERSION
from paceline_protocol.messages.queues import (
    AlterReply,
    AlterTasks,
    FindInQueue,
    FindToAlter,
    QueuesReply,
    QueuesRequest,
    SetQueue,
    SetQueueReply,
)
from paceline_protocol.messages.schedules import (
    BackfillReply,
    BackfillSchedule,
    ChangeSchedule,
    PutSchedule,
    ScheduleDefinition,
    ScheduleReply,
    SchedulesReply,
    SchedulesRequest,
    TriggerSchedule,
    When,
)
from paceline_protocol.messages.trace import Trace
from paceline_protocol.messages.work import (
    Beat,
    Begun,
    Demand,
    DemandQuery,
    Dispatch,
    Enrol,
    EnrolQuiet,
    EnrolWithAsync,
    EnrolWithDefaults,
    EnrolWithPlaces,
    EnrolWithQueues,
    NodeBeat,
    NodeOutcomes,
    OwnSchedules,
    Parked,
    RemarkAnswer,
    RemarkQuery,
    Revoke,
    Revoked,
    SchedulesHeard,
    SetAvailability,
    Stopping,
    StopTasks,
)
from paceline_protocol.payload import pack_value
from protocol.message_strategies import CLASSES, of_class

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=100)
KIND_OF = {cls: kind for kind, (cls, _) in codec.KINDS.items()}
DECODERS: list[Callable[[bytes], object]] = [
    codec.decode,
    codec.decode_calls,
    codec.decode_outcomes,
    codec.decode_config,
    codec.split_ids,
    codec.decode_held,
    codec.decode_defaults,
    codec.decode_own_schedules,
]

ID = b"i" * 16
_DEFINITION = ScheduleDefinition("add", b"args", 4, None, When(1, "@daily", "UTC"), owner="tasks")
EXAMPLES: list[Message] = [
    Hello(ID, "riders"),
    Submit(1, 2, codec.encode_calls([(ID, "add", 4, b"args", {"max_attempts": 2})]), True),
    Wait(1, (ID,)),
    Cancel(1, (ID,)),
    Ping(1),
    StatusRequest(1),
    Admin(1, 2, "n1"),
    TaskRequest(1, ID),
    WaitingRequest(1, "tasks.add", 0),
    FindRequest(1, "tasks.*", (1, 3), 2, 7, 1, 0, 5),
    ProgressRequest(1, ID),
    OutputRequest(1, ID),
    ProgressReply(1, pack_value({})),
    OutputReply(1, "", pack_value({})),
    Read(1, (ID,)),
    Welcome("n1", "c1", "riders", 3, "n1", "host:7077", ("host:7077",), 1024),
    Redirect(3, "n1", "host:7077"),
    Update(1, (2,), ((ID, 1, "detail"),), ((ID, 1, b"payload"),)),
    CancelReply(1, ((ID, 1),)),
    Pong(3),
    StatusReply(1, b"body"),
    Failure(5, "detail"),
    AdminReply(1, True, "detail"),
    TaskReply(1, b"body"),
    WaitingReply(1, b"body"),
    DeadTasksRequest(1, "tasks.add", "ValueError", 0),
    DeadTaskRequest(1, ID),
    Requeue(1, (ID,), b"args"),
    Discard(1, (ID,)),
    DeadTasksReply(1, b"body"),
    DeadTaskReply(1, "", b"body"),
    DeadChanges(1, "", ((ID, 5, "detail"),)),
    FindReply(1, b"body"),
    TasksRequest(1, "tasks.*", (1, 3), "n1", 40, 2, 2, 5, 7),
    TasksReply(1, b"body"),
    RunNow(1, (ID,)),
    SchedulesRequest(1, "reports.*", "reports.a"),
    PutSchedule(1, "nightly", b"packed"),
    ChangeSchedule(1, "nightly", 3),
    TriggerSchedule(1, "nightly", ID),
    SchedulesReply(1, b"\x80"),
    ScheduleReply(1, "", 1, ""),
    BackfillSchedule(1, "nightly", 1_000, 2_000),
    BackfillReply(1, "", 1, "", 2, 3),
    RunNowReply(1, "", ((ID, 1),)),
    Coming(1 << 20),
    Postponed(((ID, 1_500),)),
    Envelope("c1", "n1", 1, "n2", 7),
    PeerHello("host:7077", "riders", 3, "n1", 3, (("n2", "host2:7077"),), True, "host:9077"),
    Consent(("n1",)),
    ConsentReceived(("n1",)),
    OtherStart(8, 7, "host:7077", 2, True),
    VoteRequest(3, 4, 2, True, False),
    VoteResponse(3, True, False),
    Append(3, 4, 2, 1, ((3, 2, b"data"),)),
    AppendResponse(3, False, 4, 2, 1, 9),
    SnapshotChunk(3, 4, 2, b"config", 0, 10, b"data"),
    SnapshotResponse(3, 4, 10),
    TimeoutNow(3),
    Removed(3, 4),
    Confirm(3, 1),
    Confirmed(3, 1),
    Forgotten(3, 4, 2),
    Beat(3, 1, 1, 2),
    NodeBeat(3, 1, 8, 2, 1),
    Enrol(3, 1, 2, 3, 8, ("add",), codec.encode_held([(ID, 1)])),
    EnrolWithDefaults(3, 7, 12, 4, 2, ("add",), b"h" * 24, True, codec.encode_defaults([("add", 9, {"retries": 3})])),
    EnrolQuiet(3, 7, 12, 4, 0, ("add",), b"h" * 24, True, codec.encode_defaults([("add", 9, {"retries": 3})]), 2, 500),
    EnrolWithPlaces(3, 7, 12, 4, 2, ("add",), b"h" * 24, True, b"d", 100, (), ("video",), "ssd", "cpu=4,gpu=2"),
    EnrolWithQueues(3, 7, 12, 4, 2, ("add",), b"h" * 24, True, codec.encode_defaults([]), 100, ("add",), ("video",)),
    OwnSchedules(3, 7, codec.encode_own_schedules([("nightly", _DEFINITION)])),
    SchedulesHeard(3, 7),
    SetQueue(1, "video", 1, 3),
    SetQueueReply(1, "", True, 3),
    QueuesRequest(1),
    QueuesReply(1, b"\x80"),
    FindInQueue(1, "add", (1, 2), 3, 9, 1, 0, 5, "video"),
    FindToAlter(1, "add", (1, 2), 3, 9, 1, 0, 5, "video", 5_000, 1, "", 10),
    FindInGraph(1, "add", (1, 2), 3, 9, 1, 0, 5, "video", 5_000, 1, "", 10, "nightly"),
    GraphsRequest(1, "nightly", ""),
    GraphsReply(1, b"body"),
    TasksOfGraphRequest(1, "add", (1, 2), "n1", 9, 3, 1, 0, 5, "nightly"),
    AlterTasks(1, (ID,), 1, "slow", 10),
    AlterReply(1, "", ((ID, 1),)),
    EnrolWithAsync(3, 7, 12, 4, 2, ("add",), b"h" * 24, True, codec.encode_defaults([]), 100, ("add",)),
    Dispatch(3, 1, ((ID, 1, "add", b"args", {"max_attempts": 2}),)),
    NodeOutcomes(3, 1, codec.encode_outcomes([(ID, 1, 1, b"payload", 250)])),
    Revoke(3, (ID,)),
    Revoked(3, (ID,), (ID,)),
    StopTasks(3, ((ID, 1),)),
    SetAvailability(3, 2, 30_000),
    Stopping(3, (ID,)),
    RemarkQuery(3, 1, ID, True),
    DemandQuery(3),
    Demand(3, 7),
    RemarkAnswer(3, 1, ID, 1, 2_000, 1_000, pack_value((1, 2, "half")), b"printed", 7),
    Remarks(((ID, 1, pack_value((1, 2, "half")), b"printed", 7),)),
    WorkerReady(99, ("add",)),
    WorkerFailed(99, "tasks", "ImportError: x", "Traceback"),
    Run(((ID, 1, "add", b"args", None),)),
    Done(((ID, 1, 1, b"payload", 250),)),
    CleaningUp(((ID, 1, 1, b"payload", 250),)),
    Stop(),
    NodeMoved("127.0.0.1:7077"),
    ServeAsync(100),
    StopAttempts((ID,)),
    LoopBlocked("add", 250),
    Waits(ID, ID),
    GoesOn(ID),
    Parked(3, 1, ((ID, ID),)),
    Begun(3, ((ID, 7),)),
    MetricsRequest(),
    MetricsReply(b"payload"),
    Trace(b"i" * 16, ((2, 5), (5, 7))),
]
each_example = pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)


def frame_of(cls: type, values: Any) -> bytes:
    return bytes((codec.MAGIC, PROTOCOL_VERSION, KIND_OF[cls])) + msgpack.packb(values)


def fields_of(message: Any) -> list[Any]:
    return list(message)


def test_there_is_an_example_of_every_message() -> None:
    assert {type(message) for message in EXAMPLES} == set(CLASSES)


@each_example
def test_a_frame_cut_at_any_byte_is_malformed(message: Message) -> None:
    frame = codec.encode(message)
    for length in range(len(frame)):
        with pytest.raises(MalformedFrame):
            codec.decode(frame[:length])
    with pytest.raises(MalformedFrame):
        codec.decode(frame + b"\x00")


@each_example
def test_a_missing_field_and_a_field_too_many_are_malformed(message: Message) -> None:
    values = fields_of(message)
    for wrong in ([*values, 0], {"field": 1}, None, 1, b"bytes", *([values[:-1]] if values else [])):
        with pytest.raises(MalformedFrame):
            codec.decode(frame_of(type(message), wrong))


@each_example
def test_a_field_of_another_type_is_malformed_and_named(message: Message) -> None:
    values = fields_of(message)
    for place, name in enumerate(message._fields):
        wrong: Any
        for wrong in (None, 1.5, -1, 2**63, "text", b"bytes", True, {}, {"k": 1}, [1.5], [None], [[]], [[1.5]]):
            if type(wrong) is type(values[place]) and wrong not in (-1, 2**63):
                continue
            with pytest.raises(MalformedFrame, match=rf"\b{name}\b"):
                codec.decode(frame_of(type(message), [*values[:place], wrong, *values[place + 1 :]]))


@each_example
def test_a_wrong_item_in_an_array_is_malformed(message: Message) -> None:
    values = fields_of(message)
    for place, value in enumerate(values):
        for item in value if type(value) is tuple else ():
            for wrong_item in wrong_items(item):
                broken = [*values[:place], (*value, wrong_item), *values[place + 1 :]]
                with pytest.raises(MalformedFrame):
                    codec.decode(frame_of(type(message), broken))


def wrong_items(item: Any) -> list[Any]:
    if type(item) is not tuple:
        return [None, 1.5, (), {}, -1]
    one_wrong = [(*item[:place], wrong, *item[place + 1 :]) for place in range(len(item)) for wrong in (1.5, -1, ())]
    return [None, 1.5, (), item[:-1], (*item, 0), *one_wrong]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.__name__)
@given(data=st.binary(max_size=200))
@DETERMINISTIC
def test_random_bytes_raise_only_protocol_errors(decoder: Callable[[bytes], object], data: bytes) -> None:
    try:
        decoder(data)
    except ProtocolError:
        pass


any_msgpack = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=16),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(kind=st.integers(0, 255), body=any_msgpack.map(msgpack.packb) | st.binary(max_size=60))
@settings(DETERMINISTIC, max_examples=500)
def test_well_formed_msgpack_of_another_shape_raises_only_protocol_errors(kind: int, body: bytes) -> None:
    for decoder, data in ((codec.decode, bytes((0x50, PROTOCOL_VERSION, kind)) + body), (codec.decode_calls, body)):
        try:
            decoder(data)
        except ProtocolError:
            pass


@given(cls=st.sampled_from(CLASSES), data=st.data())
@settings(DETERMINISTIC, max_examples=200)
def test_a_frame_with_one_changed_byte_is_refused_or_is_a_valid_message(cls: type, data: st.DataObject) -> None:
    frame = bytearray(codec.encode(data.draw(of_class(cls))))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode(bytes(frame))
    except ProtocolError:
        return
    assert codec.decode(codec.encode(decoded)) == decoded


def test_an_unknown_kind_and_another_magic_are_malformed() -> None:
    for kind in set(range(256)) - set(codec.KINDS):
        with pytest.raises(MalformedFrame, match=f"kind {kind}"):
            codec.decode(bytes((codec.MAGIC, PROTOCOL_VERSION, kind)) + b"\x90")
    with pytest.raises(MalformedFrame, match="not a paceline frame"):
        codec.decode(b"\x51" + codec.encode(Stop())[1:])


NESTED = [b"\x91" * 100_000, b"\x81\xa1k" * 100_000, b"\xdd\xff\xff\xff\xff" * 1000, b"\xdf\xff\xff\xff\xff" * 1000]
CLAIMS_FULL_BATCHES = (b"\xdc\x40\x00" * 1023).ljust(20_000, b"\x01")
EXTENSIONS = [b"\x91" + msgpack.packb(msgpack.ExtType(5, b"x")), b"\x91" + msgpack.packb(msgpack.Timestamp(1))]


@pytest.mark.parametrize("body", [*NESTED, *EXTENSIONS, b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01"])
def test_nesting_and_lengths_that_are_not_there_cost_nothing(body: bytes) -> None:
    frames = (bytes((0x50, PROTOCOL_VERSION, kind)) + body for kind in codec.KINDS)
    tracemalloc.start()
    try:
        for frame in frames:
            with pytest.raises(MalformedFrame):
                codec.decode(frame)
        for decoder in (codec.decode_calls, codec.decode_outcomes, codec.decode_config):
            with pytest.raises(MalformedFrame):
                decoder(body)
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


NESTED_CLAIMS = {
    "short": (b"\xdc\x01\xff" * 170).ljust(511, b"\x01"),
    "few long arrays": (b"\xdc\x0f\xff" * 15).ljust(4095, b"\x01"),
    "many long arrays": (b"\xdc\x0f\xff" * 60).ljust(4095, b"\x01"),
    "25 KB": CLAIMS_FULL_BATCHES,
    "behind a long field": b"\x92\xc6\x00\x02\x00\x00" + bytes(1 << 17) + CLAIMS_FULL_BATCHES,
    "after many items": b"\xdc\x08\x00" + b"\x01" * 2047 + CLAIMS_FULL_BATCHES,
    "long": b"\xdc\x40\x00" * 30_000,
}


@pytest.mark.parametrize("body", NESTED_CLAIMS.values(), ids=list(NESTED_CLAIMS))
def test_nested_claims_of_full_batches_claim_nothing(body: bytes) -> None:
    frames = (bytes((0x50, PROTOCOL_VERSION, kind)) + body for kind in codec.KINDS)
    tracemalloc.start()
    try:
        for frame in frames:
            with pytest.raises(MalformedFrame):
                codec.decode(frame)
        for decoder in (codec.decode_calls, codec.decode_outcomes, codec.decode_config):
            with pytest.raises(MalformedFrame):
                decoder(body)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_is_wrong_with_a_frame_is_no_part_of_the_next() -> None:
    calls = [(b"\xdc" * 16, "add", 4, b"args", None)] * 500  # as with many long arrays, so that it is looked at
    data = codec.encode_calls(calls)
    for wrong in (data[:-1], data + b"\x01", b"\x01" + b"\xdc" * 20_000, CLAIMS_FULL_BATCHES):
        for count in range(5):
            for _ in range(count):
                with pytest.raises(MalformedFrame):
                    codec.decode_calls(wrong)
            assert codec.decode_calls(data) == calls


LONG = st.binary(min_size=0, max_size=40).map(lambda data: data * 3000)


@given(
    value=st.recursive(any_msgpack | LONG, lambda inner: st.lists(inner, max_size=20), max_leaves=30), data=st.data()
)
@DETERMINISTIC
def test_what_is_looked_at_without_a_copy_is_whole_if_msgpack_says_so(value: Any, data: st.DataObject) -> None:
    body = msgpack.packb(value)
    is_short = len(body) <= packing._WALKED_OBJECTS  # an object has a byte at least
    assert packing._is_whole(body, len(body)) or not is_short
    if packing._is_whole(body, len(body)):
        msgpack.unpackb(body, strict_map_key=False)
    cut = data.draw(st.integers(0, len(body) - 1))
    assert not packing._is_whole(body[:cut], cut)


def test_an_integer_too_long_to_print_is_refused_where_it_is_sent() -> None:
    with pytest.raises(ProtocolError):
        codec.encode_calls([(ID, "add", 10**6000, b"", None)])
