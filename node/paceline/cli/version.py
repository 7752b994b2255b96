"""``paceline version``."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version as version_of

import click

from paceline.version import is_compiled
from paceline_protocol.messages.message import PROTOCOL_VERSION


def version_line() -> str:
    kind = "compiled" if is_compiled() else "interpreted"
    return (
        f"paceline {version_of('paceline')} ({kind}, protocol {PROTOCOL_VERSION}, Python {platform.python_version()})"
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(as_json: bool) -> None:
    """Show the version of the package and of the protocol."""
    if not as_json:
        click.echo(version_line())
        return
    fields = {
        "paceline": version_of("paceline"),
        "compiled": is_compiled(),
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "pyzmq": version_of("pyzmq"),
    }
    click.echo(json.dumps(fields))
