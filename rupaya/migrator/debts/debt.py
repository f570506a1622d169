"""One debt: what was not done of a migration, as code of an older release would not survive it, and how it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rupaya.migrator.statements import as_stored

# What is owed, by the object it is about. Those of a column are pointless once the column itself is owed.
COLUMN = "column"
TABLE = "table"
DEFAULT = "default"
DATABASE_DEFAULT = "database default"
NOT_NULL = "not null"
TYPE = "type"
UNIQUE = "unique"
CHECK = "check"
CONSTRAINT = "constraint"
FOREIGN_KEY = "foreign key"
VALIDATION = "validation"
INDEX = "index"
OPERATION = "operation"
# What older code, which knows of none of it, does not notice when it is paid: no statement fails of it.
UNNOTICED = (INDEX, VALIDATION)
KINDS = (
    COLUMN,
    TABLE,
    DEFAULT,
    DATABASE_DEFAULT,
    NOT_NULL,
    TYPE,
    UNIQUE,
    CHECK,
    CONSTRAINT,
    FOREIGN_KEY,
    VALIDATION,
    INDEX,
    OPERATION,
)

Part = dict[str, Any]
"""A part of a payment: ``how`` it is carried out, and what ``sql``.

``transaction``: all in one transaction. ``concurrently``: one statement outside any. ``batches``: one statement, again
until it changes no row. ``operation``: the migration's own code. ``attic``: the column or table is put away. With
``constraint`` or ``index``: the name of what it makes, so that it is not made twice; ``drops``: of what it takes away.
``first``: what is executed before in the same transaction.
"""


def in_transaction(*sql: str, constraint: str = "") -> Part:
    """Statements in one short transaction; not again where the table has `constraint` already."""
    return {"how": "transaction", "sql": list(sql)} | ({"constraint": constraint} if constraint else {})


def unhurried(sql: str) -> Part:
    """A statement in a transaction of its own that may take long, because it keeps nobody from reading or writing."""
    return {"how": "unhurried", "sql": [sql]}


def concurrently(sql: str, index: str = "", drops: str = "") -> Part:
    """A statement that PostgreSQL refuses inside a transaction; `index`: the name of the index that it makes."""
    named = {name: value for name, value in (("index", index), ("drops", drops)) if value}
    return {"how": "concurrently", "sql": [sql]} | named


def in_batches(sql: str) -> Part:
    """A statement that changes a few rows, to be repeated until it changes none."""
    return {"how": "batches", "sql": [sql]}


def into_the_attic(sql: str, first: Sequence[str] = ()) -> Part:
    """Putting away the debt's column or table, in one short transaction; `sql` is what people are shown of it.

    `first` is executed in that transaction, before.
    """
    return {"how": "attic", "sql": [*first, sql]} | ({"first": list(first)} if first else {})


def by_operation(*sql: str) -> Part:
    """The migration's operation itself; `sql` is what people are shown of it."""
    return {"how": "operation", "sql": list(sql)}


@dataclass
class Debt:
    """A row of `migrator_debts`."""

    app: str
    migration: str
    operation: str
    """Its place in the migration: ``2``, or ``2.0`` for the first one inside a SeparateDatabaseAndState."""
    action: str
    """What the operation says of itself: ``Remove field colour from item``."""
    kind: str
    table: str
    object: str
    """The column, constraint or index; the table's own name for a table."""
    payment: list[Part]
    breaks: str
    """What old code could not do any more once it is paid."""
    details: dict[str, Any] = field(default_factory=dict)
    """What later migrations and an unapplying need to know: columns, the type before, how to undo the half done;
    ``in_step``: the column that has the values of this one, and ``besides`` what else of the table is owed with it."""
    state: str = "owed"
    settled_by: str = ""
    id: int | None = None
    release: str = ""
    run_id: int = 0
    owed_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """App label and name of the migration."""
        return self.app, self.migration

    @property
    def migration_label(self) -> str:
        """As migrations name themselves: ``shop.0002_change``."""
        return f"{self.app}.{self.migration}"

    @property
    def statements(self) -> list[str]:
        """What paying it executes, for people."""
        return [sql for part in self.payment for sql in part["sql"]]

    @property
    def columns(self) -> list[str]:
        """The columns of the table that it is about, as far as they are known."""
        return list(self.details.get("columns", ()))

    @property
    def names(self) -> set[str]:
        """What of its table paying it makes, takes away or changes, as the server has the names."""
        of_parts = {part[name] for part in self.payment for name in ("constraint", "index", "drops") if name in part}
        return set(map(as_stored, {self.object, *self.columns, *self.details.get("besides", ()), *of_parts}))

    def of_column(self, old: str, new: str) -> Debt:
        """The same of a column that was renamed; constraints and indexes keep their names, as in PostgreSQL."""

        def renamed(sql: str) -> str:
            return sql.replace(f'"{old}"', f'"{new}"')

        details = self.details | {"columns": [new if column == old else column for column in self.columns]}
        if "keep" in details:
            details["keep"] = renamed(details["keep"])
        return replace(
            self,
            object=new if self.object == old else self.object,
            payment=[part | {"sql": [renamed(sql) for sql in part["sql"]]} for part in self.payment],
            details=details,
            id=None,
        )

    @property
    def identity(self) -> tuple[str, ...]:
        """What the same operation owes of the same object has the same."""
        return self.app, self.migration, self.operation, self.kind, self.table, self.object

    def __str__(self) -> str:
        what = self.table if self.kind == TABLE else f"{self.kind} {self.table}.{self.object}"
        return f"{self.migration_label} ({self.action}): {what}"
