"""The ``paceline`` command. Its reference is docs/cli.md.

``app.py`` is the table of commands, and the one place where an error becomes a message and an exit code (``exits.py``).
A command is a module with one click command, which is imported when it runs and not before. ``options.py`` has what
commands share: how a cluster is reached, how values are read and shown.

Must not be here: anything that a program could not do with ``paceline.client``, ``paceline.local`` or
``paceline.runtime``. To add a command, write a module, give it a row in ``app.py``, and describe it in docs/cli.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command, that of the command line if no other is given, and exits with its code."""
    from paceline.cli.app import run  # not before it is used: workers and clients import this package's neighbours
    from paceline.cli.output import guard
    from paceline.cli.signals import unwind_on_signals

    guard()
    unwind_on_signals()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


__all__ = ["main"]
