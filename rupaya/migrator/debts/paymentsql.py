"""What paying a debt does, in forms that keep nobody waiting; each part may be carried out again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.backends.utils import strip_quotes

from rupaya.migrator.debts.debt import Part, concurrently, in_batches, in_transaction, into_the_attic, unhurried
from rupaya.migrator.schema.catalog import ATTIC
from rupaya.migrator.schema.indexbuild import is_partitioned

ROWS_A_BATCH = 2_000


class Payments:
    """Writes payments with a schema editor's quoting and statements."""

    def __init__(self, editor: BaseDatabaseSchemaEditor) -> None:
        self.quote = editor.quote_name
        self._connection: Any = editor.connection

    def put_away_column(self, table: str, column: str, first: Sequence[str] = ()) -> list[Part]:
        """One short lock. Under which name it is kept is settled when it is paid."""
        return [into_the_attic(f"{self._alter(table)} RENAME COLUMN {self.quote(column)} TO {ATTIC}_…", first)]

    def put_away_table(self, table: str) -> list[Part]:
        """One short lock, likewise."""
        return [into_the_attic(f"{self._alter(table)} SET SCHEMA {ATTIC}")]

    def forget_column(self, table: str, column: str, first: Sequence[str] = ()) -> list[Part]:
        """One short lock; CASCADE is Django's."""
        return [into_the_attic(f"{self._alter(table)} DROP COLUMN IF EXISTS {self.quote(column)} CASCADE", first)]

    def forget_table(self, table: str) -> list[Part]:
        """One short lock; CASCADE is Django's."""
        return [into_the_attic(f"DROP TABLE IF EXISTS {self.quote(table)} CASCADE")]

    def drop_default(self, table: str, column: str) -> list[Part]:
        """One short lock."""
        return [in_transaction(f"{self._alter(table)} ALTER COLUMN {self.quote(column)} DROP DEFAULT")]

    def set_not_null(self, table: str, column: str, fill: str = "") -> list[Part]:
        """Through a CHECK, which is validated without a lock that anybody minds; `fill`: SQL for what is NULL now."""
        name = f"migrator_owed_{hashlib.sha256(f'{table}.{column}'.encode()).hexdigest()[:12]}"
        here, what = self._alter(table), self.quote(column)
        filling = (
            [
                in_batches(
                    f"UPDATE {self.quote(table)} SET {what} = {fill} WHERE {what} IS NULL AND ctid = ANY (ARRAY("
                    f"SELECT ctid FROM {self.quote(table)} WHERE {what} IS NULL LIMIT {ROWS_A_BATCH}))"
                )
            ]
            if fill
            else []
        )
        return [
            *filling,
            in_transaction(f"{here} ADD CONSTRAINT {name} CHECK ({what} IS NOT NULL) NOT VALID", constraint=name),
            unhurried(f"{here} VALIDATE CONSTRAINT {name}"),
            in_transaction(f"{here} ALTER COLUMN {what} SET NOT NULL", f"{here} DROP CONSTRAINT IF EXISTS {name}"),
        ]

    def set_type(self, table: str, column: str, new_type: str, collation: str, index: Statement | None) -> list[Part]:
        """A rewrite under a lock: PostgreSQL has no other way. Without USING, so that no value is cut short.

        `index` is the one for LIKE, which has to be rebuilt.
        """
        collate = f" COLLATE {self.quote(collation)}" if collation else ""
        statement = f"{self._alter(table)} ALTER COLUMN {self.quote(column)} TYPE {new_type}{collate}"
        if index is None:
            return [in_transaction(statement)]
        return [in_transaction(f"DROP INDEX IF EXISTS {index.parts['name']}", statement, str(index))]

    def add_constraint(self, statement: Statement | str, table: str, name: str, *, validate: bool = True) -> list[Part]:
        """A CHECK or a foreign key: enforced from now on, and only then made sure of for what is there.

        At once, where a partitioned table refers to another: before version 18 the server knows no other way.
        """
        connection = self._connection
        is_key = "FOREIGN KEY" in str(statement)
        if is_key and connection.pg_version < 180000 and is_partitioned(connection, self.quote(table)):
            return [in_transaction(str(statement), constraint=name)]
        parts = [in_transaction(f"{statement} NOT VALID", constraint=name)]
        return [*parts, *self.validate(table, name)] if validate else parts

    def validate(self, table: str, name: str) -> list[Part]:
        """Nobody waits for it."""
        return [unhurried(f"{self._alter(table)} VALIDATE CONSTRAINT {self.quote(name)}")]

    def add_unique(self, statement: Statement) -> list[Part]:
        """An index made concurrently; and a constraint over it, unless Django makes do with the index.

        At once, where the table is partitioned: no constraint takes over an index there.
        """
        name = strip_quotes(str(statement.parts["name"]))
        text = str(statement)
        if text.startswith("CREATE UNIQUE INDEX "):
            return [self.add_index(text, name)]
        table, quoted = statement.parts["table"], self.quote(name)
        if is_partitioned(self._connection, str(table)):
            return [in_transaction(text, constraint=name)]
        distinct, deferrable = (statement.parts.get(part) or "" for part in ("nulls_distinct", "deferrable"))
        return [
            concurrently(
                f"CREATE UNIQUE INDEX CONCURRENTLY {quoted} ON {table} ({statement.parts['columns']}){distinct}",
                index=name,
            ),
            in_transaction(
                f"ALTER TABLE {table} ADD CONSTRAINT {quoted} UNIQUE USING INDEX {quoted}{deferrable}", constraint=name
            ),
        ]

    def add_index(self, statement: Statement | str, name: str) -> Part:
        return concurrently(str(statement).replace(" INDEX ", " INDEX CONCURRENTLY ", 1), index=name)

    def drop_indexes(self, names: Iterable[str]) -> list[Part]:
        return [concurrently(f"DROP INDEX CONCURRENTLY IF EXISTS {self.quote(name)}", drops=name) for name in names]

    def _alter(self, table: str) -> str:
        return f"ALTER TABLE {self.quote(table)}"
