"""The ``paceline`` command. Its reference is docs/cli.md."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs one command and exits with its code."""
    from paceline.cli.app import run  # not before it is used: workers and clients import this package's neighbours

    sys.exit(run(sys.argv[1:]))


__all__ = ["main"]
