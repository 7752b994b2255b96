"""What must hold of a simulated cluster: one file for each promise, and all of them hear the same events.

The simulator says what happens, as it sees it at the edges of the real code: what clients submit and are told, what
workers start and finish, which entries nodes apply, who leads (``events.py``). The oracle first writes an event down
(``record.py``: the log, and the story of each task), then lets every promise hear it that has a method for it
(``promise.py``). A promise raises InvariantBroken, which names it and the task, at the event that breaks it, or in the
end for what should have happened and did not.

Promises know of events and of the record alone: no core, no network, no clock. So each can be tried on a handful of
events that are written by hand (``test_oracle.py``). Whatever module of this package defines a Promise takes part; an
option of calls that is new needs a file of its own, which reads its key from ``Submitted.options``, and no change
elsewhere.

Each task is an object by itself, and a history of many objects is linearizable if that of each of them is. A task is a
register that is written twice at most: once when it is accepted and once when it ends, both by the log. Whatever the
cluster tells anyone of a task must fit these two moments: nothing is told before it is so, and nothing that is so is
told otherwise later.
"""
