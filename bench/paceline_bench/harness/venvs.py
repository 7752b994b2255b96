"""An environment for each rival, made once: their dependencies do not agree with each other, nor with ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import distributions
from pathlib import Path

import platformdirs

from paceline_bench.rivals.files import RivalVariant

INSTALL_TIMEOUT_S = 900.0


class InstallFailed(Exception):
    """pip, or the making of the environment, did not succeed; the message says at what."""


def default_directory() -> Path:
    return platformdirs.user_cache_path("paceline") / "bench-venvs"


def python_of(peer: RivalVariant, directory: Path) -> Path:
    """The interpreter of its environment; this one if the rival needs no packages. Variants of a file share one."""
    if not peer.requirements:
        return Path(sys.executable)
    return directory / f"{peer.path.stem}-{sys.version_info.major}.{sys.version_info.minor}" / "bin" / "python"


def is_installed(peer: RivalVariant, directory: Path) -> bool:
    """Whether it holds every pinned version. pip installs what a package needs before the package, so that an
    installation which was broken off does not pass for whole."""
    python = python_of(peer, directory)
    if not python.exists():
        return False
    site_packages = [str(path) for path in python.parent.parent.glob("lib/python*/site-packages")]
    held = {_canonical(each.metadata["Name"]): each.version for each in distributions(path=site_packages)}
    pins = [requirement.split("==") for requirement in peer.requirements]
    return all(held.get(_canonical(name.partition("[")[0])) == version for name, version in pins)


def install(peer: RivalVariant, directory: Path) -> Path:
    """Makes the environment unless it is there. Returns its interpreter. Raises InstallFailed."""
    python = python_of(peer, directory)
    if is_installed(peer, directory):
        return python
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements]
    try:
        venv.create(python.parent.parent, clear=True, with_pip=True)
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InstallFailed(f"its environment could not be made: {error}") from error
    if done.returncode:
        why = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise InstallFailed(f"pip install {' '.join(peer.requirements)}: {why}")
    return python


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
