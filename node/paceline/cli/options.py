"""What several commands share: the options that say where the cluster is, and how values are read and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from paceline.client import Client

Function = TypeVar("Function", bound=Callable[..., Any])


def reaches_a_cluster(command: Function) -> Function:
    """Adds --connect, --cluster and --connect-timeout."""
    for option in (
        click.option(
            "--connect-timeout",
            "connect_timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to look for a leader.",
        ),
        click.option(
            "--cluster",
            "cluster_path",
            envvar="PACELINE_CLUSTER",
            metavar="FILE",
            help="The cluster file; its keys encrypt the connection.  [env: PACELINE_CLUSTER]",
        ),
        click.option(
            "--connect",
            "addresses",
            multiple=True,
            metavar="HOST[:PORT]",
            help="A node of the cluster; may be repeated. Default: PACELINE_CONNECT, else whatever is discovered.",
        ),
    ):
        command = option(command)
    return command


class DirectoryPath(click.Path):
    """A directory, which may have to be made. Not "", which would be whatever directory one is in."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; name a directory, or leave the option out.", param, ctx)
        return super().convert(value, param, ctx)


def connect(addresses: tuple[str, ...], cluster_path: str | None, connect_timeout_s: float) -> Client:
    from paceline.client import Client

    return Client(*addresses, cluster=cluster_path, connect_timeout_s=connect_timeout_s)


def parse_value(text: str) -> object:
    """JSON where it parses as JSON, else the text itself: ``2`` is a number, ``two`` and ``"2"`` are strings."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def show_value(value: object) -> str:
    """For a person: a string as it is, what JSON can write as JSON, anything else as Python writes it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def to_json(value: object) -> str:
    """One line of JSON. Values that JSON does not know (bytes, dates) are written as Python writes them."""
    return json.dumps(value, ensure_ascii=False, default=repr)
