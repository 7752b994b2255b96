"""The web process: a child of a node that answers Prometheus, and probes of the node.

It is a process of its own, so that neither a slow scrape nor a hostile one delays a task. The node gives it two
descriptors: one end of a socket pair, on which it sends requests to the node (``link.py``), and a listening socket. The
node owns the listening socket, so the address stays the same when this process dies and another replaces it.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
from collections.abc import Sequence

from paceline.line_writer import LogHandler
from paceline.web.link import NodeLink
from paceline.web.server import WebServer
from paceline.worker.parent import allow_open_files, die_with_parent


def main(arguments: Sequence[str]) -> int:
    """Serve until the node is gone, or says so with SIGTERM."""
    options = _parse(arguments)
    die_with_parent(options.link)
    allow_open_files(options.open_files)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: os._exit(0))  # nothing here is worth finishing
    logging.getLogger("paceline").addHandler(LogHandler())  # of the level that the standard library has: warnings
    link = NodeLink(socket.socket(fileno=options.link))
    listener = socket.socket(fileno=options.listener)
    gc.collect()
    gc.freeze()
    WebServer(listener, link, node_pid=os.getppid()).serve_forever()
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m paceline.web", description="Started by a node.")
    parser.add_argument("--link", required=True, type=int, metavar="FD", help="the stream to the node; ends with it")
    parser.add_argument("--open-files", type=int, metavar="FILES", help="the soft limit of open files")
    parser.add_argument("--listener", required=True, type=int, metavar="FD", help="a socket that listens")
    return parser.parse_args(arguments)
