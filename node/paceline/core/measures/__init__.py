"""What is counted on the way of a task. Measures only watch: without them every task goes the same way at the same
time, with one exception, the expected durations, by which a leader decides how many short tasks to send together.

``histogram.py`` has buckets of plain integers, ``tally.py`` what one node counts, ``durations.py`` how long a task of a
name is expected to run, ``traces.py`` when a sampled task passed through this process, ``repeats.py`` when what repeats
itself is said again.

The rules: no clock (``now`` is passed in), a few additions for each task, and nothing that grows with the number of
tasks, or with their names beyond a limit. What is told of these numbers, and to whom, is in ``reports``. This is the
lowest room of the core: it imports only the protocol, and everybody may count.
"""
