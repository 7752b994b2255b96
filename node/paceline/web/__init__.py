"""The web process of a node: Prometheus's metrics, probes, and the list of targets, over HTTP.

``main.py`` is the process, ``link.py`` asks the node over a socket pair, one request at a time, ``families.py`` turns
the answer into metric families by ``table.py``, the table of all metrics, from which ``docs/metrics.md`` is made, too.
``server.py`` has the paths, ``http.py`` a bounded HTTP server, which the bridge uses as well, ``listener.py`` the
socket.

The rules: what is shown came from the node while the request waited, so a probe means that the node's loop turns;
neither a slow scrape nor a hostile one takes time from tasks; connections are bounded. Must not be here: the core, or
any state of the node beyond the last answer. To add a metric, count it in ``core/measures``, tell it in
``core/reports/metrics.py``, and give it a row in ``table.py``.
"""
