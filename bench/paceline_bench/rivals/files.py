"""The systems that there are: what the headings of the files in peers/ say.

A heading is inline script metadata (PEP 723), so that everything about a rival is in its own file and can be read
without importing it: ``dependencies`` pins the packages of its environment, and ``[tool.paceline.rivals]`` has a table
for each variant, with its ``title``, the ``servers`` that it needs, and its options.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[1] / "peers"
PACKAGE = "paceline_bench.peers"
SERVERS = ("rabbitmq", "redis")
_HEADING = re.compile(r"^# /// script\n((?:#(?: .*)?\n)*?)# ///$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RivalVariant:
    """One system in one configuration."""

    name: str
    title: str
    path: Path
    requirements: tuple[str, ...]  # each NAME==VERSION; none: it runs in this interpreter
    servers: tuple[str, ...]
    packages: tuple[str, ...]  # whose versions are reported
    options: dict[str, Any]
    open_loop_note: str = ""  # what is different about its figure there

    @property
    def module(self) -> str:
        return f"{PACKAGE}.{self.path.stem}" if self.path.parent == PEERS else self.path.stem


def read(path: Path) -> list[RivalVariant]:
    """The variants of one file; none if it has no heading. Raises ValueError for a heading that can't be used."""
    heading = _HEADING.search(path.read_text())
    if heading is None:
        return []
    fields = tomllib.loads("".join(line[2:] + "\n" for line in heading[1].splitlines()))
    requirements = tuple(fields.get("dependencies", ()))
    if not all("==" in requirement for requirement in requirements):
        raise ValueError(f"{path.name}: pin every dependency by NAME==VERSION, so that a figure can be had again")
    peers = []
    for name, variant in fields["tool"]["paceline"]["rivals"].items():
        title, servers = variant.pop("title"), tuple(variant.pop("servers", ()))
        if unknown := set(servers) - set(SERVERS):
            raise ValueError(f"{path.name}: no such server: {', '.join(unknown)}; there are {', '.join(SERVERS)}")
        pinned = [re.split(r"[\[=]", requirement)[0] for requirement in requirements]
        packages = tuple(variant.pop("packages", pinned))
        note = variant.pop("open_loop_note", "")
        peers.append(RivalVariant(name, title, path, requirements, servers, packages, variant, note))
    return peers


def discover(directory: Path = PEERS) -> list[RivalVariant]:
    """paceline first, for the others are compared with it; then by name."""
    peers = [peer for path in directory.glob("*.py") for peer in read(path)]
    return sorted(peers, key=lambda peer: (not peer.name.startswith("paceline-memory"), peer.name))


def chosen(peers: Sequence[RivalVariant], names: Sequence[str]) -> list[RivalVariant]:
    """The variants with these names; all if there are none. Raises ValueError for an unknown name."""
    known = [peer.name for peer in peers]
    for name in names:
        if name not in known:
            raise ValueError(f"no rival is called {name!r}; there are {', '.join(known)}")
    return [peer for peer in peers if not names or peer.name in names]
