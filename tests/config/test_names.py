"""Names are resolved apart: whoever asks gets at once what is known, and what hangs keeps nobody waiting."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from paceline import names as names_module
from paceline.hosts import canonical_host
from paceline.names import NAMES_MAX, THREADS_MAX, Names

DEADLINE_S = 10.0


class Resolver:
    """What name servers answer. A name of which they say nothing hangs until the test is over."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, ...] | str] = {}  # a text is an error
        self.asked: queue.Queue[str] = queue.Queue()
        self.over = threading.Event()

    def look_up(self, name: str) -> tuple[str, ...]:
        self.asked.put(name)
        if name not in self.answers:
            self.over.wait(DEADLINE_S)
            return ()
        answer = self.answers[name]
        if isinstance(answer, str):
            raise OSError(answer)
        return answer


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(names_module, "look_up", made.look_up)
    monkeypatch.setattr(names_module, "RETRY_S", 0.0)
    yield made
    made.over.set()


def test_a_name_for_which_there_is_no_thread_is_asked_for_again(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.answers["node1"] = ("10.0.0.1",)
    names = Names()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_room)
        assert names.hosts("node1") == ()
        assert names.problem("node1") == "can't start new thread"
    until(lambda: names.hosts("node1") == ("10.0.0.1",))


def test_whoever_is_told_of_news_may_take_long_and_other_names_are_looked_up_meanwhile(resolver: Resolver) -> None:
    resolver.answers |= {"node1": ("10.0.0.1",), "node2": ("10.0.0.2",)}
    names, told = Names(), threading.Event()

    def hear() -> None:
        if not told.is_set():
            told.set()
            resolver.over.wait(3 * DEADLINE_S)

    names.on_change = hear
    names.hosts("node1")
    assert told.wait(DEADLINE_S)
    until(lambda: names.hosts("node2") == ("10.0.0.2",))
    resolver.over.set()


def test_a_look_up_without_a_thread_counts_as_not_begun(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver.answers["node1"] = ("10.0.0.1",)
    names = Names()

    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            names.hosts("node1")
    until(lambda: names.hosts("node1") == ("10.0.0.1",))
    assert resolver.asked.qsize() == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_end_of_what_they_met_keep_no_name_from_being_looked_up(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names()
    before = set(threading.enumerate())
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        raise MemoryError

    names.on_change = hear
    for number in range(THREADS_MAX + 1):
        resolver.answers[f"node{number}"] = (f"10.0.0.{number}",)
        until(lambda number=number: names.hosts(f"node{number}") == (f"10.0.0.{number}",))  # type: ignore[misc]
        until(lambda number=number: heard == number + 1)  # type: ignore[misc]
    until(lambda: before.issuperset(threading.enumerate()))  # what they end of is no other test's


def test_want_of_memory_is_a_problem_of_a_name_and_it_is_asked_for_again(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names()

    def fail(name: str) -> tuple[str, ...]:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(names_module, "look_up", fail)
        names.refresh("node1")
        until(lambda: names.problem("node1") == "out of memory")
    resolver.answers["node1"] = ("10.0.0.1",)
    until(lambda: names.hosts("node1") == ("10.0.0.1",))


def test_where_the_exiting_interpreter_starts_no_thread_whoever_asks_looks_up_himself(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.answers |= {"node1": ("10.0.0.1",), "nowhere": "not known"}
    names = Names()
    monkeypatch.setattr(threading.Thread, "start", no_room)
    monkeypatch.setattr(names_module, "is_exiting", lambda: True)
    assert names.hosts("node1") == ("10.0.0.1",)
    assert names.hosts("nowhere") == ()
    assert names.problem("nowhere") == "not known"


def no_room(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_numbers_and_localhost_are_known_without_asking_anybody(resolver: Resolver) -> None:
    names = Names()
    assert names.hosts("10.0.0.1") == ("10.0.0.1",)
    assert names.hosts("fd00::1") == ("fd00::1",)
    assert names.hosts("localhost")[0] == "127.0.0.1"
    assert resolver.asked.empty()


def test_whoever_asks_gets_at_once_what_is_known_and_hears_when_that_changes(resolver: Resolver) -> None:
    heard = threading.Event()
    names = Names(heard.set)
    resolver.answers["node1"] = ("10.0.0.1", "fd00::1")
    assert names.hosts("node1") == ()
    assert heard.wait(DEADLINE_S)
    assert names.hosts("node1") == ("10.0.0.1", "fd00::1")


def test_names_that_hang_keep_no_other_waiting_and_are_named_as_a_problem(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names_module, "SLOW_S", 0.0)
    names = Names()
    resolver.answers["good"] = ("10.0.0.1",)
    for number in range(THREADS_MAX - 1):
        assert names.hosts(f"hangs{number}") == ()
    assert names.resolve("good", DEADLINE_S) == ("10.0.0.1",)
    assert "no name server has answered" in names.problem("hangs0")
    assert names.problem("good") == ""
    with pytest.raises(OSError, match="no name server has answered within 0 s"):
        names.resolve("hangs0", 0.01)


def test_look_ups_under_way_and_names_known_are_bounded(resolver: Resolver) -> None:
    names = Names()
    before = threading.active_count()
    for number in range(NAMES_MAX + 100):
        assert names.hosts(f"hangs{number}") == ()
    assert threading.active_count() - before <= THREADS_MAX
    assert len(names._names) == NAMES_MAX
    assert len(names._line) <= NAMES_MAX
    names._line.clear()  # of which nothing is to be looked up during later tests


def test_the_last_good_address_is_kept_while_the_name_server_is_away(resolver: Resolver) -> None:
    names = Names()
    resolver.answers["node1"] = ("10.0.0.1",)
    assert names.resolve("node1", DEADLINE_S) == ("10.0.0.1",)
    resolver.answers["node1"] = "Temporary failure in name resolution"
    names.refresh("node1")
    until(lambda: names.answers("node1") == 2)
    assert names.hosts("node1") == ("10.0.0.1",)
    assert names.problem("node1") == "Temporary failure in name resolution"


def test_a_name_at_which_nobody_is_reached_is_looked_up_again_and_its_next_address_is_tried(
    resolver: Resolver,
) -> None:
    names = Names()
    resolver.answers["node1"] = ("fd00::1", "10.0.0.1")
    assert names.resolve("node1", DEADLINE_S)[0] == "fd00::1"
    names.failed("node1", "fd00::1")
    assert names.hosts("node1") == ("10.0.0.1", "fd00::1")
    until(lambda: names.answers("node1") == 2)
    assert names.hosts("node1") == ("10.0.0.1", "fd00::1"), "the same addresses are no reason to begin with the first"
    resolver.answers["node1"] = ("10.0.0.9",)
    names.failed("node1", "10.0.0.1")
    until(lambda: names.hosts("node1") == ("10.0.0.9",))


def test_localhost_is_both_kinds_of_loopback(resolver: Resolver) -> None:
    names = Names()
    names.failed("localhost", "127.0.0.1")
    assert names.hosts("localhost") == ("::1", "127.0.0.1")
    assert resolver.asked.empty()


def test_both_families_are_asked_for_and_each_address_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: object, family: int, *hints: int) -> list[tuple[object, ...]]:
        assert (host, family) == ("nodes.example", socket.AF_UNSPEC)
        hosts = ("10.0.0.2", "fd00::1", "10.0.0.2")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert names_module.look_up("nodes.example") == ("10.0.0.2", "fd00::1")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Node1.Example", "node1.example"),
        ("node1.example.", "node1.example."),
        ("bücher.example", "xn--bcher-kva.example"),
        ("FD00::0001", "fd00::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("x" * 63, "x" * 63),
        (".".join(["y" * 49] * 5), ".".join(["y" * 49] * 5)),
        ("123456789012", "123456789012"),
    ],
)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert canonical_host(text) == host
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    "text",
    ["", "-x", "a..b", "a b", "x" * 64, ".".join(["y" * 63] * 4), "10.0.0.256", "10.1", "7077", "fd00::g", "::1%"],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_host(text)
