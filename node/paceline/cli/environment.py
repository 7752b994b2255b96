"""Settings from the environment, by one rule: what ``--some-option`` says can be said by ``PACELINE_SOME_OPTION``.

The table of options is the source. An option that is declared with :func:`setting` follows the rule, and its help names
its variables; one that is declared with ``click.option`` says what a single call does (``--json``, ``--wait``,
``--yes``), and belongs to the command line alone. What counts more: the command line, then the environment, then the
cluster file, then the default. An empty variable is one that is not set.

A value that can't be used is refused as on the command line; :class:`Taken` knows which variable it came from, so that
the refusal can say so. A variable that begins so and is no setting is named in a warning (:func:`warn_of_strays`).
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import click

PREFIX: Final = "PACELINE_"
COMMANDS_WITH_SETTINGS: Final = (
    ("paceline.cli.node", "node"),
    ("paceline_bridge.cli", "bridge"),
    ("paceline.cli.cluster", "cluster"),
)
BUILD_VARIABLE: Final = "PACELINE_COMPILE"
"""For whoever builds a wheel."""
KUBERNETES: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)")
"""What Kubernetes sets in every container for a service that is called paceline, or begins so."""
LINK: Final = re.compile(r"(tcp|udp|sctp)://")
"""So begins the value that Kubernetes gives PACELINE_PORT for such a service."""
SEPARATORS: Final = re.compile(r"[\s,]+")
NAMES_SHOWN: Final = 10
VALUE_MIN_CHARS: Final = 4
"""A shorter value may stand in a message by chance."""

Function = TypeVar("Function", bound=Callable[..., Any])

_IGNORED: Final = "paceline.environment_ignored"
_logger = logging.getLogger("paceline.config")


class Taken:
    """What a command took from the environment. It goes down through click's contexts as ``obj``."""

    def __init__(self) -> None:
        self._variables: dict[str, tuple[str, list[str]]] = {}  # what a message may call it -> variable, its values

    def add(self, option: str, variable: str, value: str) -> None:
        values = [value, *SEPARATORS.split(value)]
        self._variables[option] = variable, [each for each in values if len(each) >= VALUE_MIN_CHARS]

    def named_in(self, message: str) -> list[str]:
        """The variables whose option, or whose value, a message speaks of."""
        return [
            variable
            for option, (variable, values) in self._variables.items()
            if re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", message)
            or any(value in message for value in values)
        ]

    def note(self, message: str) -> str:
        """What to add to an error: where the settings that it speaks of come from."""
        variables = self.named_in(message)
        return f" (from the environment: {', '.join(variables)})" if variables else ""


class _FromEnvironment(click.core.Parameter):
    """A parameter of which the environment may speak."""

    called = ""
    split_at = SEPARATORS

    def value_from_envvar(self, ctx: click.Context) -> Any:
        if ctx.meta.get(_IGNORED):
            return None
        for variable in self.variables:
            value = os.environ.get(variable, "").strip()
            if value and not (variable == f"{PREFIX}PORT" and LINK.match(value)):
                taken = ctx.find_object(Taken)
                if taken is not None:
                    taken.add(self.called, variable, value)
                return self.read(value)
        return None

    def read(self, value: str) -> Any:
        is_list = self.nargs != 1 or self.multiple
        return tuple(filter(None, self.split_at.split(value))) if is_list else value

    @property
    def variables(self) -> Sequence[str]:
        return [self.envvar] if isinstance(self.envvar, str) else self.envvar or ()


class Flag(click.types.BoolParamType):
    """Of which a variable says whether it is set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither; write 1, true, yes or on, or 0, false, no or off.", param, ctx)


class Setting(_FromEnvironment, click.Option):
    """An option. ``older``: variables that count before the one of the rule. ``split_at``: what separates several
    values; without it spaces and commas do."""

    def __init__(
        self, *declarations: Any, older: tuple[str, ...] = (), split_at: str | None = None, **attributes: Any
    ) -> None:
        super().__init__(*declarations, **attributes | {"show_envvar": True})
        if self.is_flag and isinstance(self.type, click.types.BoolParamType):
            self.type = Flag()
        self.called = next(flag for flag in self.opts if flag.startswith("--"))
        rule = variable_of(self.called)
        self.envvar = [*older, rule] if older else rule
        if split_at is not None:
            self.split_at = re.compile(split_at)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return click.core.Parameter.get_error_hint(self, ctx)  # Taken knows whether it was the variable


class SettingArgument(_FromEnvironment, click.Argument):
    """An argument; its variable is that of its metavar, which is a plural there: MODULE... by PACELINE_MODULES."""

    def __init__(self, *declarations: Any, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.called = (self.metavar or "").rstrip(".")
        self.envvar = f"{PREFIX}{self.called}S"


def setting(*declarations: str, **attributes: Any) -> Callable[[Function], Function]:
    """Declares an option, as ``click.option`` does, that the environment can give, too."""
    return click.option(*declarations, cls=Setting, **attributes)


def precedence(file: str, option: str) -> str:
    """The end of a command's help. ``file``: what it takes settings from, too. ``option``: an example."""
    return (
        f"What an option says can be said by an environment variable, as {option} by {variable_of(option)}. What "
        f"counts more: the command line, then the environment, then {file}, then the default."
    )


def variable_of(option: str) -> str:
    """``PACELINE_DATA_DIR`` of ``--data-dir``."""
    return PREFIX + option.removeprefix("--").replace("-", "_").upper()


def _ignore(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_IGNORED] = value


no_environment = click.option(
    "--no-environment",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_ignore,
    help="For programs: take no setting from the environment.",
)


def warn_of_strays(environment: Mapping[str, str] = os.environ) -> None:
    """Log which variables begin as settings do and are none: one that is misspelled would count for nothing, and nobody
    would know. Called once the log is set up, by the commands that run for long."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or ctx.meta.get(_IGNORED):
        return
    names = [name for name in environment if name.startswith(PREFIX) and not KUBERNETES.fullmatch(name)]
    strays = sorted(set(names).difference(_variables([ctx.command])))
    if strays:
        from paceline.config import CONNECT_VARIABLE  # not before, as --help has no need of it
        from paceline.own_cluster import FILE_VARIABLE, NODE_VARIABLE

        others = (CONNECT_VARIABLE, NODE_VARIABLE, FILE_VARIABLE, BUILD_VARIABLE)
        commands = [getattr(importlib.import_module(module), name) for module, name in COMMANDS_WITH_SETTINGS]
        known = _variables(commands).union(others)
        strays = [name for name in strays if name not in known]
        for name in strays[:NAMES_SHOWN]:
            close = get_close_matches(name, known, n=1, cutoff=0.75)
            advice = f"did you mean {close[0]}?" if close else "no option is called so (paceline node --help)"
            _logger.warning("%s is set and means nothing to paceline: %s", name, advice)
        if len(strays) > NAMES_SHOWN:
            _logger.warning("and %d other variables that begin with %s", len(strays) - NAMES_SHOWN, PREFIX)
    if LINK.match(environment.get(f"{PREFIX}PORT", "")):
        _logger.warning(
            "PACELINE_PORT is not taken for a port, as Kubernetes sets it for a service that is called paceline; "
            "`enableServiceLinks: false` in the pod turns that off, and --port says the port"
        )


def _variables(commands: Iterable[click.Command]) -> set[str]:
    """Of the settings of these commands, and of those within them."""
    found: set[str] = set()
    for command in commands:
        found.update(*(param.variables for param in command.params if isinstance(param, _FromEnvironment)))
        if isinstance(command, click.Group):
            found |= _variables(command.commands.values())
    return found
