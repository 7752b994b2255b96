"""The replicated log: Raft, without clock, disk or network. This room knows entries, and not what is in them.

The model is etcd's: a :class:`~paceline.core.raft.consensus.Consensus` takes messages (``step``), time (``tick``) and
proposals (``propose``), and hands out a :class:`~paceline.core.raft.ready.Ready` (``take_ready``): what to send at
once, what to write, what to send once that is durable, and which entries are committed. ``ready.py`` has the order that
the shell must keep; ``persisted`` tells the log that a write is done.

``consensus.py`` settles who leads and which messages are of the term. Each part keeps its own state and states its own
promises at the top of its file:

- votes: ``election.py`` (the timer, pre-votes, ballots), ``eligibility.py`` (who may campaign), ``terms.py``;
- one term's leader: ``leadership.py``, with ``replication.py`` (how far each peer is), ``confirmations.py`` (whether
  the peers still follow), ``read_index.py`` (reads that are not stale) and ``leadership_transfer.py``;
- a follower: ``follower.py``; both ends of a snapshot's transfer: ``snapshot_transfer.py``, ``pages.py``;
- the log itself: ``log.py`` (entries, and the marks durable, committed, applied), ``writes.py`` (what goes to the
  disk), ``configuration.py`` (which configuration is in force), ``contents.py`` (whether what a leader sends can be
  applied), ``quorum.py``, ``timing.py``.

Where this differs from the paper or from etcd: a configuration is in force from the append of its entry on, as in the
paper's single-server rule; writing is asynchronous, so a leader counts itself for an entry only once its own disk has
it; and a leader's lease goes by when it *began* the round that was answered, and not by when the answer came (decision
23).

Must not be here: tasks, nodes' addresses, anything that tells one entry kind from another, but for configurations.
``tests/core/raft`` has a test for each rule of the paper, ``tests/scenarios`` scripted stories with golden output, and
the simulator plants faults in exactly these files to show that it would find them.
"""
