"""A client's side of the protocol, in virtual time: which node to talk to, what to send, what became of each task.

Nothing here knows a socket, a clock, a thread or a global random source. The shell (``client/driver``, or a simulator)
brings frames and the time, and takes frames and results away; ``session.py`` says in which order.

The modules are cut by how long what they hold lives:

- **The client's life.** ``ledger.py`` has the calls that have not ended, ``requests.py`` the questions that have no
  answer yet, ``output.py`` what the shell has not taken, ``candidates.py`` the addresses, and ``refusals.py`` for how
  long the cluster has been unready. ``sampling.py`` picks the calls that are traced.
- **One search** for the leader: ``seeking.py``. A search goes on through leaders that welcome and then do nothing.
- **One epoch**, from a leader's Welcome to the loss of it: ``epoch.py``, which joins the Submits (``submits.py``), what
  was received and acknowledged (``receipts.py``) and the leader's silence (``silence.py``). All four are made anew for
  each leader, so that nothing of an earlier one can survive by accident.

``session.py`` passes each event to whom it concerns, and goes from a search to an epoch and back. ``relaying.py`` is
the same for a relay.
"""
