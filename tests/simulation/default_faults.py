"""Ways to break what calls by name take from what nodes announce; as those of ``peer_faults.py``."""

from __future__ import annotations

from paceline.core.scheduling.admission import Admission
from paceline.core.scheduling.defaults import Defaults
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import Call, Options
from simulation.peer_faults import Method


def take_nothing(true: Method) -> Method:
    def complete(self: Defaults, call: Call) -> Call:
        return call

    return complete


def wait_for_nobody(true: Method) -> Method:
    """A new leader takes calls of names of which no node has told it."""

    def refusal_by_name(self: Admission, call: Call, said: Options, now: float) -> tuple[Refusal, str] | None:
        return None

    return refusal_by_name
