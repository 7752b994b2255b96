"""``paceline demo``: three nodes on this machine, a word count, and the death of the leader halfway.

``nodes.py`` starts the cluster as a user would, with a cluster file and discovery; ``tasks.py`` and ``words.py`` are
the work, ``run.py`` the play, ``pauses.py`` how long work stood still. The command is ``cli/demo.py``; the part with
RabbitMQ is ``paceline_bridge/demo.py``. The demo checks what it shows: the count is compared with one that a single
process made.
"""
