"""A client's side of the protocol, in virtual time: which node to talk to, what to send, what became of each task.

Nothing here knows a socket, a clock, a thread or a global random source. The shell (``client/driver``, or a simulator)
brings frames and the time, and takes frames and results away; ``session.py`` says in which order.

The modules are cut by the lifetime of their state:

- **The client's life.** ``ledger.py`` has the calls that have not ended, ``requests.py`` the requests that have no
  answer yet, ``output.py`` the frames and results for the shell, ``candidates.py`` the addresses, and ``refusals.py``
  how long the cluster has been unready. ``sampling.py`` picks the calls that are traced.
- **One search** for the leader: ``seeking.py``. A search goes on through leaders that welcome and then do nothing.
- **One epoch**, from a leader's Welcome to the loss of it: ``epoch.py``, which joins the Submits (``submits.py``), the
  Updates that were received and acknowledged (``receipts.py``), and the leader's silence (``silence.py``). All four are
  made anew for each leader, so that nothing of an earlier one can survive by accident.

``session.py`` passes each event to the part that it concerns, goes from a search to an epoch and back, and keeps what
the link to one leader has turned out to be.
``relaying.py`` is the session of a relay.
"""
