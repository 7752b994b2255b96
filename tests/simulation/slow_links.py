"""Links between nodes that take their time: a hundredth of the slowest that a node counts on, and limits to match.

Tasks are small in the simulation, so that runs are short. What is large for a link is what takes it about a lease, and
the limits of the product are in the same proportion to it as they are to tasks of megabytes on real links.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final
from unittest.mock import patch

from paceline.core.membership import main_connection
from paceline.core.raft import replication, snapshot_transfer
from paceline.core.work import leader_link
from simulation.faults import Faults

LINK_BYTE_S: Final = 1e-5
_SCALE: Final = 100
_LIMITS: Final = (
    (replication, "APPEND_LIMIT_BYTES"),
    (replication, "IN_FLIGHT_LIMIT_BYTES"),
    (snapshot_transfer, "SNAPSHOT_CHUNK_BYTES"),
    (leader_link, "LINK_BYTES_PER_S"),
    (main_connection, "SLOWEST_BYTES_PER_S"),
)


@contextmanager
def limits_for(faults: Faults) -> Iterator[None]:
    """The limits that fit the links of these faults."""
    with ExitStack() as stack:
        for module, name in _LIMITS if faults.link_byte_s else ():
            stack.enter_context(patch.object(module, name, getattr(module, name) // _SCALE))
        yield
