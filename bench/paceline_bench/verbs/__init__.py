"""What is measured: one module for each verb of ``paceline bench``.

Each has ``run(...)``, which measures and returns a ``Report`` (``report/report.py``), and keeps what it measured apart
from how that is reported, so that tests make reports without measuring. To add one: write a module, give it a command
in ``cli.py``, and a section in docs/benchmarks.md.
"""
