"""From numbers to what a person reads. ``report.py`` is the value that each verb returns: rows, checks, details.
``output.py`` prints it as a table, JSON or a page (``page.py``, ``picture.py``, ``plot.py``). ``histogram.py`` and
``latency.py`` keep distributions, ``stats.py`` medians, ``machine.py`` what was measured on. Pure, but for the files
that are asked for.
"""
