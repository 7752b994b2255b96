"""The replicated state: what the log makes of itself on every replica, byte for byte.

``table.py`` joins the sections of the state. A section (``section.py``) owns its entry kinds, what an entry changes,
its pages in a snapshot and its digest; the sections are the accepted tasks, their lost attempts, the results, the ids
that were released, and the totals. Only committed entries change a section, in the order of the log, and ``apply``
reads no clock and no random source. So equal logs make equal states, which the simulator checks by digest.

``applied.py`` applies what consensus hands out, and takes and reads snapshots; ``snapshots.py`` does that a few pages a
turn, since a node that packs a million tasks at once would fall silent for as long. ``task.py`` is one task: the call,
which is replicated and never changes, and where the task is, which is the leader's alone and in no snapshot. Its table
TRANSITIONS is the whole life of a task.

Order: ``Applied.apply`` for each Ready of the log, ``Applied.step`` in each turn while a snapshot is being packed or
read.

Must not be here: a queue, a node, a client, a time. Whatever is decided is decided by the leader (``scheduling``), and
is in the entry. A node of an older version must be able to refuse what it can't read: pages name their section, and
entry kinds have a feature level. ``docs/how-to-extend.md`` has the steps for a new section and a new state.
"""
