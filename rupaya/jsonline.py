"""One JSON object on one line, for what is written before logging is set up, or after it has failed.

Imported at every start: only what every start needs is imported at the top.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TextIO

# What some readers of lines take for the end of one, and JSON leaves as it is.
LINE_SEPARATORS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class JsonLines:
    """Writes lines that name the release and the task, as every other line of the service does."""

    def __init__(self, release: str, task: str) -> None:
        self.release = release
        self.task = task

    def write(self, message: str, *, level: str = "INFO", logger: str = "migration", **fields: object) -> None:
        """Write one object: news to standard output, the rest to standard error."""
        stream = sys.stdout if level == "INFO" else sys.stderr
        print(self.line(message, level=level, logger=logger, **fields), file=stream, flush=True)

    def line(self, message: str, *, level: str = "INFO", logger: str = "migration", **fields: object) -> str:
        import json
        from datetime import UTC, datetime

        line = {
            "message": message,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "logger": logger,
            "release": self.release,
            "task": self.task,
            **fields,
        }
        return json.dumps(line, ensure_ascii=False, default=str).translate(LINE_SEPARATORS)

    def take_uncaught_exceptions(self) -> None:
        """Write what nobody catches, in any thread, as one line each, its traceback inside."""
        import threading

        sys.excepthook = self._uncaught

        def in_thread(happened: threading.ExceptHookArgs) -> None:
            if happened.exc_type is not SystemExit and happened.exc_value is not None:
                self._uncaught(happened.exc_type, happened.exc_value, happened.exc_traceback)

        threading.excepthook = in_thread

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        import traceback

        text = "".join(traceback.format_exception(kind, error, trace))
        stream: TextIO | None = sys.stderr
        if stream is not None:
            line = self.line(f"{kind.__name__}: {error}", level="CRITICAL", logger="uncaught", exc_info=text)
            print(line, file=stream, flush=True)
