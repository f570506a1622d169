"""One thing in the attic: a column or a table that nobody knows any more, with all that is needed to have it back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

PREFIX = "migrator_attic_"
SCHEMA = "migrator_attic"
"""Where tables are put, if the role may create it; else they stay in their own schema."""

# Why something was put away.
PAID = "paid"
UNAPPLIED = "unapplied"


@dataclass
class Item:
    """A row of `migrator_attic`."""

    table: str
    column: str
    """Empty: the whole table."""
    app: str
    migration: str
    reason: str
    debt_id: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """Its type, default, NOT NULL, comment, schema; the constraints that were dropped; old names of indexes and
    sequences; `fill`: the SQL of what code that knows the column would have written."""
    state: str = "kept"
    id: int | None = None
    release: str = ""
    run_id: int = 0
    put_away_at: datetime | None = None

    @property
    def name(self) -> str:
        """Its name while it is in the attic."""
        return f"{PREFIX}{self.id}"

    @property
    def label(self) -> str:
        """``shop_item.colour``, or ``shop_legacy``."""
        return f"{self.table}.{self.column}" if self.column else self.table

    @property
    def migration_label(self) -> str:
        """As migrations name themselves."""
        return f"{self.app}.{self.migration}"

    @property
    def schema(self) -> str:
        """Where it lies: for a column, empty, for it is where its table is."""
        return str(self.details.get("schema", ""))

    def __str__(self) -> str:
        return f"{self.label} (attic number {self.id}, by {self.migration_label})"
