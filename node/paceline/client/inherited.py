"""What a call takes over from the task that makes it: the deadline, unless its own is earlier.

Who waits for the task has given up by then, and with it on all that the task has others do.
"""

from __future__ import annotations

import time

from paceline.parent_deadline import PARENT
from paceline_protocol.messages.records import Options
from paceline_protocol.options import by_name, is_by_name


def inherited(options: Options | None) -> Options | None:
    """The options of a call that is made here, in a task or outside of any.

    A deadline of its own that counts from its admission is compared by the clock of this machine, and whichever is
    chosen travels as it was given. Of a call by name it counts more than what nodes announce, as all that it says."""
    parent_ms = 0 if PARENT.ask is None else PARENT.ask()
    if not parent_ms:
        return options
    own_ms: int = 0 if options is None else options.get("deadline", 0)
    ends_ms = own_ms if own_ms >= 0 else time.time_ns() // 1_000_000 - own_ms
    if 0 < ends_ms <= parent_ms:
        return options
    with_parents = {**(options or {}), "deadline": parent_ms}
    return by_name(with_parents) if options is not None and is_by_name(options) else with_parents
