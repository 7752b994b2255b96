"""How frames reach a node and leave it.

``transport.py`` is the interface, with what a send may answer (OK, FULL, GONE). ``zmq_transport.py`` implements it with
ZeroMQ for clients and peers, and ``channel.py`` with a socket pair for each worker; ``zmq_sockets.py`` has the options
of the sockets and why, ``zap.py`` who may connect. ``memory_transport.py`` is its twin in virtual time: one suite of
tests (``tests/transport``) runs against both, so that the simulator's network behaves as the real one does.

The rules: frames are opaque here, and a transport promises nothing about delivery; OK means that a frame was queued.
What has to arrive is numbered and repeated by the core. One thread uses a transport; only ``wake`` may be called from
others. Each poll takes a bounded burst from each socket.
"""
