"""What a node does only while it leads: it admits calls, dispatches tasks to nodes, records what happens to them, and
answers whoever asks for them. All of it is made anew for each term from the replicated table, and thrown away when the
node is deposed, so that nothing of an earlier leadership can survive by accident.

``leader.py`` joins the leader's conversations, and its subject is their order. ``admission.py`` is the conversation
with clients, ``nodes.py`` that with nodes (``work/leader_link.py`` is the other end), ``cancelling.py`` knows who wants
what cancelled. ``recording.py`` writes down what happens to a task, in three books that must agree: where it is, the
draft of the log, and what its submitter is owed.

Where a task is belongs to one module: ``live_tasks.py`` alone moves a task from state to state, and each state of a
live task has a place (``places.py``): a lane, or the ledger of a node. ``lanes.py`` keeps the waiting tasks in order,
``credits.py`` what each node holds and which node is next; ``dispatch.py`` decides, from both, which task goes where.
``recent_names.py`` knows which names may be back in a moment. ``draft.py`` gathers what the log is to be told, and in
which order. ``unheard.py`` says what failed with no client waiting for it. ``takeover.py`` builds all of it before a
node leads.

Order within a turn: messages change state (admission, nodes), then ``Leader.dispatch`` hands out what there is credit
for, then ``Leader.log`` proposes the draft if it is due, and ``Leader.applied`` tells what a commit allows: accepted,
ended, recorded, started.

The rules: dispatch and results never wait for the log, unless the task asks for it, or so much has ended that the log
does not have yet that dispatch has to (``recording.py``); a promise to a client is made only
once what it promises is applied; every list has a bound. Must not be here: consensus. The leader gets a function that
proposes, and is told what is applied.
"""
