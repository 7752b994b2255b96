"""What a node tells of itself: ``status.py`` makes the body of a StatusReply, ``metrics.py`` that of a MetricsReply,
which the web process turns into Prometheus's format by the table ``web/table.py``.

Both read a ``NodeCore`` and change nothing; their cost depends on the number of nodes and names and never on the number
of tasks, since the node answers in the turn that reads the request. This is the top room of the core, and nothing in
the core imports it: the shell passes ``status`` in.

Only the leader tells of the cluster (decision 22). Whatever a key of a StatusReply means is in ``docs/protocol.md``,
and a test compares the two.
"""
