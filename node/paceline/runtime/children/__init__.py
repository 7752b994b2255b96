"""The child processes of a node: workers, which run user code, and one web process, which serves metrics.

``pool.py`` starts processes, each with one end of a socket pair, learns of their ends from the kernel, and replaces
them after a pause that grows if they can't live. ``worker_pool.py`` says what the end of a worker means: one that a
task ended is replaced at once, and by a spare from then on. ``children.py`` joins the pools to the transport, so that
both always agree on which descriptors there are. ``web_child.py`` opens the listening socket of the web process and
answers its requests.

The rules: a node never runs user code; a child that dies loses nothing but the attempts that it was running; a child
does not outlive its node (``worker/parent.py``). Nothing here speaks the protocol: frames are the transport's, and what
they mean is the core's.
"""
