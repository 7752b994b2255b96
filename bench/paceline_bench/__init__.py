"""``paceline bench``: measures this installation on this machine, beside what ZeroMQ alone costs there, in the same
run.

- ``verbs/``: one module for each thing that is measured; ``cli.py`` is their command line.
- ``harness/``: load generators, placement on processors, and the processes that a verb needs.
- ``bodies/``: the tasks that are run. ``stub/``: nodes that run nothing, to measure a leader alone.
- ``rivals/`` and ``peers/``: other systems, measured by the same loops in environments of their own.
- ``report/``: a report as a table, as JSON and as a page with pictures.
- ``guard.py``: ``./dev bench-check``, the limits that a change must keep.

The rules: whatever is compared is alive in the same minutes and takes turns, round by round, so that what else the
machine does falls on all of it; a schedule of load is fixed beforehand, so that a slow system can't slow down its own
load; every result is checked, and a wrong one fails the command; a report says which machine, versions, command and
journal. Only ``stub/`` looks into the core, to be a node as its leader sees it. ``docs/benchmarks.md`` has the method
and the figures.
"""
