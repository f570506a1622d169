"""Debts in the ledger: written in the migration's own transaction, on the connection that runs it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from rupaya.migrator.attic.instep import IN_STEP
from rupaya.migrator.debts.debt import Debt

_COLUMNS = (
    "app, migration, operation, action, kind, table_name, object, payment, breaks, details, state, settled_by, "
    "debt_id, release, run_id, owed_at"
)


class DebtStore:
    """Reads and writes `migrator_debts` on Django's connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def _cursor(self) -> CursorWrapper:
        return self.connection.cursor()

    def _fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Debt]:
        with self._cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return [_debt(row) for row in cursor.fetchall()]

    def exists(self) -> bool:
        """Whether the ledger is new enough to know of debts."""
        with self._cursor() as cursor:
            cursor.execute("SELECT to_regclass('migrator_debts') IS NOT NULL")
            return bool(cursor.fetchone()[0])

    def owed(self) -> list[Debt]:
        """All that is owed, in the order in which it is to be paid.

        A column that another one is kept in step with goes last: until then its rules hold for both.
        """
        if not self.exists():
            return []
        return self._fetch(
            f"SELECT {_COLUMNS} FROM migrator_debts WHERE state = 'owed' ORDER BY details ? '{IN_STEP}', debt_id"
        )

    def due(self, pending: Collection[tuple[str, str]]) -> list[Debt]:
        """What may be paid: not of migrations that are still pending, as one that is not atomic may be half done."""
        return [debt for debt in self.owed() if debt.key not in pending]

    def cancelled_by(self, migration: str) -> list[Debt]:
        """What this migration made pointless, and what its being unapplied brings back."""
        if not self.exists():
            return []
        return self._fetch(
            f"SELECT {_COLUMNS} FROM migrator_debts "
            "WHERE state = 'cancelled' AND split_part(settled_by, ' ', 1) = %s ORDER BY debt_id",
            [migration],
        )

    def paid(self) -> list[Debt]:
        """All that was paid of migrations that are in the history."""
        if not self.exists():
            return []
        return self._fetch(
            f"SELECT {_COLUMNS} FROM migrator_debts d WHERE state = 'paid' AND EXISTS ("
            "SELECT FROM django_migrations m WHERE m.app = d.app AND m.name = d.migration) ORDER BY debt_id"
        )

    def never_served(self) -> set[tuple[str, str]]:
        """Migrations applied since the last run that succeeded: no release that has them can be serving."""
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT app, name FROM migrator_attempts WHERE outcome = 'succeeded' AND direction = 'apply' "
                "AND run_id > (SELECT coalesce(max(run_id), 0) FROM migrator_runs WHERE outcome = 'succeeded')"
            )
            return {(app, name) for app, name in cursor.fetchall()}

    def add(self, debt: Debt) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, "
                "breaks, details, release, run_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "RETURNING debt_id",
                [
                    debt.app,
                    debt.migration,
                    debt.operation,
                    debt.action,
                    debt.kind,
                    debt.table,
                    debt.object,
                    json.dumps(debt.payment),
                    debt.breaks,
                    json.dumps(debt.details),
                    debt.release,
                    debt.run_id,
                ],
            )
            debt.id = cursor.fetchone()[0]

    def settle(self, debts: Iterable[Debt], state: str, run_id: int, by: str = "") -> None:
        """Record that debts were ``paid`` or ``cancelled``, by which run, and because of which migration."""
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_debts SET state = %s, settled_run_id = %s, settled_by = %s, "
                "settled_at = clock_timestamp() WHERE debt_id = ANY(%s) AND state = 'owed'",
                [state, run_id, by, [debt.id for debt in debts]],
            )

    def reopen(self, debts: Iterable[Debt]) -> None:
        """Owe again what a migration, which is being unapplied, had cancelled."""
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_debts SET state = 'owed', settled_run_id = NULL, settled_by = '', settled_at = NULL "
                "WHERE debt_id = ANY(%s) AND state = 'cancelled'",
                [[debt.id for debt in debts]],
            )

    def owe_again(self, debt: Debt) -> None:
        """Owe what was paid and is as it was before that."""
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_debts SET state = 'owed', settled_run_id = NULL, settled_by = '', settled_at = NULL "
                "WHERE debt_id = %s AND state = 'paid'",
                [debt.id],
            )

    def undo(self, app: str, migration: str) -> None:
        """Record that a migration is unapplied whose debts were paid: they count no more, were it applied again."""
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE migrator_debts SET state = 'undone' WHERE app = %s AND migration = %s AND state = 'paid'",
                [app, migration],
            )

    def is_owed(self, debt: Debt) -> bool:
        """Whether a debt is still owed, asked with its row locked until the end of the transaction."""
        with self._cursor() as cursor:
            cursor.execute("SELECT state = 'owed' FROM migrator_debts WHERE debt_id = %s FOR UPDATE", [debt.id])
            row = cursor.fetchone()
            return bool(row and row[0])


def _debt(row: Sequence[Any]) -> Debt:
    values = list(row)
    values[7], values[9] = _json(values[7]), _json(values[9])
    return Debt(*values)


def _json(value: Any) -> Any:
    """Django's connections leave jsonb as text."""
    return json.loads(value) if isinstance(value, str) else value
