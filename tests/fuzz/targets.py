"""All targets of the byte fuzzers. A new one is a row in the table of its module; a new module is in the sum below."""

from __future__ import annotations

from typing import Final

from fuzz import bridge_targets, client_targets, file_targets, value_targets, web_targets, wire_targets
from fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for module in (wire_targets, value_targets, client_targets, file_targets, bridge_targets, web_targets)
    for target in module.TARGETS
}
