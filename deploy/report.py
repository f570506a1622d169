"""What people read of a deployment, and how one fails."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


class DeploymentError(Exception):
    """What was to be deployed does not serve. The text says why, in sentences; `details` are Markdown."""

    def __init__(self, text: str, details: str = "") -> None:
        self.details = details
        super().__init__(text)


@dataclass
class Report:
    """What people read: lines as they happen, and Markdown for the job's summary at the end."""

    title: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)
    stands: str = "Nothing has changed for what serves."
    """How things stand, should this end here: what was begun goes on without anybody to watch it."""

    def say(self, line: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self.started_at:6.0f} s  {line}", flush=True)

    def fact(self, name: str, value: str) -> None:
        """Print something that the summary names too."""
        self.facts.append((name, value))
        self.say(f"{name}: {value}")

    def close(self, verdict: str, details: str = "") -> None:
        """Write the job's summary, where there is one."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in self.facts)
        table = f"| | |\n|---|---|\n{rows}\n" if rows else ""
        self._append("GITHUB_STEP_SUMMARY", f"## {self.title}\n\n{verdict}\n\n{table}{details}\n")

    def output(self, name: str, value: str) -> None:
        """Hand a value to the steps that follow."""
        self._append("GITHUB_OUTPUT", f"{name}={value}\n")

    def _append(self, variable: str, text: str) -> None:
        """Add to the file that a variable names; what cannot be written there ends no deployment."""
        path = os.environ.get(variable)
        if not path:
            return
        try:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self.say(f"{variable} cannot be written: {error}")


def only_fields(known: type, written: Mapping[str, Any]) -> dict[str, Any]:
    """What was written down, without what only a newer release writes there.

    Raises:
        TypeError, ValueError: if it is something else than a dictionary.
    """
    names = {item.name for item in fields(known)}
    return {name: value for name, value in dict(written).items() if name in names}
