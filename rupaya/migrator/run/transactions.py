"""Whether a migration's transaction is what it is believed to be, asked of the server and inferred from nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg2
from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.django import Key
from rupaya.migrator.errors import MigratorError

COMMITTED = "committed"
ROLLED_BACK = "aborted"
UNDER_WAY = "in progress"


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


class TransactionLeftOpen(MigratorError):
    """A migration or a handler began a transaction and did not end it: nothing from there on would be committed."""

    exit_code = 13

    def __init__(self) -> None:
        super().__init__(
            "it left a transaction open, which nobody would have committed",
            "What was done in that transaction was rolled back.",
            "Let it end what it begins: `with transaction.atomic()`, or commit() and set_autocommit(True).",
        )


@dataclass(frozen=True)
class Depth:
    """How deep a connection is in blocks of `atomic()`."""

    blocks: int
    savepoints: int

    @classmethod
    def of(cls, connection: BaseDatabaseWrapper) -> Depth:
        """That of a connection now."""
        return cls(len(connection.atomic_blocks), len(connection.savepoint_ids))

    def come_back(self, connection: BaseDatabaseWrapper) -> bool:
        """Leave what was entered since and is still open, rolled back; whether there was anything.

        Inside a block the rollback is that block's: it must be left by an exception.
        """
        if connection.connection is None or connection.closed_in_transaction:
            return False  # nothing is open in a session that is gone
        raw = connection.connection
        is_idle = raw.closed or raw.info.transaction_status == TRANSACTION_STATUS_IDLE
        if len(connection.atomic_blocks) == self.blocks and (self.blocks or (connection.autocommit and is_idle)):
            return False
        del connection.atomic_blocks[self.blocks :]
        del connection.savepoint_ids[self.savepoints :]
        if not self.blocks:
            connection.in_atomic_block = connection.needs_rollback = False
            with suppress(psycopg2.Error, DatabaseError):  # it may be lost
                raw.rollback()
                connection.set_autocommit(True)
                # Begun by SQL, of which the driver knows not:
                if raw.info.transaction_status != TRANSACTION_STATUS_IDLE:
                    with raw.cursor() as cursor:
                        cursor.execute("ROLLBACK")
        return True

    def refuse_deeper(self, connection: BaseDatabaseWrapper) -> None:
        """Come back, and let nothing go on as if what was open had been committed.

        Raises:
            TransactionLeftOpen: if anything was open.
        """
        if self.come_back(connection):
            raise TransactionLeftOpen


class DoneByOthers(Exception):
    """Somebody else has recorded a migration that is about to be recorded; ours must be rolled back."""


class RowGone(MigratorError):
    """The ledger's row of the attempt that is under way cannot be closed: somebody changed the ledger."""

    exit_code = 13


_OPEN = "pg_backend_pid(), coalesce(txid_current_if_assigned(), 0)"
"""SQL: the backend, and the id of the transaction that is open there. It begins none where there is none."""
# Whoever has written and not committed is waited for, and nobody comes between this and COMMIT.
_LOCK_AND_LOOK = f"""
    LOCK TABLE "django_migrations" IN SHARE ROW EXCLUSIVE MODE;
    SELECT {_OPEN}, (
        SELECT coalesce(json_agg(json_build_array(app, name)), '[]')
        FROM "django_migrations" JOIN unnest(%s::text[], %s::text[]) AS asked (app, name) USING (app, name))
"""  # noqa: S608 - constants

_IMMEDIATE = """
    SELECT string_agg(DISTINCT format('%I.%I', n.nspname, c.conname), ', ')
    FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE c.condeferrable AND NOT c.condeferred
"""


def check_deferred_constraints(connection: BaseDatabaseWrapper) -> None:
    """Check now what is to be checked at the end of the transaction, as a commit would between two migrations.

    A table whose rows wait for that cannot be altered (55006). Afterwards each constraint is checked when it was.

    Raises:
        django.db.IntegrityError: for rows that a constraint does not allow.
    """
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; " + _IMMEDIATE)
        ((immediate,),) = cursor.fetchall()
        if immediate:
            cursor.execute(f"SET CONSTRAINTS {immediate} IMMEDIATE")


def has_temporary_tables(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session has any: a commit may drop them, and the server tells nobody of which (ON COMMIT DROP)."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema())")
        return bool(cursor.fetchone()[0])


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
            cursor.execute(f"SELECT {_OPEN}")
            backend_pid, xid = cursor.fetchone()
        self.compare(backend_pid, xid, connection)

    def compare(self, backend_pid: int, xid: int, connection: BaseDatabaseWrapper) -> None:
        """Make sure that what the server has said of the transaction that is open now is said of this one.

        Raises:
            TransactionEnded: if it is not; nothing may be recorded then.
        """
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
        self,
        connection: BaseDatabaseWrapper,
        began: Callable[[], Transaction | None],
        may_have_ended: Callable[[], bool],
        told: Callable[[str, Key], None],
    ) -> None:
        super().__init__(connection)
        self.coming: frozenset[Key] = frozenset()
        """What will be recorded in the same transaction: looked for at once, because the lock stays to its end."""
        self._began = began
        self._may_have_ended = may_have_ended
        self._told = told
        self._locked_in: Transaction | None = None
        self._asked: frozenset[Key] = frozenset()
        self._there: set[Key] = set()

    def record_applied(self, app: str, name: str) -> None:
        """Write a row, if its transaction is the one that began, and if nobody else has written it.

        Raises:
            DoneByOthers: if somebody has.
        """
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            self._refuse_second((app, name))
            super().record_applied(app, name)
            self._told("apply", (app, name))

    def _refuse_second(self, key: Key) -> None:
        began = self._began()
        if began is None or began != self._locked_in or key not in self._asked or self._may_have_ended():
            asked = self.coming | {key}
            with self.connection.cursor() as cursor:
                cursor.execute(_LOCK_AND_LOOK, [list(names) for names in zip(*asked, strict=True)])
                backend_pid, xid, there = cursor.fetchone()
            if began is not None:
                began.compare(backend_pid, xid, self.connection)
            self._locked_in, self._asked, self._there = began, asked, {(app, name) for app, name in there}
        if key in self._there:
            raise DoneByOthers(f"{key[0]}.{key[1]}")

    def record_unapplied(self, app: str, name: str) -> None:
        """Delete a row, if its transaction is the one that began."""
        if began := self._began():
            began.verify(self.connection)
        with transaction.atomic(using=self.connection.alias, savepoint=False):
            super().record_unapplied(app, name)
            self._told("unapply", (app, name))
