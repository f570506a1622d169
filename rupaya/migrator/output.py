"""What `migrate` says: plain lines for people and log filters, or one JSON object a line, the same message first."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TextIO

from django.core.management.base import OutputWrapper
from django.core.management.color import Style


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
            level = "WARNING" if warning else "INFO"
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"message": message, "level": level, "time": time, **fields}, default=str)
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
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"message": str(msg).strip(), "level": "ERROR", "time": time})
        super().write(line, lambda text: text, ending)
