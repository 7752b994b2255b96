"""The worker process, and the ``task`` decorator that its modules use.

``registry.py`` is what user code sees: ``@task`` makes a function a task. Workers load the modules of tasks by it; a
node only checks that their names can be loaded. ``main.py`` is the process: it loads the modules, says that it is
ready, and runs what its node sends it. ``execute.py`` runs one task: packed arguments in, a TaskEnd and a packed result
or error out; ``loop.py`` does so for ``async def`` tasks. ``async_server.py`` runs many of them at once, and
``blocking.py`` sees which keeps the others from going on. ``parent.py`` ends the process with its node,
``ending.py`` in bounded time.

The rules: one thread, one task at a time, or one loop and many; one stream to the own node. A worker keeps no state
that matters. Whatever a task does, each end of it that Python can see is an outcome. Must not be imported here: the
core and the runtime. The protocol is all that node and worker share.
"""
