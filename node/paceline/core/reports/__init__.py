"""What a node tells of itself: ``status.py``, ``whereabouts.py`` and ``waiting.py`` make the bodies of a StatusReply, a
TaskReply and a WaitingReply, ``metrics.py`` that of a MetricsReply, which the web process turns into Prometheus's
format by the table ``web/table.py``.

All read what the node holds and change nothing; their cost depends on the number of nodes and names, and on a bounded
number of tasks, since the node answers in the turn that reads the request. This is the top room of the core, and
nothing in the core imports it: the shell passes the rows of ``questions.py`` in.

Only the leader tells of the cluster (decision 22). Whatever a key of a reply means is in ``docs/protocol.md``, and a
test compares the two.
"""
