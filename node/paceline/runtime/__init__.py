"""The shell of a node: all that has a clock, a socket, a file, a thread or a child process.

``reactor.py`` is the loop, in one thread: poll the transport, pass each message to the core with ``now``, take the
core's effects, and carry them out in the order that ``core/effects.py`` demands. It is the only reader of the clock in
the node's way of a task, and waits for nothing but the poll.

- ``transport/``: frames in and out. ZeroMQ, and a twin in memory for the simulator.
- ``journal/``: the replicated log on the disk, written by a thread of its own, and the data directory.
- ``children/``: the worker processes and the web process: started, watched by the kernel, replaced.
- ``search.py``: a thread that looks for other nodes, and says what it can't reach. ``counters.py``: what the reactor
  counts. ``client_frames.py``: what clients send, on its way to the core. ``memory.py``: what the allocator keeps.
- ``run.py`` runs a node until a signal. ``server.py`` makes all of that from a configuration and takes it apart again,
  around the core that ``core_at_start.py`` begins or recovers; ``greeting.py`` says when the node is ready.

Must not be here: any decision about tasks, terms or membership. Whatever depends on more than one frame is for the
core, so that the simulator sees it. What may block (the disk, DNS, a slow client) has a thread or a bound, and a stated
behaviour at the bound.
"""
