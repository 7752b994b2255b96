"""How lines of a log look: as text, or as one JSON object each. Of a node and of its workers.

What others say of themselves is quoted here and there. So nothing in a record reaches the terminal, or looks like
another record, whoever wrote it: what is not printable is escaped, and the lines of one record after its first, as of a
traceback, are indented.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from paceline_protocol.texts import json_line, lines

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
INDENT = "    "
OF_TASKS = ("task_id", "task_name", "attempt", "stream")
"""What a record may have besides, as an attribute, and a line of JSON has then."""


class TextFormatter(logging.Formatter):
    """A line for each record, and indented ones below it."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return lines(super().format(record)).replace("\n", f"\n{INDENT}")


class JsonFormatter(logging.Formatter):
    """One line for each record: time (UTC, RFC 3339), level, logger, message, of what task it is if it is of one, and
    the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: getattr(record, name) for name in OF_TASKS if hasattr(record, name)}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json_line(json.dumps(fields, ensure_ascii=False, default=str))
