"""Frames for clients that take none: in order, bounded, and no client for ever."""

from __future__ import annotations

from paceline.runtime.transport.transport import Sent
from paceline.runtime.unsent import UnsentFrames


class Wire:
    """Connections that take so many frames, or are gone."""

    def __init__(self, **takes: int) -> None:
        self.sent: list[tuple[bytes, bytes]] = []
        self._takes = {name.encode(): count for name, count in takes.items()}

    def send(self, key: bytes, frame: bytes) -> Sent:
        if key not in self._takes:
            return Sent.GONE
        if not self._takes[key]:
            return Sent.FULL
        self._takes[key] -= 1
        self.sent.append((key, frame))
        return Sent.OK


def test_what_is_kept_is_sent_in_order_as_far_as_it_is_taken() -> None:
    unsent, wire = UnsentFrames(), Wire(a=2, b=9)
    for number in b"123":
        assert unsent.keep(b"a", bytes([number])) == []
        assert unsent.keep(b"b", bytes([number])) == []
    assert unsent.retry(wire.send) == []
    assert wire.sent == [(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"b", b"2"), (b"b", b"3")]
    assert (b"a" in unsent, b"b" in unsent, len(unsent)) == (True, False, 1)


def test_a_client_whose_connection_is_gone_is_forgotten() -> None:
    unsent = UnsentFrames()
    unsent.keep(b"a", b"1")
    assert unsent.retry(Wire().send) == [b"a"]
    assert not unsent


def test_past_its_bound_in_bytes_a_client_is_given_up_but_never_for_one_frame() -> None:
    unsent = UnsentFrames(client_limit_bytes=10)
    assert unsent.keep(b"a", b"x" * 50) == []
    assert unsent.keep(b"b", b"x" * 10) == []
    assert unsent.keep(b"b", b"x") == [b"b"]
    assert unsent.keep(b"a", b"") == [b"a"]
    assert not unsent


def test_past_the_bound_for_all_the_one_for_which_most_is_kept_is_given_up() -> None:
    unsent = UnsentFrames(limit_bytes=100)
    for key, size in ((b"a", 30), (b"b", 50), (b"c", 20)):
        assert unsent.keep(key, b"x" * size) == []
    assert unsent.keep(b"c", b"x") == [b"b"]
    assert (b"a" in unsent, b"c" in unsent) == (True, True)


def test_what_was_taken_counts_no_longer() -> None:
    unsent = UnsentFrames(client_limit_bytes=10)
    for _ in range(5):
        assert unsent.keep(b"a", b"x" * 8) == []
        unsent.retry(Wire(a=1).send)
    assert not unsent
