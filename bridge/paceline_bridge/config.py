"""The settings of a bridge, from the command line, a TOML file and the environment, checked where they come in.

The file has the keys of the options::

    amqp = ["amqps://user:password@rabbit1/shop", "amqps://user:password@rabbit2/shop"]
    dead_letter = "paceline.dead"
    prefetch = 500
    prefetch_mib = 256
    declare = false
    metrics = "127.0.0.1:9080"

    [queues]
    celery = ""                # Celery's and dramatiq's messages name their tasks
    task_queue = "tasks.greet"  # plain messages are the one argument of this task

    [tasks]
    "shop.add" = "tasks.add"   # Celery's or dramatiq's name = the name at the cluster
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from paceline.config import METRICS_OFF, parse_listen_address
from paceline.errors import ConfigError
from paceline.files import expanded
from paceline.hosts import NOT_SHOWN, canonical_host, named
from paceline.ownership import whose
from paceline.settings_file import read_settings
from paceline_bridge.formats.bodies import is_task_name, is_unicode
from paceline_protocol.limits import MAX_NAME_CHARS

AMQP_VARIABLE = "PACELINE_AMQP"
"""Environment: URLs of RabbitMQ, separated by spaces or commas. A command line, and a password in it, can be read by
every user of the machine."""
DEFAULT_PASSWORD = "guest"  # noqa: S105 - RabbitMQ's own, which it takes from its own machine alone
DEAD_LETTER = "paceline.dead"
PREFETCH = 500
PREFETCH_MAX = 65_535
PREFETCH_MIB = 256
PREFETCH_MIB_MAX = 1 << 20
FILE_LIMIT_BYTES = 1 << 20
QUEUE_LIMIT_BYTES = 255
ROUNDS_SUFFIX = ".rounds"
QUEUES_LIMIT = 1_000
"""Each may take two channels, with its .DQ, and RabbitMQ allows 2,047 on a connection unless it is set otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """Call validate() before use."""

    urls: tuple[str, ...]
    queues: Mapping[str, str]  # queue -> the task of its plain messages, "" for none
    tasks: Mapping[str, str] = field(default_factory=dict)
    dead_letter: str = DEAD_LETTER
    prefetch: int = PREFETCH
    prefetch_mib: int = PREFETCH_MIB
    declare: bool = False
    metrics: str = METRICS_OFF  # HOST:PORT

    def validate(self) -> None:
        """Raises a ConfigError for the first setting that can't be used. No message holds a password."""
        if not self.urls:
            raise ConfigError(
                f"no RabbitMQ is named; give --amqp URL, as amqp://user:password@host/vhost, or set {AMQP_VARIABLE}"
            )
        for url in self.urls:
            check_url(url)
        self._check_names()
        if type(self.prefetch) is not int or not 1 <= self.prefetch <= PREFETCH_MAX:
            raise ConfigError(f"--prefetch is {self.prefetch!r}; allowed is a whole number from 1 to {PREFETCH_MAX}")
        if type(self.prefetch_mib) is not int or not 1 <= self.prefetch_mib <= PREFETCH_MIB_MAX:
            raise ConfigError(
                f"--prefetch-mib is {self.prefetch_mib!r}; allowed is a whole number from 1 to {PREFETCH_MIB_MAX}"
            )
        if self.metrics != METRICS_OFF:
            parse_listen_address("--metrics", self.metrics)

    def _check_names(self) -> None:
        if not self.queues:
            raise ConfigError("no queue is named; give --queue NAME, or --queue NAME=TASK for plain messages")
        if len(self.queues) > QUEUES_LIMIT:
            raise ConfigError(
                f"{len(self.queues)} queues are too many for one bridge, which consumes {QUEUES_LIMIT} at most; "
                "start several"
            )
        for name in (*self.queues, self.dead_letter):
            if not name or not is_unicode(name) or len(name.encode()) > QUEUE_LIMIT_BYTES:
                raise ConfigError(f"{named(name)} is not a queue; a name has 1 to {QUEUE_LIMIT_BYTES} bytes of UTF-8")
            if not name.isprintable():
                raise ConfigError(f"{named(name)} is not a queue; a name with a line break or the like can't be used")
        for name in self.queues:
            if name.endswith(ROUNDS_SUFFIX):
                raise ConfigError(
                    f"{named(name)} can't be consumed: in queues of such a name end messages that came back from a "
                    "dead letter queue again and again; move them back to their queue, or name another one"
                )
        for name in (self.dead_letter, rounds_queue_of(self.dead_letter)):
            if name in queues_of(self):
                raise ConfigError(f"{named(name)} can't be consumed and hold what was refused; name another queue")
            if len(name.encode()) > QUEUE_LIMIT_BYTES:
                raise ConfigError(
                    f"{named(self.dead_letter)} is too long; {named(name)} has to be the name of a queue, too"
                )
        for name, task in self.tasks.items():
            if not name or not task:
                raise ConfigError(
                    f"a task {named(name)} can't stand for {named(task)}; write NAME=TASK, in a file NAME = 'TASK'"
                )
        for where, names in (("--queue", self.queues), ("--task", self.tasks)):
            for name, task in names.items():
                if task and not (is_task_name(task) and task.isprintable()):
                    raise ConfigError(
                        f"{where} {named(name)}={named(task)} can't be used; the name of a task has 1 to "
                        f"{MAX_NAME_CHARS} printable characters"
                    )


def queues_of(config: BridgeConfig) -> dict[str, bool]:
    """The queues to consume, and whether each may be missing: dramatiq puts delayed messages and retries of queue Q
    into Q.DQ, which exists only if Q is dramatiq's, and can't where its name would be too long."""
    queues = dict.fromkeys(config.queues, False)
    for name in config.queues:
        fits = len(name.encode("utf-8", "surrogatepass")) <= QUEUE_LIMIT_BYTES - len(".DQ")
        if fits and not name.endswith(".DQ") and f"{name}.DQ" not in queues:
            queues[f"{name}.DQ"] = True
    return queues


def rounds_queue_of(dead_letter: str) -> str:
    """Where messages go that come back from this dead letter queue again and again."""
    return f"{dead_letter}{ROUNDS_SUFFIX}"


def check_url(url: str) -> None:
    """Raises ConfigError, with what to write. No message holds a password."""
    told = shown(url)
    name = told or "what is given (and not shown, as there may be a password in it)"
    if re.search(r";\s*\w+://", url):
        raise ConfigError(f"{name} is not a URL of RabbitMQ; write a space or a comma between several, and not ;")
    try:
        url.encode()  # what a shell passes on need not be UTF-8
        parts = urlsplit(url)
        usable = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and parts.port != 0
        usable = usable and "@" not in parts.path + parts.query + parts.fragment and bool(told)
    except ValueError:
        usable = False
    if not usable:
        celerys = re.match(r"(?:py-?amqp|librabbitmq)(s?)://", url)
        advice = f"write amqp{celerys[1]}:// in place of {celerys[0]}, and else" if celerys else "write"
        raise ConfigError(
            f"{name} is not a URL of RabbitMQ; {advice} amqp://user:password@host:5672/vhost, or amqps://, and in "
            "user and password %2F for /, %3F for ?, %23 for # and %40 for @"
        )
    if "/" in parts.path[1:] and parts.path != "//":
        plain = f"{name.removesuffix(parts.path)}/{quote(parts.path[1:].rstrip('/'), safe='%')}"
        raise ConfigError(f"{name} has a / in the name of its vhost, which is written %2F there; write {plain}")


def vhost_of(url: str) -> str:
    """The vhost of a checked URL: "/" if it has no path, or ends in //, as Celery writes it."""
    path = urlsplit(url).path
    return "/" if path in ("", "/", "//") else unquote(path[1:])


def spelled_out(url: str) -> str:
    """A checked URL with its vhost, and with the password that RabbitMQ's clients use for a user without one. pika
    would read an empty vhost in the path //, and fail without a password."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    password = "" if ":" in user or not at else f":{DEFAULT_PASSWORD}"
    return parts._replace(netloc=f"{user}{password}{at}{host}", path=f"/{quote(vhost_of(url), safe='')}").geturl()


def shown(url: str) -> str:
    """A URL without what it says about user and password; "" if it can't be told what of it that is."""
    without = re.sub(r"//.*@", "//", url, flags=re.DOTALL).partition("?")[0]
    try:
        parts = urlsplit(without)
        canonical_host(parts.hostname or "")
        # What follows a second // with a colon in it may be user and password, of a URL that was pasted into another.
        is_url = bool(parts.scheme) and parts.port != 0 and not re.match(r"//.*:", parts.path)
    except ValueError:  # what stands for the host or the port may be a part of a password
        is_url = False
    return without if is_url else ""


def urls_of(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Each may hold several."""
    return tuple(filter(None, (url for text in texts for url in re.split(r"[\s,]+(?=amqps?://)", text.strip()))))


def pairs_of(option: str, texts: tuple[str, ...], *, lone: bool) -> dict[str, str]:
    """{"a": "b", "c": ""} of ("a=b", "c"). ``lone``: whether a name without a value can be used."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (not value if equals else not lone):
            raise ConfigError(f"{option} {named(text)} can't be used; write {'NAME or ' if lone else ''}NAME=TASK")
        if found.setdefault(name, value) != value:
            raise ConfigError(
                f"{option} names {named(name)} twice, for {named(found[name])} and for {named(value)}; leave one out"
            )
    return found


def load(path: str | Path) -> dict[str, Any]:
    """The settings of a file, under the names of BridgeConfig. Raises ConfigError."""
    where, path = str(path), expanded(path)
    try:
        settings, _ = read_settings(path, FILE_LIMIT_BYTES)
    except PermissionError as error:
        raise ConfigError(
            f"can't read {where}: {error.strerror}. {whose(path)}; run the bridge as one who may"
        ) from error
    except OSError as error:
        raise ConfigError(f"can't read {where or repr(where)}: {error.strerror}; give --config a TOML file") from error
    except ValueError as error:
        raise ConfigError(
            f"{where} is not a TOML file of a bridge: {NOT_SHOWN if '@' in str(error) else error}"
        ) from error
    kinds = {
        "amqp": (str, list),
        "queues": dict,
        "tasks": dict,
        "dead_letter": str,
        "prefetch": int,
        "prefetch_mib": int,
        "declare": bool,
        "metrics": str,
    }
    for key, value in settings.items():
        if key not in kinds:
            raise ConfigError(f"{where}: unknown key {named(key)}; allowed are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):  # type: ignore[arg-type]
            raise ConfigError(f"{where}: {key} can't be a {type(value).__name__}; docs/bridge.md shows what it is")
    for table in ("queues", "tasks"):
        if not all(isinstance(value, str) for value in settings.get(table, {}).values()):
            raise ConfigError(f'{where}: the values of [{table}] are names of tasks, as in name = "tasks.greet"')
    amqp = settings.pop("amqp", [])
    amqp = [amqp] if isinstance(amqp, str) else amqp
    if not all(isinstance(url, str) for url in amqp):
        raise ConfigError(f"{where}: amqp is a URL, or a list of URLs")
    return {**settings, "urls": tuple(amqp)} if amqp else settings
