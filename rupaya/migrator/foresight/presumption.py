"""What a migration takes for granted of the rows that are there: one thing, in the words of the catalog.

Names are those of the moment at which the migration makes its demand: after the renames before it in the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NOT_NULL = "not null"
CHECK = "check"
UNIQUE = "unique"
FOREIGN_KEY = "foreign key"
TYPE = "type"
EMPTY = "no rows"
EXPRESSION = "expression"
EXCLUSION = "exclusion"
INDEX_SIZE = "index size"
KINDS = (NOT_NULL, CHECK, UNIQUE, FOREIGN_KEY, TYPE, EMPTY, EXPRESSION, EXCLUSION, INDEX_SIZE)

LONGEST_KEY_BYTES = 2704
"""A B-tree refuses what is longer, compressed as it is stored: three must have room on a page."""

MATCH_FULL = "MATCH FULL"

EVERY_TABLE = "*"
"""Of what a migration writes: it has code of its own, which may write to any."""


@dataclass(frozen=True)
class Presumption:
    """One demand on the rows of one table."""

    kind: str
    table: str
    name: str
    """The column, constraint or index that makes the demand."""
    columns: tuple[str, ...]
    """All that must be there to ask it."""
    keys: tuple[str, ...] = ()
    """Of a unique index: its expressions. Of a foreign key: the columns that refer. Of long values: their columns."""
    condition: str = ""
    """Of a CHECK: itself. Of an index: which rows are in it. Of an expression: itself, and its rows in `using`. Of a
    foreign key: `MATCH_FULL`, where it is one."""
    nulls_distinct: bool = True
    target: str = ""
    """Of a foreign key: the table that is referred to."""
    target_keys: tuple[str, ...] = ()
    old_type: str = ""
    new_type: str = ""
    using: str = ""
    """Of a new type: how values become it, where the migration says so."""
    is_text: bool = False
    """Whether the old type is one of texts, which become the new one as if they were typed in."""

    def __str__(self) -> str:
        match self.kind:
            case "not null":
                return f"no NULL in {self.table}.{self.name}"
            case "check":
                return f"no row of {self.table} against CHECK {self.name}: {self.condition}"
            case "unique":
                rows = f" where {self.condition}" if self.condition else ""
                return f"no doubles in {self.table} ({', '.join(self.keys)}){rows}, for {self.name}"
            case "foreign key":
                return f"no orphans in {self.table} ({', '.join(self.keys)}), which {self.name} wants in {self.target}"
            case "type":
                return f"no value of {self.table}.{self.name} that {self.new_type} cannot hold (now {self.old_type})"
            case "expression":
                return f"no row of {self.table} that {self.condition} cannot be computed for, which {self.name} wants"
            case "index size":
                of = f"{self.table} ({', '.join(self.keys)})"
                return f"no value of {of} of more than {LONGEST_KEY_BYTES} bytes, which {self.name} cannot hold"
            case "no rows":
                return f"no rows in {self.table}, because its new column {self.name} is NOT NULL without a default"
            case _:
                return f"no two rows of {self.table} that {self.name} excludes"


@dataclass
class Presumed:
    """What one migration presumes, and what of names and rows it changes itself."""

    hash: str = ""
    """Of the migration's file: another one presumes something else."""
    presumptions: list[Presumption] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    """Tables that it makes."""
    added: dict[str, list[str]] = field(default_factory=dict)
    """Columns that it adds to tables that were there, by the table's name after it."""
    renamed_tables: dict[str, str] = field(default_factory=dict)
    """Old names by new ones."""
    renamed_columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """Old names by new ones, by the table's name after it."""
    removed: dict[str, list[str]] = field(default_factory=dict)
    """Tables and views that nobody finds by their names after it, and columns of others; of the former, no column."""
    removed_routines: list[str] = field(default_factory=list)
    """Functions and procedures that are gone, with their arguments; those of triggers go with these."""
    removed_types: list[str] = field(default_factory=list)
    """Enums, domains, ranges and composite types that nobody finds by their names after it."""
    writes: list[str] = field(default_factory=list)
    """Tables whose rows it changes; `EVERY_TABLE`: nobody knows."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without what is empty."""
        plain = {name: value for name, value in asdict(self).items() if value}
        plain["presumptions"] = [_plain(presumption) for presumption in self.presumptions]
        if not self.presumptions:
            del plain["presumptions"]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Presumed:
        """What `as_dict` gave."""
        values = dict(plain)
        values["presumptions"] = [Presumption(**_tuples(item)) for item in plain.get("presumptions", [])]
        return cls(**values)


def _tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}


def _plain(presumption: Presumption) -> dict[str, Any]:
    default = Presumption("", "", "", ())
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(presumption).items()
        if value != getattr(default, name) or name in ("kind", "table", "name", "columns")
    }
