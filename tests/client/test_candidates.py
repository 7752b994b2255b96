"""The addresses at which a client looks for its cluster."""

from __future__ import annotations

import random

from paceline.client.session.candidates import LEARNED_LIMIT_ADDRESSES, Candidates


def test_what_is_found_last_is_kept_and_so_is_what_was_given() -> None:
    candidates = Candidates(("host:7077",), random.Random(1))
    for look in range(LEARNED_LIMIT_ADDRESSES):
        candidates.add([f"10.{look}.0.{number}:7077" for number in range(2)])
    assert len(candidates.addresses) == 1 + LEARNED_LIMIT_ADDRESSES
    assert candidates.addresses[:3] == (
        "host:7077",
        f"10.{LEARNED_LIMIT_ADDRESSES - 1}.0.0:7077",
        f"10.{LEARNED_LIMIT_ADDRESSES - 1}.0.1:7077",
    )
