"""What a node does for its leader: it takes dispatched tasks, gives them to its workers, and reports the outcomes.

A task that was dispatched here is held (``held.py``) until a leader says that its outcome is recorded: first in the
queue, then at one worker, then as an unrecorded outcome (``unrecorded.py``). ``slots.py`` binds it to a worker as late
as possible, and ``worker_slot.py`` knows of one worker which tasks it has begun, and which come back from it.

``leader_link.py`` is this node's end of the conversation with whichever node leads. Messages are lost, repeated and
reordered; four numbers in every Beat repair that (account version, dispatch sequence, outcomes seen and outcomes
recorded), and each new leader gets an account of all that the node holds. So a running task survives its leader, and no
outcome is lost with it.

Order: ``on_beat``, ``on_dispatch`` and ``on_revoke`` for the leader's messages, ``worker_ready``, ``worker_done`` and
``worker_lost`` for the workers', then ``assign`` for what to send to workers; the caller empties ``outbox``.

Must not be here: the log, the table, and whether this very node leads. A node that leads talks to its own leader half
by the same messages. The leader's end of the conversation is in ``scheduling``.
"""
