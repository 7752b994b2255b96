"""Which nodes there are, and which of them replicate the log.

Three questions that must not be mixed up, since that is how clusters split:

- *Where may a node be?* Addresses come from discovery, from seeds and from peers; they only say where to send a hello.
  ``directory.py`` keeps them, and the peers that answered; ``peering.py`` has the conversation, and ``identity.py``
  what a node must remember of itself.
- *How does the first cluster form?* ``first_boot.py``: every blank node gives one consent, and the node that holds
  enough of them forms the cluster as its only voter. After that the log alone decides.
- *Which nodes should vote?* ``replicas.py`` is the rule, a pure function from what the leader sees to the next
  single-server change; ``admin_requests.py`` does the same for what an operator asks. ``replica_keeper.py`` applies
  both, one change at a time, while this node leads.

Order: the node calls ``Peering.meet`` regularly and ``Peering.on_hello`` for each hello, and saves the identity before
it sends what changed it. ``ReplicaKeeper.review`` runs with each heartbeat of the leader.

Must not be here: tasks. The keeper reads from the leader only which nodes have enrolled and were heard. What a
configuration means for a majority is in ``raft/configuration.py``; this room only chooses the next one.
"""
