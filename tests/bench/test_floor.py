"""The floor measures what it says: real processes, every hop, and frames as large as paceline's."""

import os

import psutil
import pytest
import zmq

from paceline_bench.verbs.floor import FRAME_BYTES, Floor
from paceline_protocol.codec import encode, encode_calls
from paceline_protocol.messages.client import Submit
from paceline_protocol.payload import pack_args


@pytest.mark.parametrize(("hops", "transport", "processes"), [(2, "tcp", 1), (4, "ipc", 2), (4, "tcp", 2)])
def test_each_end_is_a_process_and_none_is_left_behind(hops: int, transport: str, processes: int) -> None:
    before = set(psutil.Process().children())
    with Floor(hops, transport) as floor:
        started = set(psutil.Process().children()) - before
        assert len(floor.pids) == processes
        assert set(floor.pids) <= {process.pid for process in started}
        durations_s = floor.measure(20)
    assert len(durations_s) == 20
    assert min(durations_s) > 0
    assert not [process for process in started if process.is_running()]
    assert os.getpid() not in {process.pid for process in started}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(("hops", "transport"), [(2, "tcp"), (4, "ipc"), (4, "tcp")])
def test_an_encrypted_floor_answers_those_with_its_keys_alone(hops: int, transport: str, secure: bool) -> None:
    with Floor(hops, transport, secure=secure) as floor:
        assert len(floor.measure(20)) == 20
        stranger: zmq.Socket[bytes] = floor._context.socket(zmq.DEALER)
        stranger.linger = 0
        stranger.connect(floor._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        stranger.send(b"in the clear")
        assert bool(stranger.poll(300 if secure else 10_000)) is not secure
        stranger.close()


def test_a_frame_of_the_floor_is_as_large_as_the_submit_of_one_noop() -> None:
    call = (bytes(16), "paceline_bench.bodies.tasks.noop", 4, pack_args((12345,), {}), None)
    size = len(encode(Submit(seq=1000, ack=1000, calls=encode_calls([call]))))
    assert FRAME_BYTES / 2 <= size <= FRAME_BYTES * 1.5


def test_a_shape_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="3 hops"):
        Floor(3)
