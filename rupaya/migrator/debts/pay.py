"""Pays one debt: in forms that keep nobody waiting, each part harmless to repeat, recorded with the last one.

A lock that is not obtained in time is the caller's to try again; what was done up to then is not done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from django.db import DatabaseError, Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from rupaya.migrator.attic.instep import IN_STEP
from rupaya.migrator.attic.item import DEBT, Origin
from rupaya.migrator.attic.putting import forget, put_away_column, put_away_table
from rupaya.migrator.debts import leftovers
from rupaya.migrator.debts.debt import TABLE, Debt, Part
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.schema.indexbuild import drop_index, make_index
from rupaya.migrator.sessionsettings import session_settings

_HAS_CONSTRAINT = (
    "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(%s)) AND conname = %s)"
)


@dataclass(frozen=True)
class Limits:
    """How long one statement may wait for a lock, and how long one in a short transaction may run; 0: no limit."""

    lock_timeout_ms: int
    statement_timeout_ms: int
    patience_ms: int = 0
    """How long what is done concurrently may wait for other people's transactions to end; nobody queues behind it."""


class Payer:
    """Pays debts on Django's connection, which is in no transaction."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        limits: Limits,
        *,
        run_id: int,
        loader: MigrationLoader | None = None,
        before_part: Callable[[Debt, int], None] | None = None,
    ) -> None:
        self.connection = connection
        self.limits = limits
        self.run_id = run_id
        self.store = DebtStore(connection)
        self.loader = loader
        self.before_part = before_part or (lambda debt, number: None)
        """Called with the number of each part before it is begun: to look whether to stop."""

    def pay(self, debt: Debt) -> bool:
        """Do what is owed and record it; False if it was not owed any more.

        Raises:
            DatabaseError: as the server says; the debt is still owed, and paying it again goes on from there.
            HistoryRefused: if it needs a migration's own code that this release does not have.
        """
        with transaction.atomic(using=self.connection.alias):
            if not self.store.is_owed(debt):
                return False
        try:
            self._carry_out_all(debt)
        except BaseException:
            self._take_back_unproved(debt)
            raise
        return True

    def _carry_out_all(self, debt: Debt) -> None:
        last = len(debt.payment) - 1
        for number, part in enumerate(debt.payment):
            self.before_part(debt, number)
            settles = number == last and part["how"] in ("transaction", "unhurried", "operation", "attic")
            self._carry_out(debt, part, settles=settles)
            if settles:
                return
        with transaction.atomic(using=self.connection.alias):
            self._settle(debt)

    def _take_back_unproved(self, debt: Debt) -> None:
        """Let rows that break what could not be made sure of be written as before."""
        with (
            suppress(Error, psycopg2.Error),  # lost or locked; whoever says what became of it looks
            self._limited(self.limits.lock_timeout_ms, self.limits.statement_timeout_ms),
        ):
            for sql in leftovers.unproved(self.connection, debt).values():
                self._execute([sql])

    def _settle(self, debt: Debt) -> None:
        self.store.settle([debt], "paid", self.run_id)

    def _carry_out(self, debt: Debt, part: Part, *, settles: bool) -> None:
        how, limits = part["how"], self.limits
        if how == "operation":
            self._run_operation(debt)
            return
        if how == "attic":
            with (
                self._limited(limits.lock_timeout_ms, limits.statement_timeout_ms),
                transaction.atomic(using=self.connection.alias),
            ):
                self._execute(part.get("first", ()))
                self._put_away(debt)
                self._settle(debt)
            return
        if how == "concurrently":
            # Its locks keep neither readers nor writers waiting. What it waits for are other people's transactions,
            # and the server counts that as waiting for a lock; how long it works is not limited.
            with self._limited(limits.patience_ms, 0):
                self._concurrently(part)
            return
        if how == "batches":
            with self._limited(limits.lock_timeout_ms, 0):
                while self._execute(part["sql"]):
                    pass
            return
        statement_timeout_ms = limits.statement_timeout_ms if how == "transaction" else 0
        with (
            self._limited(limits.lock_timeout_ms, statement_timeout_ms),
            transaction.atomic(using=self.connection.alias),
        ):
            if not self._is_made(debt, part):
                self._execute(part["sql"])
            if settles:
                self._settle(debt)

    def _put_away(self, debt: Debt) -> None:
        source = Origin(debt.app, debt.migration, DEBT, debt.release, self.run_id)
        details = debt.details
        if details.get("forget"):
            forget(self.connection, debt.kind, debt.table, debt.object, source)
        elif debt.kind == TABLE:
            put_away_table(self.connection, debt.table, source, dropped_before=details.get("dropped", ()))
        else:
            put_away_column(
                self.connection,
                debt.table,
                debt.object,
                source,
                dropped_before=details.get("dropped", ()),
                was_not_null=bool(details.get("not_null")),
                default_before=details.get("default"),
                in_step=details.get(IN_STEP, ""),
            )

    def _is_made(self, debt: Debt, part: Part) -> bool:
        name = part.get("constraint")
        return bool(name) and bool(self._value(_HAS_CONSTRAINT, [debt.table, name]))

    def _concurrently(self, part: Part) -> None:
        """Make or drop an index; one that an interruption left invalid is rebuilt."""
        if name := part.get("drops"):
            drop_index(self.connection, name)
        elif name := part.get("index"):
            try:
                make_index(self.connection, name, part["sql"][0])
            except DatabaseError:
                # An invalid unique index still refuses rows.
                with suppress(DatabaseError, psycopg2.Error):
                    drop_index(self.connection, name)
                raise
        else:
            self._execute(part["sql"])

    def _run_operation(self, debt: Debt) -> None:
        migration = self.loader.disk_migrations.get(debt.key) if self.loader and self.loader.disk_migrations else None
        if self.loader is None or migration is None:
            raise HistoryRefused(
                f"{debt} is owed, and this release does not have the migration.",
                "What it does is in the migration's own code; nothing was changed.",
                "Pay it with the release that brought it, or with one that still has the migration.",
            )
        state = self.loader.project_state(debt.key, at_end=False)
        operations = migration.operations
        operation: Any = None
        for place in map(int, debt.operation.split(".")):
            for earlier in operations[:place]:
                earlier.state_forwards(debt.app, state)
            operation = operations[place]
            operations = getattr(operation, "database_operations", [])
        to_state = state.clone()
        operation.state_forwards(debt.app, to_state)
        limits = self.limits
        with (
            self._limited(limits.lock_timeout_ms, limits.statement_timeout_ms if migration.atomic else 0),
            self.connection.schema_editor(atomic=migration.atomic) as editor,
        ):
            operation.database_forwards(debt.app, editor, state, to_state)
            self._settle(debt)

    def _limited(self, lock_timeout_ms: int, statement_timeout_ms: int) -> AbstractContextManager[None]:
        return session_settings(self.connection, lock_timeout=lock_timeout_ms, statement_timeout=statement_timeout_ms)

    def _execute(self, statements: Sequence[str]) -> int:
        """Execute statements as they are; the rows that the last one changed."""
        rows = 0
        with self.connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql, None)
                rows = cursor.rowcount
        return rows

    def _value(self, sql: str, parameters: Sequence[Any]) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            row = cursor.fetchone()
            return row[0] if row else None
