"""Whole nodes against a peer that sends forged frames: see ``hostile_peer.py``."""

from __future__ import annotations

import pytest

from simulation.hostile_peer import HostileWorld


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_forged_frame_ends_a_node_or_keeps_it_from_starting_again(seed: int) -> None:
    world = HostileWorld(seed, nodes=(2, 3, 3, 5)[seed % 4])
    world.run_against(8.0)
    assert world.events["forged batch"] > 100
    assert world.events["restart"] > 0
    for node in world.nodes:  # all at once, from what is on their disks
        if node.reactor is not None:
            node.crash(power_fails=True)
    assert world.events["message refused"] > 0
    for node in world.nodes:
        node.start()
    world.close()
