"""What the verbs need to measure with: open and closed load (``load.py``), placement of processes on processors
(``placement.py``), servers in temporary directories (``server_process.py``, ``rabbitmq_server.py``), environments of
the rivals (``venvs.py``), a scraper of metrics (``scraper.py``). Nothing here knows what is being measured.
"""
