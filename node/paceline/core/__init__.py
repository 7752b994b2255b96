"""The behaviour of a node, all of it, as a function of events and time. Nothing here has a clock, a socket, a file, a
thread or a random source of its own: ``now`` and every random number are passed in, and what has to be done comes out
as values. So the whole node runs in a simulator, where a seed reproduces every run, and the same modules are compiled.

The rooms, top first. A room may import the rooms below it and no other; an import contract in ``pyproject.toml`` says
so, and a new file that the contract doesn't place fails the check.

``reports``       what a node tells of itself: the bodies of a StatusReply and of a MetricsReply
``node``          the join: which part hears of an event first, and what leaves before what
``membership``    which nodes there are, how the first cluster forms, which nodes replicate and vote
``scheduling``    what a node does only while it leads: admit, dispatch, record, cancel
``work``          a node's own workers, and its end of the conversation with the leader
``state``         the replicated state, its snapshots, and how the log is applied to it
``outbox``        all that a node has to say, until its shell takes it
``effects``       what the core asks its shell to do; ``settings``: what an operator may choose
``raft``          the replicated log; ``clients``: what a leader owes its clients; ``incarnation``, ``deadlines``,
                  ``wall_clock``: numbers and moments that several rooms need
``measures``      counts, histograms, expected durations and traces, which only watch; ``feature_levels``: which of the
                  cluster's features all of its nodes have

Two halves of a node meet in ``node`` and nowhere else. ``scheduling`` is the leader's half: it exists while this node
leads, is made anew for each term from the replicated state, and is thrown away when the node is deposed. ``work`` is
the half that every node has. The two exchange the same messages whether they are in one process or in two.

How the shell (``runtime/reactor.py``) calls a ``NodeCore``, once per turn of its loop: ``on_wall_clock(offset)``;
``tick(now)`` if the deadline that ``next_deadline()`` returned has passed, or ``is_moment_due(now)`` says so; one
``on_...`` method for each message that arrived; ``take_urgent(now)``, which holds tasks and results, since nothing need
be durable for them; and ``take_effects(now)`` when ``effects_due(now)`` says so: what to send, what to write to the
disk, and what to send once that is durable. ``effects.py`` has the order in which the shell must do these things, and
each promise of the core depends on it.

Where to begin reading: ``node`` for the order of things; ``raft/consensus.py`` for the log; ``scheduling/leader.py``
for the way of a task. ``docs/architecture.md`` follows one task through all of it.
"""
