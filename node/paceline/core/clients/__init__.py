"""What a node knows of the clients that are connected to it.

``sessions.py`` is what a leader owes one client: accepted calls, refusals and results, in numbered Updates, and which
results to release once the client acknowledges an Update. A session lives as long as its connection and its leader;
after a failover the client opens a new one and names the tasks that it waits for. ``client_info.py`` keeps how clients
describe themselves for ``status``, as bridges do.

Must not be here: how a call is admitted or a task ends. ``scheduling`` decides that, and writes it into the session.
The other end of the conversation is ``client/session``.
"""
