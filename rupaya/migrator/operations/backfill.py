"""Operations for tables that are big and in use."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import time
from dataclasses import dataclass
from typing import Any

from django.db import NotSupportedError, OperationalError, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState

from rupaya.migrator.django import table_of
from rupaya.migrator.errors import driver_text, sqlstate
from rupaya.migrator.operations.kept import KeptValues, columns_set
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.sqlstates import RETRYABLE

PROGRESS_EVERY_S = 5.0
TRIES_PER_BATCH = 6
RETRY_FIRST_S = 0.2
# Rows that old code wrote meanwhile, behind the position, are found by looking again; not for ever, as it may go on.
MAX_PASSES = 3

POSITIONS_TABLE = "migrator_backfills"
_CREATE_POSITIONS = f"""
    CREATE TABLE IF NOT EXISTS {POSITIONS_TABLE} (
        id text PRIMARY KEY,
        app text NOT NULL,
        table_name text NOT NULL,
        last_key text NOT NULL,
        rows_read bigint NOT NULL,
        rows_set bigint NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
"""

# Said of a connection on which all is tried in one transaction and rolled back.
MAY_BE_IN_A_TRANSACTION = "rupaya_may_be_in_a_transaction"

logger = logging.getLogger(__name__)


@dataclass
class _Position:
    """Where a backfill stands: the last key of the last committed batch, as text, and what was done up to it."""

    last_key: str | None = None
    rows_read: int = 0
    rows_set: int = 0


class Backfill(Operation):
    """Fill a column of a big table in batches, each in a short transaction of its own.

    ``Backfill("Transaction", set="merchant = lower(description)", where="merchant IS NULL")`` is
    ``UPDATE … SET merchant = lower(description) WHERE merchant IS NULL``, a few thousand rows at a time, in the order
    of the primary key. The position is committed with each batch, so that a backfill that was killed goes on where it
    was. `where` must not hold any more for a row that was set: this makes it harmless to run again, and is checked.

    The migration must say ``atomic = False``. Reversing does nothing, unless `keep` is true: then the values that are
    overwritten are kept in the attic, and reversing gives them back to the rows that nobody has changed since.
    """

    reversible = True
    category = OperationCategory.SQL

    def __init__(
        self,
        model_name: str,
        *,
        set: str,  # noqa: A002 - SQL's own word
        where: str,
        batch_size: int = 5_000,
        pause_s: float = 0.05,
        keep: bool = False,
        elidable: bool = False,
    ) -> None:
        """Take the model's name, SQL for SET and for WHERE, rows a batch, and seconds to rest after each.

        Raises:
            ValueError: for an empty `set` or `where`, numbers that make no sense, or columns that cannot be found out.
        """
        if not set.strip() or not where.strip():
            raise ValueError("Backfill needs both set= and where=; where= says which rows are still to be done.")
        if batch_size < 1 or pause_s < 0:
            raise ValueError("Backfill needs a batch_size of at least 1 and a pause_s of at least 0.")
        self.model_name = model_name
        self.set = set
        self.where = where
        self.batch_size = batch_size
        self.pause_s = pause_s
        self.keep = keep
        self.columns = columns_set(set) if keep else []
        self.elidable = elidable  # type: ignore[misc]  # as Django's RunSQL does

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """How `squashmigrations` writes it."""
        kwargs: dict[str, Any] = {
            "set": self.set,
            "where": self.where,
            "batch_size": self.batch_size,
            "pause_s": self.pause_s,
        }
        if self.keep:
            kwargs["keep"] = True
        if self.elidable:
            kwargs["elidable"] = True
        return type(self).__name__, [self.model_name], kwargs

    def describe(self) -> str:
        return f"Backfill {self.model_name} in batches of {self.batch_size}: set {self.set} where {self.where}"

    @property
    def fills_only_null(self) -> bool:
        """Whether it overwrites no value, so that there is nothing to keep."""
        try:
            columns = columns_set(self.set)
        except ValueError:
            return False
        where = self.where.lower().replace('"', "")
        conjuncts = {" ".join(part.split()) for part in re.split(r"\band\b", where)}
        is_plain = not re.search(r"\bor\b|\bnot\s*\(|\bcase\b", where)
        return is_plain and all(f"{column.lower()} is null" in conjuncts for column in columns)

    @property
    def migration_name_fragment(self) -> str:
        """Part of an automatic migration name."""
        return f"backfill_{self.model_name.lower()}"

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing: the models stay as they are."""

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Give back what was kept; else nothing: the rows stay as they are."""
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.keep or not router.allow_migrate_model(schema_editor.connection.alias, model):
            return
        run = _Run(self, app_label, model, schema_editor.connection)
        run.kept.give_back()

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Do all batches from the last committed one on.

        Raises:
            NotSupportedError: in an atomic migration, and for a primary key of several columns.
            ValueError: if `where` still holds for a row that was set; the batch is rolled back.
            OperationalError: if a batch met a lock again and again.
        """
        model = from_state.apps.get_model(app_label, self.model_name)
        connection = schema_editor.connection
        if not router.allow_migrate_model(connection.alias, model):  # an unmanaged table has rows as well
            return
        is_tried = getattr(connection, MAY_BE_IN_A_TRANSACTION, False)
        if schema_editor.atomic_migration or (connection.in_atomic_block and not is_tried):
            raise NotSupportedError(
                f"Backfill of {table_of(model)} in one transaction would lock every row it sets until the end. "
                "Write atomic = False in the migration, and put operations that need a transaction into another one."
            )
        run = _Run(self, app_label, model, connection)
        if schema_editor.collect_sql:
            schema_editor.collected_sql.append(f"-- In batches of {self.batch_size}: {run.whole_update}")
        else:
            run.all_passes()


class _Run:
    """One execution of a `Backfill` on one connection."""

    def __init__(
        self, operation: Backfill, app_label: str, model: type[models.Model], connection: BaseDatabaseWrapper
    ) -> None:
        key = model._meta.pk
        if key is None or key.column is None:
            raise NotSupportedError(f"Backfill needs a primary key of one column; {table_of(model)} has another.")
        self.operation = operation
        self.app_label = app_label
        self.connection = connection
        self.table_name = table_of(model)
        self.table = connection.ops.quote_name(self.table_name)
        self.key = connection.ops.quote_name(key.column)
        self.key_type = key.rel_db_type(connection)
        # What the operation *does* is its identity: renaming or renumbering the migration does not start it again.
        identity = "\0".join((app_label, self.table_name, operation.set, operation.where))
        self.id = hashlib.sha256(identity.encode()).hexdigest()
        self.kept = KeptValues(
            connection,
            self.table_name,
            key.column,
            operation.columns,
            app_label,
            self.id,
            batch_size=operation.batch_size,
            pause_s=operation.pause_s,
        )
        self.keeps = False
        self.position = _Position()
        self.rows_before = 0
        self.estimated_rows = 0
        self.began = self.said_at = time.monotonic()

    @property
    def whole_update(self) -> str:
        """The statement that all batches together amount to."""
        return f"UPDATE {self.table} SET {self.operation.set} WHERE {self.operation.where};"

    def all_passes(self) -> None:
        """Pass over the table until nothing is left to do, starting where an earlier run was interrupted."""
        with self.connection.cursor() as cursor:
            cursor.execute(_CREATE_POSITIONS)
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [self.table])
            self.estimated_rows = max(0, cursor.fetchone()[0])
            cursor.execute(f"SELECT last_key, rows_read, rows_set FROM {POSITIONS_TABLE} WHERE id = %s", [self.id])
            if row := cursor.fetchone():
                self.position = _Position(*row)
                self.rows_before = self.position.rows_read
                logger.info("Backfill of %s goes on after %s = %s", self.table_name, self.key, self.position.last_key)
        self.keeps = self.operation.keep and self.kept.ensure()
        # A policy that hides rows would make this say that there is nothing to do: let the server refuse instead.
        with session_settings(self.connection, row_security="off"):
            left = self.passes()
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {POSITIONS_TABLE} WHERE id = %s", [self.id])
        logger.info(
            "Backfill of %s is done: %d rows set in %.1f s",
            self.table_name,
            self.position.rows_set,
            time.monotonic() - self.began,
        )
        if left:
            logger.warning(
                "Rows of %s are still being written that the backfill ought to set: the code now running does not "
                "set them itself. Deploy code that does, then run the same backfill in another migration.",
                self.table_name,
            )

    def passes(self) -> bool:
        """Pass over the table as often as may help; whether anything is left to do."""
        for _ in range(MAX_PASSES):
            self.one_pass()
            if not self.is_anything_left():
                return False
            self.position.last_key = None
        return True

    def is_anything_left(self) -> bool:
        """Whether a row still is to be done."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {self.table} WHERE {self.operation.where})")
            return bool(cursor.fetchone()[0])

    def one_pass(self) -> None:
        """Do batch after batch to the end of the table."""
        while True:
            rows_set = self.position.rows_set
            rows_read = self.batch_with_retries()
            self.say_progress()
            if rows_read < self.operation.batch_size:
                return
            if self.position.rows_set > rows_set:
                time.sleep(self.operation.pause_s)  # so that traffic and replicas keep up

    def batch_with_retries(self) -> int:
        """Do one batch, again if it met a lock; returns the number of rows it looked at."""
        for tries in range(1, TRIES_PER_BATCH + 1):
            try:
                return self.batch()
            except OperationalError as error:
                if sqlstate(error) not in RETRYABLE or tries == TRIES_PER_BATCH:
                    raise
                pause_s = RETRY_FIRST_S * 2 ** (tries - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
                logger.info(
                    "Backfill of %s: a batch was rolled back: %s. Try %d of %d in %.1f s",
                    self.table_name,
                    driver_text(error),
                    tries + 1,
                    TRIES_PER_BATCH,
                    pause_s,
                )
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def batch(self) -> int:
        """Do the next rows and commit them together with the position; returns the number of rows it looked at."""
        position = self.position
        after = f"{self.key} > CAST(%(last_key)s AS {self.key_type})"
        if position.last_key is None:
            after = "TRUE"
        # psycopg2 would take a percent sign in the migration's SQL for a parameter.
        to_set, where = (sql.replace("%", "%%") for sql in (self.operation.set, self.operation.where))
        # Durable: inside another transaction neither the rows nor the position would be committed here.
        with transaction.atomic(using=self.connection.alias, durable=True), self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {self.key}::text, number FROM ("
                f"  SELECT {self.key}, row_number() OVER (ORDER BY {self.key}) AS number"
                f"  FROM {self.table} WHERE {after} ORDER BY {self.key} LIMIT %(batch_size)s"
                ") AS batch ORDER BY number DESC LIMIT 1",
                {"last_key": position.last_key, "batch_size": self.operation.batch_size},
            )
            if not (row := cursor.fetchone()):
                return 0
            upper_key, rows_read = row
            if self.keeps:
                batch = f"{after} AND {self.key} <= CAST(%(upper_key)s AS {self.key_type})"
                self.kept.keep(cursor, f"{batch} AND ({where})", position.last_key, upper_key)
            cursor.execute(
                f"WITH done AS (UPDATE {self.table} SET {to_set}"
                f"  WHERE {after} AND {self.key} <= CAST(%(upper_key)s AS {self.key_type}) AND ({where})"
                f"  RETURNING ({where}) AS again)"
                "SELECT count(*), count(*) FILTER (WHERE again) FROM done",
                {"last_key": position.last_key, "upper_key": upper_key},
            )
            rows_set, rows_again = cursor.fetchone()
            if self.keeps:
                self.kept.note_new(cursor, batch, position.last_key, upper_key)
            if rows_again:
                raise ValueError(
                    f"Backfill of {self.table_name}: where={self.operation.where!r} still holds for {rows_again} of "
                    f"the {rows_set} rows just set, so that running again would do them twice. Narrow where=."
                )
            done = _Position(upper_key, position.rows_read + rows_read, position.rows_set + rows_set)
            cursor.execute(
                f"INSERT INTO {POSITIONS_TABLE} (id, app, table_name, last_key, rows_read, rows_set)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET last_key = excluded.last_key,"
                " rows_read = excluded.rows_read, rows_set = excluded.rows_set, updated_at = now()",
                [self.id, self.app_label, self.table_name, done.last_key, done.rows_read, done.rows_set],
            )
        self.position = done
        return int(rows_read)

    def say_progress(self) -> None:
        """A line every few seconds: rows done, of about how many, how fast, how long still."""
        now = time.monotonic()
        if now - self.said_at < PROGRESS_EVERY_S:
            return
        self.said_at = now
        rows_read = self.position.rows_read
        rate = (rows_read - self.rows_before) / (now - self.began)
        left = self.estimated_rows - rows_read
        logger.info(
            "Backfill of %s: %d rows%s read, %d set, %.0f rows/s%s",
            self.table_name,
            rows_read,
            f" of about {self.estimated_rows}" if self.estimated_rows else "",
            self.position.rows_set,
            rate,
            f", about {left / rate:.0f} s left" if left > 0 and rate > 0 else "",
        )
