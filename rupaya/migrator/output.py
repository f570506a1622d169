"""What `migrate` says: plain lines for people and log filters, or one JSON object a line, the same message first."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import OutputWrapper
from django.core.management.color import Style

# What some readers of lines take for the end of one, and JSON leaves as it is.
_LINE_SEPARATORS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class Output:
    """Writes one message a line to a command's output stream, from any thread."""

    def __init__(self, stream: OutputWrapper | TextIO, style: Style, *, verbosity: int = 1, as_json: bool = False):
        self.stream = stream
        self.style = style
        self.verbosity = verbosity
        self.as_json = as_json
        self._progress_shown = False

    def say(self, message: str, *, success: bool = False, warning: bool = False, **fields: object) -> None:
        """Write a line, coloured on a terminal; `fields` appear in JSON only."""
        if self.verbosity < 1:
            return
        self._clear_progress()
        if self.as_json:
            line = json_line(message, "WARNING" if warning else "INFO", **fields)
        elif success:
            line = self.style.SUCCESS(message)
        elif warning:
            line = self.style.WARNING(message)
        else:
            line = message
        self.stream.write(line + "\n")
        self.stream.flush()

    def progress(self, message: str) -> None:
        """On a terminal, show what is under way; the next line replaces it."""
        if self.verbosity < 1 or self.as_json or not self.stream.isatty():
            return
        self._clear_progress()
        self.stream.write(f"… {message}", ending="") if isinstance(self.stream, OutputWrapper) else None
        self.stream.flush()
        self._progress_shown = True

    def _clear_progress(self) -> None:
        if self._progress_shown and isinstance(self.stream, OutputWrapper):
            self.stream.write("\r\033[K", ending="")
        self._progress_shown = False


class JsonStream(OutputWrapper):
    """A command's error stream that writes each message as one JSON object on one line."""

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> None:  # type: ignore[override]
        """Write a message; colours do not apply."""
        super().write(json_line(str(msg).strip(), "ERROR"), lambda text: text, ending)


def json_line(message: str, level: str, **fields: object) -> str:
    """A message as one JSON object on one line, with what every line of the service's log has."""
    line = {
        "message": message,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": "migration",
        "release": getattr(settings, "RELEASE", "unknown"),
        "task": getattr(settings, "TASK", "") or socket.gethostname(),
        **fields,
    }
    return json.dumps(line, ensure_ascii=False, default=str).translate(_LINE_SEPARATORS)
