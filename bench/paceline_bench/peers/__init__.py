"""One file for each system that `paceline bench rivals` measures.

They are read by two interpreters: that of the harness, which looks at the heading only (``rivals/files.py``), and that
of the rival's own environment, which runs ``wire.py`` with the module. So a file here imports the standard library, its
own packages, and ``paceline_bench.peers.wire``.
"""
