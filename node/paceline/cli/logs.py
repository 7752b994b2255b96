"""Logging of a node: stderr, the logger ``paceline`` and its children, text or one JSON object a line. A stderr that
takes nothing keeps nobody waiting (``line_writer.py``).

The root logger is left alone: it belongs to the program that embeds paceline, and to the tasks.

What others say of themselves is quoted here and there. So nothing in a record reaches the terminal, or looks like
another record, whoever wrote it: what is not printable is escaped, and the lines of one record after its first, as of a
traceback, are indented.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from paceline.line_writer import LogHandler
from paceline_protocol.texts import json_line, lines

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
INDENT = "    "


class TextFormatter(logging.Formatter):
    """A line for each record, and indented ones below it."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return lines(super().format(record)).replace("\n", f"\n{INDENT}")


class JsonFormatter(logging.Formatter):
    """One line for each record: time (UTC, RFC 3339), level, logger, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json_line(json.dumps(fields, ensure_ascii=False))


def configure(format_name: str, level_name: str) -> None:
    """Sends the log of paceline to stderr, as ``text`` or ``json``, from the level ``debug``, ``info``, ... on."""
    handler = LogHandler()
    handler.setFormatter(JsonFormatter() if format_name == "json" else TextFormatter())
    logger = logging.getLogger("paceline")
    logger.handlers = [handler]
    logger.setLevel(level_name.upper())
    logger.propagate = False
