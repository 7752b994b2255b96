"""Logging of a node: stderr, the logger ``paceline`` and its children, text or one JSON object a line
(``log_formats.py``). A stderr that takes nothing keeps nobody waiting (``line_writer.py``).

The root logger is left alone: it belongs to the program that embeds paceline, and to the tasks.
"""

from __future__ import annotations

import logging

from paceline.line_writer import LogHandler
from paceline.log_formats import JsonFormatter, TextFormatter


def configure(format_name: str, level_name: str) -> None:
    """Sends the log of paceline to stderr, as ``text`` or ``json``, from the level ``debug``, ``info``, ... on."""
    handler = LogHandler()
    handler.setFormatter(JsonFormatter() if format_name == "json" else TextFormatter())
    logger = logging.getLogger("paceline")
    logger.handlers = [handler]
    logger.setLevel(level_name.upper())
    logger.propagate = False
