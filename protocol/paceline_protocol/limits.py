"""The bounds of what travels, the same for everyone who speaks this version of the protocol.

What is larger is refused by its sender where that is seen there, and by its receiver in any case. docs/protocol.md has
the same numbers; a test compares the two.
"""

from __future__ import annotations

from typing import Final

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
MAX_BATCH_FRAMES: Final = 1024
"""The most frames in one batch between peers, its Envelope among them. Who has more to say sends more batches."""
MAX_BATCH_ITEMS: Final = 16384
"""The most items in one array of a frame: calls in a batch, outcomes, ids, log entries."""
MAX_REQUEST_TASKS: Final = 256
"""The most tasks that one Submit, Wait or Cancel of a client names. So each costs a node a bounded time; who has more
sends more messages, and others are heard in between."""
MAX_QUEUES: Final = 1_000
"""With names of their own, and of a node that takes tasks of some alone, those."""
MAX_QUEUE_CHARS: Final = 64
MAX_GRAPHS: Final = 10_000
"""With tasks that have not ended; and so many of the others are remembered."""
MAX_INPUTS: Final = 4_096
"""The most tasks that one call waits for whose results it is called with, and the most that it starts after."""
MAX_WEIGHT: Final = 1_000_000
MAX_FAIR_KEYS: Final = 10_000
"""Of one queue at a time. Tasks of further ones wait with those that have none."""
MAX_TASK_NAMES: Final = 10_000
"""The most tasks, by name, that one node runs."""
MAX_DEFAULTS_BYTES: Final = 4 * 1024 * 1024
"""The names and options, packed, that one node announces: some 400 bytes for each of MAX_TASK_NAMES."""
MAX_OWN_SCHEDULES: Final = 1_000
"""The most schedules that the modules of one node have."""
MAX_OWN_SCHEDULES_BYTES: Final = 4 * 1024 * 1024
"""All of them, packed, with their arguments."""
PAYLOAD_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""What a node allows for one task's arguments, and for its result, unless it is set otherwise there."""
PAYLOAD_LIMIT_MAX_BYTES: Final = MAX_FRAME_BYTES - 2 * 1024 * 1024
"""What a node may be set to allow at most. The rest of a frame is for what travels with it."""
UNPACKED_PER_BYTE: Final = 32
"""What the collections of a payload may take as Python objects: so many times its size, or so many times
PAYLOAD_LIMIT_BYTES if that is more."""
ANNOUNCED_BYTES: Final = 8 * 1024
"""A frame of so many bytes to a client is announced by a Coming. On the slowest link that a client may have, 80 KiB a
second, a smaller one takes 0.1 s, a third of what a client waits for an answer."""
LINK_BYTES_PER_S: Final = 10 * 1024 * 1024
"""No link is taken for slower: what is sent is expected to arrive within that time. What a client makes of that is in
its ``silence.py``."""
MAX_NAME_CHARS: Final = 255
MAX_STRING_CHARS: Final = 4096
MAX_DETAIL_CHARS: Final = 1_000
"""What a node tells a client for people, of a refusal or an answer, is cut here. It may quote what the client had sent,
or name tasks and nodes, and must fit into a string all the same."""
SUMMARY_LIMIT_BYTES: Final = 200
"""Of an attempt that failed: what is kept of its error, in UTF-8, while the task is tried again. Of one that was lost:
of how."""
KEPT_LOSSES: Final = 8
"""Of the attempts of one task that were lost: of so many, the last ones, it is kept how."""
PROGRESS_TEXT_CHARS: Final = 200
"""What a task says beside how far it is, is cut here."""
PROGRESS_BYTES: Final = 2 * 1024
"""More than that takes, packed, with both numbers."""
OUTPUT_BYTES: Final = 16 * 1024
"""Of what a task prints and logs, the end is kept for whoever asks for it by its id."""
REMARKS_PER_S: Final = 30
"""The most Remarks that a worker sends, of all its tasks together."""
REMARKS_BYTES: Final = 64 * 1024
"""The most output in one of them."""
REMARKS_TASKS: Final = 256
"""The most tasks of which one of them tells."""
MAX_TRACEBACK_CHARS: Final = 64 * 1024
"""For errors and tracebacks. Whoever makes one trims it (``payload.trim``)."""
MAX_INT: Final = 2**63 - 1
"""Every integer on the wire is 0..MAX_INT, so that a reader may add to one and still send it on."""
MAX_ATTEMPT: Final = 2**40
"""No task is run as often. A number beyond that is none of an attempt, and never becomes that of the next one."""
MAX_ENTRY_KIND: Final = 255
EXPRESSION_CHARS: Final = 255
"""Of a cron expression."""
ZONE_CHARS: Final = 64
"""Of the name of a time zone."""
EVERY_MAX_MS: Final = 36_525 * 86_400_000
"""The longest interval of a schedule: a century."""
MAX_OPTIONS: Final = 64
"""The most entries in one map of a frame."""

BATCH_MAX: Final = 1_000
"""Calls that are handed to one call of their function."""
BATCHED_BYTES: Final = 4 << 20
"""Of their arguments; one call alone may have more."""
BATCH_WINDOW_S: Final = 60
"""How long a call waits for others at most."""
