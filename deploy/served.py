"""What served an environment, in order: the parameter /rupaya/ENVIRONMENT/served, which the deployment alone writes.

Tags of images do not show it: they name what is, and a rollback must know what was, and what was rolled back from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

# As many as fit in the 4 KB of a parameter that costs nothing.
KEPT = 20


@dataclass(frozen=True)
class Entry:
    """An image that was proved to serve, and whether somebody rolled back from it."""

    digest: str
    version: str
    at: str
    rolled_back: bool = False


class Served:
    """The history of one environment."""

    def __init__(self, ssm: Any, environment: str) -> None:
        self.ssm = ssm
        self.name = f"/rupaya/{environment}/served"
        try:
            value = ssm.get_parameter(Name=self.name)["Parameter"]["Value"]
        except ssm.exceptions.ParameterNotFound:
            value = "[]"
        self.entries = [Entry(**entry) for entry in json.loads(value)]

    def has(self, digest: str) -> bool:
        """Whether this image has ever served here."""
        return any(entry.digest == digest for entry in self.entries)

    def is_rolled_back(self, digest: str) -> bool:
        """Whether somebody rolled back from this image, and nobody has deployed it since."""
        return any(entry.digest == digest and entry.rolled_back for entry in self.entries)

    @property
    def now(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    def before(self) -> Entry | None:
        """The newest image that served before the one that does now, and that nobody has rolled back from."""
        for entry in reversed(self.entries):
            if self.now and entry.digest != self.now.digest and not self.is_rolled_back(entry.digest):
                return entry
        return None

    def deployed(self, digest: str, version: str) -> None:
        """Write down that this image serves; to deploy it again is to change one's mind about it."""
        entries = [replace(entry, rolled_back=False) if entry.digest == digest else entry for entry in self.entries]
        self._write(entries, digest, version)

    def rolled_back_to(self, digest: str, version: str) -> None:
        """Write down that this image serves, and that the one before it was no good."""
        left = self.now.digest if self.now else ""
        entries = [
            replace(entry, rolled_back=True) if entry.digest == left != digest else entry for entry in self.entries
        ]
        self._write(entries, digest, version)

    def _write(self, entries: list[Entry], digest: str, version: str) -> None:
        if not entries or entries[-1].digest != digest:
            entries = [*entries, Entry(digest, version, datetime.now(UTC).isoformat(timespec="seconds"))]
        self.entries = entries[-KEPT:]
        text = json.dumps([asdict(entry) for entry in self.entries], separators=(",", ":"))
        self.ssm.put_parameter(Name=self.name, Type="String", Value=text, Overwrite=True)
