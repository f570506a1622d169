"""Whether a migration's transaction is what it is believed to be, asked of the server and inferred from nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg2
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.django import Key
from rupaya.migrator.errors import MigratorError

COMMITTED = "committed"
ROLLED_BACK = "aborted"


class TransactionEnded(MigratorError):
    """The transaction that a migration began in is no longer the one that is open: the migration ended it."""

    exit_code = 13

    def __init__(self, found: str) -> None:
        super().__init__(
            f"its transaction ended before the migration did: {found}",
            "Something in it executes COMMIT, ROLLBACK or the like, closes the connection, or calls a procedure that "
            "does, so it is no longer all or nothing. It is not recorded.",
            "Remove that statement, or declare the migration `atomic = False`. Look at what it left behind first.",
        )


class DoneByOthers(Exception):
    """Somebody else has recorded a migration that is about to be recorded; ours must be rolled back."""


class RowGone(MigratorError):
    """The ledger's row of the attempt that is under way cannot be closed: somebody changed the ledger."""

    exit_code = 13


@dataclass(frozen=True)
class Transaction:
    """A transaction that was begun: its id, and the backend it was begun on."""

    xid: int
    backend_pid: int

    @classmethod
    def begun(cls, connection: BaseDatabaseWrapper) -> Transaction:
        """The one that is open now; it gets its id by this."""
        with connection.connection.cursor() as cursor:
            cursor.execute("SELECT txid_current(), pg_backend_pid()")
            return cls(*cursor.fetchone())

    def verify(self, connection: BaseDatabaseWrapper) -> None:
        """Make sure that this is the transaction that is open now.

        Raises:
            TransactionEnded: if it is not; nothing may be recorded then.
        """
        with connection.connection.cursor() as cursor:
            # The second column would begin a transaction's id anew where this one is gone: it is compared as well.
            cursor.execute("SELECT pg_backend_pid(), coalesce(txid_current_if_assigned(), 0)")
            backend_pid, xid = cursor.fetchone()
        if backend_pid != self.backend_pid:
            raise TransactionEnded(f"another session (backend pid {backend_pid}) has replaced its own")
        if xid != self.xid:
            raise TransactionEnded(self.describe(connection.connection))

    def outcome(self, by: PgConnection) -> str:
        """What became of it, by the server's word: ``committed``, ``aborted``, ``in progress``, or empty if unknown."""
        try:
            with by.cursor() as cursor:
                cursor.execute("SELECT txid_status(%s)", [self.xid])
                row = cursor.fetchone()
        except psycopg2.Error:
            return ""
        return str(row[0] or "") if row else ""

    def describe(self, by: PgConnection) -> str:
        """What became of it, in words."""
        return {
            COMMITTED: "the server has committed it",
            ROLLED_BACK: "the server has rolled it back",
        }.get(self.outcome(by), "the server has another one open")


class CheckedRecorder(MigrationRecorder):
    """Django's recorder, which asks before each row whether the row will commit together with what it records, and
    tells of each row in the transaction that writes it."""

    def __init__(
        self, connection: BaseDatabaseWrapper, check: Callable[[], None], told: Callable[[str, Key], None]
    ) -> None:
        super().__init__(connection)
        self._check = check
        self._told = told

    def record_applied(self, app: str, name: str) -> None:
        """Write a row, if its transaction is the one that began, and if nobody else has written it.

        Raises:
            DoneByOthers: if somebody has.
        """
        self._check()
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            self._refuse_second(app, name)
            super().record_applied(app, name)
            self._told("apply", (app, name))

    def _refuse_second(self, app: str, name: str) -> None:
        with self.connection.cursor() as cursor:
            # Whoever has written and not committed is waited for, and nobody comes between this and COMMIT.
            cursor.execute(
                'LOCK TABLE "django_migrations" IN SHARE ROW EXCLUSIVE MODE; '
                'SELECT 1 FROM "django_migrations" WHERE app = %s AND name = %s',
                [app, name],
            )
            if cursor.fetchone():
                raise DoneByOthers(f"{app}.{name}")

    def record_unapplied(self, app: str, name: str) -> None:
        """Delete a row, if its transaction is the one that began."""
        self._check()
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            super().record_unapplied(app, name)
            self._told("unapply", (app, name))
