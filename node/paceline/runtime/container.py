"""What tells a process that it is in a container."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CONTAINER_SIGNS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman put into each."""
