"""The JSON form of a log record; a module of its own, because only what logs JSON needs the library."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from rupaya.jsonline import LINE_SEPARATORS
from rupaya.logs import request_id

# What Django hangs on its records: the whole request, query and cookies included, which belong in no log.
NOT_LOGGED = ("request", "response", "server_time", "taskName")


class LineFormatter(JsonFormatter):
    """One object on one line: message first, then time, level, logger, release, task, request, and what was added."""

    def __init__(self, *, release: str, task: str) -> None:
        super().__init__(
            ["message"], json_ensure_ascii=False, json_default=str, reserved_attrs=[*RESERVED_ATTRS, *NOT_LOGGED]
        )
        self._process = {"release": release, "task": task}

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """The fields that every line has, then the record's own."""
        log_data |= {
            "message": record.message,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **self._process,
        }
        if request_id.get():
            log_data["request_id"] = request_id.get()
        super().add_fields(log_data, record, message_dict)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """The object as text without any character that some reader takes for the end of a line."""
        text: str = super().jsonify_log_record(log_data)
        return text.translate(LINE_SEPARATORS)
