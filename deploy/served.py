"""What served an environment, in order: the parameter /rupaya/ENVIRONMENT/served, which the deployment alone writes.

Tags of images do not show it: they name what is, and a rollback must know what was, and what was rolled back from. Nor
does it show all that ever ran: what was rolled out and never proved is in it only if somebody rolled back from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from report import DeploymentError, only_fields

# As many as fit in the 4 KB of a parameter that costs nothing.
KEPT = 20


@dataclass(frozen=True)
class Entry:
    """An image that was proved to serve, or that somebody rolled back from, proved or not."""

    digest: str
    version: str
    at: str
    rolled_back: bool = False


class Served:
    """The history of one environment."""

    def __init__(self, ssm: Any, environment: str) -> None:
        self.ssm = ssm
        self.name = f"/rupaya/{environment}/served"
        self.entries = self._read()

    def _read(self) -> list[Entry]:
        try:
            value = self.ssm.get_parameter(Name=self.name)["Parameter"]["Value"]
        except self.ssm.exceptions.ParameterNotFound:
            return []
        try:
            return [Entry(**only_fields(Entry, entry)) for entry in json.loads(value)]
        except (ValueError, TypeError) as error:
            raise DeploymentError(
                f"The parameter {self.name} is no history that a deployment wrote: {error}. Put its last good version "
                f"back; `aws ssm get-parameter-history --name {self.name}` has it."
            ) from error

    def has(self, digest: str) -> bool:
        """Whether this image has ever served here."""
        return any(entry.digest == digest for entry in self.entries)

    def is_rolled_back(self, digest: str) -> bool:
        """Whether somebody rolled back from this image, and nobody has deployed it since."""
        return any(entry.digest == digest and entry.rolled_back for entry in self.entries)

    @property
    def now(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def now_digest(self) -> str:
        return self.now.digest if self.now else ""

    def before(self, serving: str) -> Entry | None:
        """The newest image that served before the one that does now, and that nobody has rolled back from.

        `serving` is the digest of what the service is told to run. A rollback that was begun and never proved, cut off
        perhaps, is gone on with: then that is the answer, even if it runs already.
        """
        cut_off = self.now is not None and self.now.rolled_back
        for entry in reversed(self.entries):
            if (cut_off or entry.digest != serving) and not self.is_rolled_back(entry.digest):
                return entry
        return None

    def deployed(self, digest: str, version: str) -> None:
        """Write down that this image serves; to deploy it again is to change one's mind about it."""
        self._write(digest, version, rolled_back=False)

    def rolling_back_from(self, digest: str, version: str) -> None:
        """Write down that this image is no good: before the rollback begins, which may be cut off anywhere."""
        self._write(digest, version, rolled_back=True)

    def _write(self, digest: str, version: str, *, rolled_back: bool) -> None:
        # Read again: a deployment takes an hour, and another may have written meanwhile.
        entries = [
            replace(entry, rolled_back=rolled_back) if entry.digest == digest else entry for entry in self._read()
        ]
        if not entries or entries[-1].digest != digest:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            entries.append(Entry(digest, version, now, rolled_back))
        self.entries = entries[-KEPT:]
        text = json.dumps([asdict(entry) for entry in self.entries], separators=(",", ":"))
        self.ssm.put_parameter(Name=self.name, Type="String", Value=text, Overwrite=True)
