"""What pending migrations really do: carried out in a scratch database at the live history, statement by statement.

Locks, rewrites and scans are the server's own word. Durations are those of empty tables, and say only what is slow even
there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from psycopg2.extensions import connection as PgConnection  # noqa: N812

from rupaya.migrator.analysis import scratch
from rupaya.migrator.errors import MigrationFailed, MigratorError, driver_text, sqlstate
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.diff import differences
from rupaya.migrator.session import database
from rupaya.migrator.statements import is_bookkeeping, one_line

# From the weakest. ACCESS SHARE, which every query takes, is not worth a line.
MODES = (
    "RowShare",
    "RowExclusive",
    "ShareUpdateExclusive",
    "Share",
    "ShareRowExclusive",
    "Exclusive",
    "AccessExclusive",
)
WAITING = {
    "AccessExclusive": "reads and writes wait",
    **dict.fromkeys(("Exclusive", "ShareRowExclusive", "Share"), "writes wait"),
}
POLL_S = 0.005
# How long the observer keeps a statement from going on that does not wait for it.
HOLD_S = 1.0
CANNOT_BE_IN_A_TRANSACTION = "25001"

_USER = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
_RELATIONS = f"""
    SELECT c.oid, c.oid::regclass::text, c.relkind::text, c.relfilenode, i.indrelid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE {_USER} AND NOT starts_with(c.relname, '{catalog.OWN_PREFIX}') AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'i')
"""  # noqa: S608 - constants
_SCANS = "SELECT relid, seq_scan FROM pg_stat_xact_user_tables"
_LOCKS = """
    SELECT l.relation, replace(l.mode, 'Lock', ''), l.granted FROM pg_locks l
    WHERE l.pid = %s AND (l.locktype = 'relation' OR NOT l.granted)
      AND (l.database IS NULL OR l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
"""


@dataclass
class Statement:
    """One statement, and what the server did for it."""

    sql: str
    duration_s: float
    locks: dict[str, str] = field(default_factory=dict)
    """The strongest lock on each relation that was there before the migration, where this statement raised it."""
    rewritten: list[str] = field(default_factory=list)
    """Tables and indexes whose files were written anew."""
    scanned: list[str] = field(default_factory=list)
    """Tables that were read from end to end."""
    note: str = ""


@dataclass
class Step:
    """One migration, applied or unapplied."""

    migration: str
    direction: str
    atomic: bool
    duration_s: float = 0.0
    statements: list[Statement] = field(default_factory=list)
    error: str = ""


@dataclass
class Rehearsal:
    """All that was tried, in order, and how it ended."""

    server_version: str
    steps: list[Step] = field(default_factory=list)
    reversed: list[Step] = field(default_factory=list)
    again: list[Step] = field(default_factory=list)
    irreversible: str = ""
    """Why going back ended."""
    changes: list[str] = field(default_factory=list)
    """What the migrations did to the schema."""
    left_behind: list[str] = field(default_factory=list)
    """In what the schema differs once they were reversed; going back ended there."""
    differs_again: list[str] = field(default_factory=list)
    """In what the schema differs once they were applied again."""
    failure: MigrationFailed | None = None


def rehearse(connection: BaseDatabaseWrapper, plan: Plan, history: set[tuple[str, str]]) -> Rehearsal:
    """Try a plan on a scratch database with this history: there, back again as far as possible, and there once more.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
        MigrationFailed: if not even the history can be built.
    """
    version = connection.connection.info.parameter_status("server_version")
    rehearsal = Rehearsal(str(version).split(" ")[0])
    if not plan.steps:
        return rehearsal
    with scratch.database_like(connection):
        try:
            scratch.build(connection, history)
        except Exception as error:
            raise MigrationFailed(
                f"The scratch database could not be brought to the live history: {driver_text(error)}",
                "A migration that is applied already does not work on an empty database; nothing live was touched.",
                "Mend that migration so that a new environment can be built, then rehearse again.",
            ) from error
        with _Stage(connection) as stage:
            _all_three_ways(stage, plan, rehearsal)
    return rehearsal


def _all_three_ways(stage: _Stage, plan: Plan, rehearsal: Rehearsal) -> None:
    """There; back, until a migration cannot be undone; and there once more from where that was."""
    pictures = [stage.read()]
    for migration, backwards in plan.steps:
        if not _carry_out(stage, migration, backwards, rehearsal.steps, rehearsal):
            return
        pictures.append(stage.read())
    rehearsal.changes = [difference.told() for difference in differences(pictures[0], pictures[-1])]
    undone: list[tuple[Migration, bool]] = []
    for (migration, backwards), before in zip(reversed(plan.steps), reversed(pictures[:-1]), strict=True):
        try:
            if not _carry_out(stage, migration, not backwards, rehearsal.reversed, rehearsal):
                return
        except IrreversibleError as error:
            rehearsal.irreversible = driver_text(error)
            rehearsal.reversed.pop()
            break
        undone.append((migration, backwards))
        if left := differences(before, stage.read()):
            # A way back that is none: to go on from here would prove nothing.
            rehearsal.left_behind = [f"{migration}: {item.said('before', 'after reversing')}" for item in left]
            return
    for migration, backwards in reversed(undone):
        if not _carry_out(stage, migration, backwards, rehearsal.again, rehearsal):
            return
    differ = differences(pictures[-1], stage.read())
    rehearsal.differs_again = [item.said("the first time", "the second time") for item in differ]


def _carry_out(stage: _Stage, migration: Migration, backwards: bool, record: list[Step], rehearsal: Rehearsal) -> bool:
    """Carry out one migration and record it; False if it fails."""
    step = Step(str(migration), "unapply" if backwards else "apply", bool(migration.atomic))
    record.append(step)
    try:
        stage.carry_out(migration, backwards, step)
    except (IrreversibleError, MigratorError):
        raise
    except Exception as error:
        step.error = f"{type(error).__name__}: {driver_text(error)}"
        at = f" at {one_line(step.statements[-1].sql)}" if sqlstate(error) and step.statements else ""
        when = "unapplied" if backwards else "applied"
        again = " again" if record is rehearsal.again else ""
        rehearsal.failure = MigrationFailed(
            f"{migration} failed when it was {when}{again} in the rehearsal: {step.error}{at}",
            "This was in a scratch database, which is gone; nothing live was touched.",
            "Mend the migration, then rehearse again.",
        )
        return False
    return True


class _Stage:
    """The scratch database with a recorder of statements, and an observer on a connection of its own."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.executor = MigrationExecutor(connection)
        self.observer: PgConnection | None = None
        self.step = Step("", "", atomic=True)
        self._existing: dict[int, tuple[str, str, int, int | None]] = {}
        self._files: dict[int, int] = {}
        self._strongest: dict[int, str] = {}
        self._scans: dict[int, int] = {}

    def __enter__(self) -> _Stage:
        self.connection.ensure_connection()
        self.observer = psycopg2.connect(**database.connection_parameters(self.connection))
        self.observer.autocommit = True
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.observer is not None:
            with suppress(psycopg2.Error):
                self.observer.close()

    def read(self) -> catalog.Catalog:
        """The schema as it is now."""
        with self.connection.cursor() as cursor:
            return catalog.read(cursor)

    def carry_out(self, migration: Migration, backwards: bool, step: Step) -> None:
        """Apply or unapply one migration, its statements recorded."""
        self.executor.loader.build_graph()
        self.step = step
        self._existing = {oid: (name, kind, file, of) for oid, name, kind, file, of in self._fetch(_RELATIONS)}
        self._files = {oid: facts[2] for oid, facts in self._existing.items()}
        self._strongest = {}
        began = time.monotonic()
        try:
            with self.connection.execute_wrapper(self._recorded):
                self.executor.migrate([], plan=[(migration, backwards)])
        finally:
            step.duration_s = time.monotonic() - began

    def _recorded(
        self, execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        text = str(sql)
        if is_bookkeeping(text):
            return execute(sql, parameters, many, context)
        statement = Statement(" ".join(text.split()), 0.0)
        self.step.statements.append(statement)

        def run() -> Any:
            self._scans = dict(self._fetch(_SCANS))  # counted by session, and reported at times of the server's choice
            began = time.monotonic()
            try:
                return execute(sql, parameters, many, context)
            finally:
                statement.duration_s = time.monotonic() - began

        if self.connection.in_atomic_block:
            result = run()
            self._look(statement)
            return result
        # Locks are gone when a transaction ends: one around the statement shows them, if it bears that.
        self._strongest = {}
        self.connection.ensure_connection()
        self._execute("BEGIN")
        try:
            result = run()
        except Exception as error:
            self._execute("ROLLBACK")
            if sqlstate(error) != CANNOT_BE_IN_A_TRANSACTION:
                raise
            with self._observed(statement):
                return run()
        self._look(statement)
        self._execute("COMMIT")
        return result

    def _look(self, statement: Statement) -> None:
        """Note what the session holds after a statement, and what became of files and tables."""
        pid = self.connection.connection.info.backend_pid
        self._note_locks(statement, self._fetch(_LOCKS, pid))
        self._note_files(statement)
        for oid, scans in self._fetch(_SCANS):
            if oid in self._existing and scans > self._scans.get(oid, 0):
                statement.scanned.append(self._existing[oid][0])
        statement.scanned.sort()

    def _note_locks(self, statement: Statement, rows: Sequence[tuple[int | None, str, bool]]) -> None:
        for oid, mode, _granted in rows:
            if oid not in self._existing or self._existing[oid][1] == "i" or mode not in MODES:
                continue
            if oid not in self._strongest or MODES.index(mode) > MODES.index(self._strongest[oid]):
                self._strongest[oid] = mode
                statement.locks[self._existing[oid][0]] = mode
        statement.locks = dict(sorted(statement.locks.items()))

    def _note_files(self, statement: Statement) -> None:
        now = {oid: file for oid, _name, _kind, file, _of in self._fetch(_RELATIONS)}
        changed = {oid for oid, file in self._files.items() if now.get(oid, file) != file and oid in self._existing}
        for oid in changed:
            name, kind, _file, table = self._existing[oid]
            if kind != "i":
                statement.rewritten.append(name)
            elif table not in changed:
                statement.rewritten.append(f"index {name}")
        statement.rewritten.sort()
        self._files = now

    @contextmanager
    def _observed(self, statement: Statement) -> Iterator[None]:
        """For what cannot be in a transaction: let it wait for the observer, who looks at its locks meanwhile.

        CREATE INDEX CONCURRENTLY and its like wait for all who write to the table, and keep their own lock while they
        wait. The observer "writes" to every table, until it has seen that.
        """
        assert self.observer is not None  # noqa: S101 - the context manager has made it
        observer = self.observer
        pid = self.connection.connection.info.backend_pid
        tables = [name for name, kind, _file, _of in self._existing.values() if kind in "rp"]
        finished = threading.Event()
        with observer.cursor() as cursor:
            cursor.execute("BEGIN")
            if tables:
                cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ROW EXCLUSIVE MODE")  # quoted by the server
        seen: list[tuple[int | None, str, bool]] = []

        def observe() -> None:
            deadline = time.monotonic() + HOLD_S
            with observer.cursor() as cursor:
                while not finished.wait(POLL_S) and time.monotonic() < deadline:
                    cursor.execute(_LOCKS, [pid])
                    rows = cursor.fetchall()
                    seen.extend(rows)
                    if any(not granted for _oid, _mode, granted in rows):
                        break
                cursor.execute("ROLLBACK")

        thread = threading.Thread(target=observe, name="rehearsal-observer", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()
        self._note_locks(statement, seen)
        self._note_files(statement)
        if not seen:
            statement.note = "too quick for its locks to be seen"

    def _fetch(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self.connection.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall())

    def _execute(self, sql: str) -> None:
        with self.connection.connection.cursor() as cursor:
            cursor.execute(sql)
