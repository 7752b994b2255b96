"""Whole nodes against a peer that sends forged frames: see ``hostile_peer.py``."""

from __future__ import annotations

from collections import Counter

from simulation.hostile_peer import HostileWorld


def test_no_forged_frame_ends_a_node_or_keeps_it_from_starting_again() -> None:
    met: Counter[str] = Counter()
    for seed in range(1, 7):
        world = HostileWorld(seed, nodes=(2, 3, 3, 5)[seed % 4])
        world.run_against(8.0)
        for node in world.nodes:  # all at once, from what is on their disks
            if node.reactor is not None:
                node.crash(power_fails=True)
        for node in world.nodes:
            node.start()
        assert world.events["forged batch"] > 100
        met.update(world.events)
        world.close()
    assert met["restart"] > 6
    assert met["message refused"] > 6
