"""What host names stand for, found out by threads of this module, which nobody waits for unless he says how long.

The rules:

- **Nobody else resolves names**, ZeroMQ least of all: its I/O thread would stand in ``getaddrinfo`` for as long as a
  name server does not answer, and every connection of the process with it. Sockets connect to numbers alone.
- Whoever asks gets at once what is known. The first time that is nothing, and the look-up begins.
- The last good answer is kept, whatever a later look-up says: a name server that is away takes no node away. Names are
  looked up again when somebody could not connect, as machines get other addresses.
- At most ``THREADS_MAX`` look-ups are under way. A thread that stands in one ends with the process; further names wait
  in line. At most ``NAMES_MAX`` names are known, as other machines may name some; beyond it the oldest is forgotten.
- A look-up without a thread counts as not begun: which threads live is asked of them, since a signal handler that
  raises may keep one from its start, and want of memory may end one.
- Where the exiting interpreter starts no thread, whoever asks looks up himself.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from paceline.exiting import is_exiting
from paceline.hosts import LOCALHOST, is_number

THREADS_MAX: Final = 16
NAMES_MAX: Final = 1024
HOSTS_MAX: Final = 64
"""Of one name."""
RETRY_S: Final = 2.0
"""From the end of one look-up to the next for a name that does not resolve, or where nobody could be reached."""
SLOW_S: Final = 1.0
"""A look-up that takes longer is a problem that is named."""
TELLING: Final = " "
"""In the place of a name: the thread is in ``on_change()``, which may run callbacks that take long."""

_LOCALHOST_HOSTS: Final = ("127.0.0.1", "::1")


def look_up(name: str) -> tuple[str, ...]:
    """Every address of a name, each once, in the order in which the system would try them. Blocks, for a minute and
    more if no name server answers. Raises OSError if there is none."""
    try:
        answers = socket.getaddrinfo(name, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except ValueError as error:  # of which UnicodeError is one: a label that is empty or too long
        raise OSError(f"{name} is not a host name") from error
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))[:HOSTS_MAX]


def _behind(hosts: tuple[str, ...], number: str) -> tuple[str, ...]:
    """The same, with this one of them behind the others."""
    return (*(each for each in hosts if each != number), number) if number in hosts else hosts


@dataclass(slots=True)
class _Name:
    hosts: tuple[str, ...] = ()
    error: str = ""  # of the last look-up; "" if it succeeded
    asked_at: float = 0.0  # when the look-up that is under way, or in line, was asked for
    ended_at: float = 0.0
    is_under_way: bool = False
    is_wanted: bool = False  # somebody could not connect since the last look-up
    answers: int = 0  # look-ups that have ended


class Names:
    """``on_change()``: called by a thread of this module when a name resolves for the first time, or to others."""

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self.on_change = on_change
        self._lock = threading.RLock()  # entered itself: what enters a Condition may be interrupted before it leaves it
        self._changed = threading.Condition(self._lock)
        self._names: dict[str, _Name] = {}
        self._line: deque[str] = deque()
        self._threads: dict[threading.Thread, str] = {}  # the name that each looks up, "" if none, or TELLING
        self._localhost: tuple[str, ...] = _LOCALHOST_HOSTS

    def hosts(self, host: str) -> tuple[str, ...]:
        """The addresses that a host stands for, the one to try first; () while none is known. Returns at once."""
        if is_number(host):
            return (host,)
        if host == LOCALHOST:
            return self._localhost
        with self._lock:
            name = self._known(host)
            is_due = not name.answers or name.is_wanted or not name.hosts
            if is_due and (not name.answers or time.monotonic() >= name.ended_at + RETRY_S):
                self._ask(host, name)
            return name.hosts

    def failed(self, host: str, number: str) -> None:
        """Nobody could be reached at this address of a host: it is tried after the others, and the host is looked up
        again."""
        if is_number(host):
            return
        with self._lock:
            if host == LOCALHOST:
                self._localhost = _behind(self._localhost, number)
            elif (name := self._names.get(host)) is not None:
                name.is_wanted = True
                name.hosts = _behind(name.hosts, number)

    def refresh(self, host: str) -> None:
        """Look a name up again now, if that is not under way."""
        if not is_number(host) and host != LOCALHOST:
            with self._lock:
                self._ask(host, self._known(host))

    def answers(self, host: str) -> int:
        """How many look-ups of a host have ended; 1 for what needs none."""
        if is_number(host) or host == LOCALHOST:
            return 1
        with self._lock:
            name = self._names.get(host)
            return 0 if name is None else name.answers

    def problem(self, host: str) -> str:
        """Why a host does not resolve, in words; "" if it does, or nobody can tell yet."""
        with self._lock:
            name = self._names.get(host)
            if name is None:
                return ""
            if name.is_under_way and not name.error:
                waited_s = time.monotonic() - name.asked_at
                return f"no name server has answered for {waited_s:.0f} s" if waited_s >= SLOW_S else ""
            return name.error

    def wait(self, timeout_s: float) -> None:
        """Wait until a look-up has ended, at most so long."""
        with self._lock:
            self._changed.wait(timeout_s)

    def resolve(self, host: str, timeout_s: float) -> tuple[str, ...]:
        """The addresses of a host, waited for. Raises OSError if there are none within the time."""
        with self._lock:  # all along, or what ends between a look and the wait would be slept through
            if not self._changed.wait_for(lambda: self.hosts(host) or self.answers(host), timeout_s):
                raise OSError(f"no name server has answered within {timeout_s:.0f} s")
            hosts = self.hosts(host)
        if not hosts:
            raise OSError(self.problem(host) or "it has no address")
        return hosts

    # --- under the lock -----------------------------------------------------------------------------------------

    def _known(self, host: str) -> _Name:
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= NAMES_MAX:
                idle = next((each for each, known in self._names.items() if not known.is_under_way), None)
                if idle is None:
                    return _Name(is_under_way=True)  # which nobody looks up
                del self._names[idle]
            name = self._names[host] = _Name()
        return name

    def _ask(self, host: str, name: _Name) -> None:
        threads = self._threads = {each: of for each, of in self._threads.items() if each.is_alive()}
        if host in threads.values() or self._names.get(host) is not name:
            return
        if host not in self._line:
            name.is_under_way, name.is_wanted, name.asked_at = True, False, time.monotonic()
            self._line.append(host)
        is_one_free = sum(not of for of in threads.values()) >= len(self._line)
        if is_one_free or len(threads) >= THREADS_MAX:
            return
        thread = threading.Thread(target=self._work, name="paceline-names", daemon=True)
        threads[thread] = ""
        try:
            thread.start()
        except RuntimeError as error:  # the system has no room for it: one that runs does it, or it is asked again
            del threads[thread]
            while self._line and not threads:
                asked = self._line.popleft()
                self._note(asked, *(self._answer(asked) if is_exiting() else ((), str(error))))
            self._changed.notify_all()

    # --- the threads --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                if not self._line:
                    self._threads.pop(me, None)
                    return
                self._threads[me] = host = self._line.popleft()
            hosts, error = self._answer(host)
            with self._lock:
                is_news = self._note(host, hosts, error)
                self._threads[me] = TELLING if is_news else ""
                self._changed.notify_all()
            if is_news and self.on_change is not None:
                self.on_change()

    def _answer(self, host: str) -> tuple[tuple[str, ...], str]:
        try:
            return look_up(host), ""
        except OSError as error:
            return (), error.strerror or str(error)
        except MemoryError:
            return (), "out of memory"

    def _note(self, host: str, hosts: tuple[str, ...], error: str) -> bool:
        name = self._names[host]
        name.is_under_way = False
        name.ended_at = time.monotonic()
        name.answers += 1
        name.error = error if hosts or error else "it has no address"
        is_news = bool(hosts) and set(hosts) != set(name.hosts)
        if is_news:
            name.hosts = hosts
        return is_news
