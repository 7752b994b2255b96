"""The ``paceline`` command. Its reference is docs/cli.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command, that of the command line if no other is given, and exits with its code."""
    from paceline.cli.app import run  # not before it is used: workers and clients import this package's neighbours
    from paceline.cli.signals import unwind_on_signals

    unwind_on_signals()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


__all__ = ["main"]
