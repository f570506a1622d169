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
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if path:
            with Path(path).open("a", encoding="utf-8") as summary:
                summary.write(f"## {self.title}\n\n{verdict}\n\n{table}{details}\n")

    @staticmethod
    def output(name: str, value: str) -> None:
        """Hand a value to the steps that follow."""
        path = os.environ.get("GITHUB_OUTPUT")
        if path:
            with Path(path).open("a", encoding="utf-8") as outputs:
                outputs.write(f"{name}={value}\n")


def only_fields(known: type, written: Mapping[str, Any]) -> dict[str, Any]:
    """What was written down, without what only a newer release writes there.

    Raises:
        TypeError, ValueError: if it is something else than a dictionary.
    """
    names = {item.name for item in fields(known)}
    return {name: value for name, value in dict(written).items() if name in names}
