"""``paceline submit``: one task from the shell."""

from __future__ import annotations

from typing import Any

import click

from paceline.cli.options import Function, Seconds, connect, parse_value, reaches_a_cluster, to_json
from paceline.cli.result import show_result, told_as_errors
from paceline_protocol.limits import MAX_INT, MAX_NAME_CHARS
from paceline_protocol.option_types import Choice, OptionType, Whole
from paceline_protocol.options import KEYWORDS

NAME_SHOWN_CHARS = 40
NOTHING = object()
"""Said by ``none``: the option is to be as usual, whatever the nodes announce."""


def checked_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The name of a task."""
    if not 0 < len(value) <= MAX_NAME_CHARS or not value.isprintable():  # lone surrogates are not printable
        shown = value if len(value) <= NAME_SHOWN_CHARS else value[:NAME_SHOWN_CHARS] + "..."
        raise click.BadParameter(
            f"{shown!r} can't name a task; a name has 1 to {MAX_NAME_CHARS} printable characters, as tasks.add.",
            ctx,
            param,
        )
    return value


def asks_for_options(command: Function) -> Function:
    """Adds a flag for each option that a task can have. None: not given."""
    for keyword in reversed(KEYWORDS):
        by_default = f" Default: {keyword.type.by_default}." if keyword.type.by_default else ""
        command = click.option(
            f"--{keyword.name.replace('_', '-')}",
            keyword.name,
            **_click_type(keyword.type),
            help=f"{keyword.help[0].upper()}{keyword.help[1:]}.{by_default}",
        )(command)
    return command


def _click_type(type: OptionType) -> dict[str, Any]:
    """What click is told of a type: one of its own, or how a text is read."""
    if isinstance(type, Choice):
        return {"type": click.Choice(type.words)}
    or_none = "|none" if type.default is None else ""
    if isinstance(type, Whole):
        number = _Number(type.lowest, type.highest if type.highest < MAX_INT else None, or_none=bool(or_none))
        return {"type": number}

    def read(ctx: click.Context, param: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else NOTHING if text == "none" and or_none else type.read(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} can't be used: {error}.", ctx, param) from None

    return {"callback": read, "metavar": type.metavar + or_none}


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """What was said with the flags of :func:`asks_for_options`."""
    given = {keyword: value for keyword, value in options.items() if value is not None}
    return given | dict.fromkeys((keyword for keyword, value in given.items() if value is NOTHING), None)


class _Number(click.IntRange):
    """``or_none``: a word that stands for none is taken, too."""

    def __init__(self, lowest: int, highest: int | None, *, or_none: bool) -> None:
        super().__init__(lowest, highest)
        self._or_none = or_none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return NOTHING if value == "none" and self._or_none else super().convert(value, param, ctx)


@click.command()
@click.argument("name", callback=checked_name)
@click.argument("args", nargs=-1)
@click.option("--kw", "keywords", multiple=True, metavar="KEY=VALUE", help="A keyword argument; may be repeated.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option("--timeout", "timeout_s", type=Seconds(), metavar="SECONDS", help="Wait at most this long (exit 23).")
@asks_for_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reaches_a_cluster
def submit(
    name: str,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    wait: bool,
    timeout_s: float | None,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
    **options: Any,
) -> None:
    """Submit one task.

    NAME is the task's name, as in tasks.add. Each of ARGS is read as JSON if it is JSON, else as a string; those that
    begin with a dash go after `--`. Without --wait the command returns when the cluster has accepted the task, and
    prints its id.

    What no option says is as `@task` says it where the nodes run the task.

    \b
    paceline submit tasks.add 2 3 --wait
    paceline submit tasks.greet Ada --kw greeting=Hello --wait
    paceline submit tasks.add --wait -- -1 2
    """
    from paceline.client import NamedTask

    target = NamedTask(name, **given_options(options))
    positional = [parse_value(text) for text in args]
    named = parse_keywords(keywords)
    with connect(addresses, cluster_path, connect_timeout_s) as client:
        future = client.submit(target, *positional, **named)
        with told_as_errors("it may run all the same. Give a longer --timeout, or none"):
            value = None
            if wait:
                value = future.described(timeout=timeout_s)
            else:
                future.accepted(timeout=timeout_s)
        if wait:
            show_result(future, value, as_json)
        else:
            record = {"task_id": future.task_id.hex(), "state": "accepted"}
            click.echo(to_json(record) if as_json else record["task_id"])


def parse_keywords(texts: tuple[str, ...]) -> dict[str, object]:
    """What --kw says."""
    named: dict[str, object] = {}
    for text in texts:
        key, value = _parse_keyword(text)
        if key in named:
            raise click.BadParameter(f"{key!r} is given twice", param_hint="--kw")
        named[key] = value
    return named


def _parse_keyword(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise click.BadParameter(f"{text!r} is not KEY=VALUE with a Python name as KEY", param_hint="--kw")
    return key, parse_value(value)
