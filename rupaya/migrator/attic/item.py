"""One thing in the attic: a column or table that was taken out of use, and what it takes to have it back."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rupaya.migrator.schema.catalog import ATTIC

COLUMN = "column"
TABLE = "table"
VALUES = "values"

# Why it was put away.
DEBT = "debt"
ROLLBACK = "rollback"
BACKFILL = "backfill"

KEPT = "kept"
RESTORED = "restored"
PURGED = "purged"
FORGOTTEN = "forgotten"

Fact = dict[str, Any]
"""A constraint or index: ``table``, ``name``, ``kind``, ``definition`` as PostgreSQL prints it."""


@dataclass(frozen=True)
class Origin:
    """On whose behalf something is put away."""

    app: str
    migration: str
    reason: str
    release: str
    run_id: int
    fingerprint: str = ""
    """Of the migration, so that an edited one does not take back what it would make in another form."""


@dataclass
class Item:
    """A row of `migrator_attic`."""

    kind: str
    table: str
    object: str
    """The column's real name; of a table, its own."""
    source: Origin
    details: dict[str, Any] = field(default_factory=dict)
    """``not_null``, ``default``: of a column, what it was. ``constraints``: `Fact` of what was dropped, to be made
    again; ``own``: how many of them, the first, were dropped when it was put away and not before. ``renamed``: the
    indexes and sequences that were renamed, real names by the present ones. ``left``: of what was brought back, what is
    still to be made or made sure of."""
    state: str = KEPT
    id: str = field(default_factory=lambda: secrets.token_hex(5))
    put_away_at: datetime | None = None
    settled_at: datetime | None = None

    @property
    def name(self) -> str:
        """What it is called in the database while it is kept: short, because PostgreSQL cuts names at 63 bytes."""
        return f"{ATTIC}_{self.id}"

    @property
    def key(self) -> tuple[str, str]:
        """App label and name of the migration."""
        return self.source.app, self.source.migration

    @property
    def label(self) -> str:
        """What it was, for people: ``shop_item.colour``."""
        return self.table if self.kind == TABLE else f"{self.table}.{self.object}"

    @property
    def constraints(self) -> list[Fact]:
        """What was dropped with it, and is made again when it comes back."""
        return list(self.details.get("constraints", ()))

    @property
    def left(self) -> list[Fact]:
        """Of what came back: what is still to be made or made sure of."""
        return list(self.details.get("left", ()))

    def __str__(self) -> str:
        return f"{self.kind} {self.label}"
