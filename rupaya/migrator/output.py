"""What `migrate` says: plain lines for people and log filters, or one JSON object a line, the same message first."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, OutputWrapper
from django.core.management.color import Style

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# What some readers of lines take for the end of one, and JSON leaves as it is.
_LINE_SEPARATORS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


# What operations log while they work; they know of no command.
_OPERATIONS = "rupaya.migrator.operations"


@contextmanager
def heard(say: Callable[[str, bool], None]) -> Iterator[None]:
    """Give what operations log to the command that runs them, and not to the log as well.

    `say` takes the message and whether it is a warning.
    """
    logger = logging.getLogger(_OPERATIONS)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Hearing(say)], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before


class _Hearing(logging.Handler):
    def __init__(self, say: Callable[[str, bool], None]) -> None:
        super().__init__()
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage(), record.levelno >= logging.WARNING)


def logs_json() -> bool:
    """Whether each line of the log is to be a JSON object."""
    return bool(getattr(settings, "LOG_FORMAT", "text") == "json")


class Output:
    """Writes one message a line to a command's output stream, from any thread."""

    def __init__(self, stream: OutputWrapper | TextIO, style: Style, *, verbosity: int = 1, as_json: bool = False):
        # What a stream of objects is given as one already goes out as it is.
        self.stream = stream.plain if isinstance(stream, JsonStream) and as_json else stream
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
        self._write(line + "\n")

    def _write(self, text: str) -> None:
        """Write; a stream that cannot say a character says it otherwise, because no message may end a run."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError as error:
            self.stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        self.stream.flush()

    @contextmanager
    def speaking_for(self, command: BaseCommand) -> Iterator[None]:
        """Let what Django's command prints come out as this output does, for as long as the block runs."""
        before = command.stdout
        command.stdout = _DjangoStream(self, before)
        try:
            yield
        finally:
            command.stdout = before

    def hearing(self) -> AbstractContextManager[None]:
        """Say what operations log as lines of this output, for as long as the block runs."""
        return heard(lambda message, is_warning: self.say(message, warning=is_warning))

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches: what is under way is shown, and not logged."""
        return self.verbosity >= 1 and not self.as_json and bool(self.stream.isatty())

    def progress(self, message: str) -> None:
        """On a terminal, show what is under way; the next line replaces it."""
        if not self.is_terminal:
            return
        self._clear_progress()
        self.stream.write(f"… {message}", ending="") if isinstance(self.stream, OutputWrapper) else None
        self.stream.flush()
        self._progress_shown = True

    def _clear_progress(self) -> None:
        if self._progress_shown and isinstance(self.stream, OutputWrapper):
            self.stream.write("\r\033[K", ending="")
        self._progress_shown = False


class _DjangoStream(OutputWrapper):
    """What Django's `migrate` prints, but for the headings that say in other words what the run says itself.

    A list of what is left out: whatever else Django prints, or a handler of its signals, is passed on.
    """

    _HEADINGS = (
        "Operations to perform:",
        "  Synchronize unmigrated app",
        "  Apply all migrations: ",
        "  Unapply all migrations: ",
        "  Target specific migration: ",
        "Running migrations:",
        "  No migrations to apply.",
    )

    def __init__(self, output: Output, out: TextIO | OutputWrapper) -> None:
        super().__init__(out)  # type: ignore[arg-type]
        self._output = output

    def write(self, msg: str = "", style_func: Any = None, ending: str | None = None) -> None:  # type: ignore[override]
        """Write what is not a heading of Django's."""
        plain = _COLOURS.sub("", str(msg))
        if plain.startswith(self._HEADINGS):
            return
        if self._output.as_json:
            if plain.strip():
                self._output.say(plain.strip())
            return
        super().write(msg, style_func, ending)


class JsonStream(OutputWrapper):
    """A command's error stream that writes each message as one JSON object on one line."""

    def __init__(self, out: TextIO | OutputWrapper) -> None:
        super().__init__(out)  # type: ignore[arg-type]
        self.plain = out

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
