"""Other systems beside paceline. ``files.py`` reads which there are from the headings of ``peers/``, ``plan.py`` says
how much of each is measured, ``run.py`` takes turns, ``process.py`` runs one of them in its environment, ``servers.py``
its Redis or RabbitMQ, ``compare.py`` makes rows. This room runs in our interpreter, ``peers/`` in each system's own:
the two speak JSON over pipes.
"""
