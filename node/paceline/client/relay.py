"""A client for a program that passes on what others want, as the RabbitMQ bridge does.

It differs from a Client in what such a program needs to lose nothing when it dies:

- **The caller names the task**, by an id that it derives from what it was given. Given the same again, by whoever gave
  it, it submits the same id, and the cluster runs the task once: it says how the first call ended or will end.
- **The caller hears of the acceptance**, and not only of the end.
- **The cluster keeps a result until it is released**, and not only until it was received: who dies between the two can
  ask again. What is never released, as after a crash or a change of leaders, goes by the cluster's own limits.

No futures: what becomes of the tasks is news, taken in bulk by the one thread that acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paceline.client.client import Client
from paceline.client.driver.relaying import ACCEPTED, POSTPONED, News, RelayDriver
from paceline.client.future import REFUSED
from paceline.client.session.relaying import RelaySession
from paceline.cluster_file import AnyFile
from paceline_protocol.codec import encode_calls
from paceline_protocol.options import by_name
from paceline_protocol.payload import pack_args

__all__ = ["ACCEPTED", "POSTPONED", "REFUSED", "News", "Relay"]


class Relay:
    """A connection to a cluster, as Client's; the same parameters. One thread submits and takes the news.

    ``on_news`` is called by any thread when there is news, and may only wake the one that takes it.
    """

    def __init__(
        self,
        *addresses: str,
        on_news: Callable[[], object],
        cluster: str | Path | AnyFile | None = None,
        connect_timeout_s: float = 10.0,
        failover_timeout_s: float = 30.0,
    ) -> None:
        self._client = Client(
            *addresses,
            cluster=cluster,
            connect_timeout_s=connect_timeout_s,
            failover_timeout_s=failover_timeout_s,
            prompt=True,
            _relays=True,
        )
        session = self._client._session
        assert isinstance(session, RelaySession)
        self._session = session
        self._driver = RelayDriver(self._client._driver, session)
        self._on_news = on_news

    def connect(self) -> None:
        """Find the leader. Raises NoNodeFound, NoLeader, IncompatibleVersion or ClientClosed."""
        self._client.connect()
        self._driver.start(self._on_news)

    def submit(
        self,
        task_id: bytes,
        name: str,
        priority: int,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Mapping[str, int] | None = None,
    ) -> None:
        """Have the cluster run a task under this id, 16 bytes, of which no task is outstanding here. ``options``: as
        they travel (``paceline_protocol/options.py``), with 0 for what is to be as usual. What is not among them is as
        the nodes announce it for the name.

        Raises UnserializableValue or PayloadTooLarge for arguments that can't be sent, LocalProtocolError for a name or
        an option that can't, and ClientClosed.
        """
        self.submit_packed(task_id, name, priority, self.pack(args, kwargs), options)

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Arguments as submit_packed() takes them: for who keeps them for a while, as they are much larger as objects.
        Raises UnserializableValue or PayloadTooLarge."""
        return pack_args(args, kwargs, self._session.payload_limit_bytes)

    def submit_packed(
        self, task_id: bytes, name: str, priority: int, packed: bytes, options: Mapping[str, int] | None = None
    ) -> None:
        """As submit()."""
        # Here, and not when the batch is packed, which another thread may do, and with other calls in it.
        carried = by_name(dict(options) if options else {})
        encode_calls([(task_id, name, priority, packed, carried)])
        self._client._driver.submit_as(task_id, (name, priority, packed, carried))

    def wait_for(self, ids: Collection[bytes]) -> None:
        """How these tasks end is to be news here. Another relay, which is gone, has submitted them, and the cluster has
        accepted them. One that the cluster knows nothing of any more is REFUSED, with ResultUnknown."""
        self._driver.wait_for(ids)

    @property
    def has_room(self) -> bool:
        """False at the client's limits: submit() would wait then."""
        return self._session.has_room

    def take(self) -> list[News]:
        """What became of tasks since the last time, in order: ``(task id, state, payload)``.

        The state is ACCEPTED; a number of TaskEnd, with the packed result or error; REFUSED, with the exception that a
        Future would raise; or POSTPONED, with the milliseconds that a task which has failed still waits until it is
        tried again: so much is told after wait_for() and ask_again() alone. A task may end without having been accepted
        first, which its end implies.
        """
        news = self._driver.news
        return [news.popleft() for _ in range(len(news))]

    def release(self, ids: Iterable[bytes]) -> None:
        """The cluster need not keep the results of these tasks any longer: nobody will ask for them again."""
        self._driver.release(ids)

    def ask_again(self, ids: Sequence[bytes]) -> None:
        """How these tasks ended or will end is for this relay, too: an end is told to who submitted the task or asked
        for it last, and another relay may have submitted the same. Those that wait to be tried again are news, too."""
        self._driver.ask_again(ids)

    def status(self, timeout_s: float, about: Mapping[str, str]) -> dict[str, Any]:
        """As Client.status. ``about`` is what this program says of itself, for ``paceline status``: it is shown as long
        as it is said again every few seconds. It needs no connect() before. For another thread than the one that
        submits, which it would hold up."""
        return self._client.status(timeout_s, _about=tuple(about.items()))

    def close(self) -> None:
        """Forget everything at once. What was accepted runs, and its result is kept by the cluster's own limits."""
        self._client.close(0)
