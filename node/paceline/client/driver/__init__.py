"""The shell around a session: its sockets, and the threads of a program that use one client.

``driver.py`` is what the client calls: one method for each thing that a program asks for. ``turns.py`` decides which
thread reads the sockets (``connections.py``; ``sockets.py`` is what it has of pyzmq), and owns the one lock that guards
the session, the sockets and the futures. ``resolving.py`` has the futures and resolves them; ``background.py`` is the
thread that keeps up the connection while nobody waits; ``discovering.py`` looks for nodes by multicast;
``lifetime.py`` is how a client ends; ``relaying.py`` is the driver of a relay, which has no futures.

Nothing here decides what to send or when to give up: that is the session's (``client/session``).
"""
