"""Where migrations are tried: each statement is recorded with the locks that it took and the work that it was.

Work is counted by the server and not timed: tuples read and written, files rewritten. The counts are the same at
each run, on whatever machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import sqlparse
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.debts.debt import OPERATION, Debt
from rupaya.migrator.debts.owing import Forecast, Owing, forecast
from rupaya.migrator.debts.pay import Limits, Payer
from rupaya.migrator.django import applied_state
from rupaya.migrator.errors import sqlstate
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.output import heard
from rupaya.migrator.plan.phases import flat_operations, numbered_operations
from rupaya.migrator.schema import catalog
from rupaya.migrator.session import database
from rupaya.migrator.sessionsettings import read_settings, restore_settings, session_settings
from rupaya.migrator.statements import is_bookkeeping

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
# A text that comes more often is counted only: a loop over rows would otherwise take minutes to record.
LOOKED_AT_TIMES = 20
# So often, and it is a loop over rows; on as many rows as people have it would go on for hours.
LOOP_TIMES = 2_000
# Set as `migrate` sets one, to see whether a migration lifts it; nobody is there to wait for.
LOCK_TIMEOUT_MS = 3_600_000

_USER = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
_RELATIONS = f"""
    SELECT c.oid, c.oid::regclass::text, c.relkind::text, c.relfilenode, i.indrelid
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE {_USER} AND NOT starts_with(c.relname, '{catalog.OWN_PREFIX}') AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'i')
"""  # noqa: S608 - constants
# In the current transaction, and of this session alone.
_WORK = """
    SELECT relid, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0), n_tup_ins + n_tup_upd + n_tup_del
    FROM pg_stat_xact_user_tables
"""
_LOCKS = """
    SELECT l.relation, replace(l.mode, 'Lock', ''), l.granted FROM pg_locks l
    WHERE l.pid = %s AND (l.locktype = 'relation' OR NOT l.granted)
      AND (l.database IS NULL OR l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
"""

Work = dict[int, tuple[int, int, int]]
"""Of each table: scans from end to end, tuples read, tuples written."""


@dataclass
class Statement:
    """One statement, and what the server did for it."""

    sql: str
    duration_s: float
    """Of all the times that it came."""
    locks: dict[str, str] = field(default_factory=dict)
    """The strongest lock on each relation that was there before the migration, where this statement raised it."""
    rewritten: list[str] = field(default_factory=list)
    """Tables and indexes whose files were rewritten."""
    scanned: list[str] = field(default_factory=list)
    """Tables that were read from end to end."""
    note: str = ""
    held: dict[str, str] = field(default_factory=dict)
    """The strongest lock on each of these relations at the statement's end, by whichever statement it was taken."""
    read: dict[str, int] = field(default_factory=dict)
    """Tuples read, by table."""
    written: dict[str, int] = field(default_factory=dict)
    """Tuples inserted, updated and deleted, by table."""
    notices: list[str] = field(default_factory=list)
    """What the server remarked."""
    times: int = 1
    """How often this text came one after the other."""
    part: int = 0
    """Which of the migration's operations sent it, from 1, those inside others counted; 0: none."""
    transaction: str = ""
    """By what two statements of one transaction are known; empty outside one."""
    waits_endlessly: bool = False
    """Whether the migration had lifted the bound on waiting for locks that `migrate` sets."""


@dataclass
class StagedMigration:
    """One migration, applied or unapplied."""

    migration: str
    direction: str
    atomic: bool
    duration_s: float = 0.0
    statements: list[Statement] = field(default_factory=list)
    error: str = ""
    logged: list[str] = field(default_factory=list)
    """What its operations logged."""


class Looping(BaseException):
    """A migration's own code sends one statement again and again. No `except Exception` of its may swallow this."""

    def __init__(self, statement: Statement) -> None:
        super().__init__(f"the same statement came more than {LOOP_TIMES:,} times")
        self.statement = statement


def text_of(sql: str) -> str:
    """A statement on one line, whole, without comments: a comment to the end of a line would take in the rest."""
    return " ".join((str(sqlparse.format(sql, strip_comments=True)) if "--" in sql else sql).split())


class Witness:
    """Whoever wants to look at the database before and after each operation."""

    def before(self, part: int, operation: Operation) -> None:
        """The operation is about to act."""

    def after(self, part: int, operation: Operation) -> None:
        """The operation has acted, in a transaction that may still be open."""

    def may_not_loop(self, part: int) -> bool:
        """Whether to stop that operation once it sends one statement too often."""
        return False


class Stage:
    """The scratch database with a recorder of statements, and an observer on a connection of its own."""

    def __init__(
        self, connection: BaseDatabaseWrapper, witness: Witness | None = None, *, by_halves: bool = False
    ) -> None:
        """With a witness, what the tried migrations create counts as new all the time, not in its own one alone.

        `by_halves`: as beside an older release, what that would not survive is owed, and can be paid afterwards.
        """
        self.connection = connection
        self.executor = MigrationExecutor(connection)
        self.witness = witness
        self.by_halves = by_halves
        self.owing: Owing | None = None
        self.observer: PgConnection | None = None
        self.step = StagedMigration("", "", atomic=True)
        self._existing: dict[int, tuple[str, str, int, int | None]] = {}
        self._files: dict[int, int] = {}
        self._strongest: dict[int, str] = {}
        self._work: Work = {}
        self._state: ProjectState | None = None
        self.part = 0
        """Which operation is at work, or was when it failed in `foresee`, from 1; 0: none."""
        self._settings: dict[str, str] = {}
        self._deferred: dict[str, int] = {}
        self._repeated: Statement | None = None

    def __enter__(self) -> Stage:
        self.connection.ensure_connection()
        self.observer = psycopg2.connect(**database.connection_parameters(self.connection))
        self.observer.autocommit = True
        if self.by_halves:
            Ledger(self.connection.connection).ensure_schema()
            self.owing = Owing(self.connection, run_id=0, release="")
        # Such a scan fetches no tuple that would be counted, and there is one only where autovacuum has been.
        self._execute("SET enable_indexonlyscan = off")
        self._settings = read_settings(self.connection)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.observer is not None:
            with suppress(psycopg2.Error):
                self.observer.close()

    def read(self) -> catalog.Catalog:
        """The schema as it is now."""
        with self.connection.cursor() as cursor:
            return catalog.read(cursor)

    def state(self) -> ProjectState:
        """What is applied amounts to."""
        if self._state is None:
            self.executor.loader.build_graph()
            self._state = applied_state(self.executor)
        return self._state

    def foresee(self, migration: Migration) -> Forecast:
        """What carrying it out by halves would owe, and need paid before; nothing is executed.

        Raises:
            HistoryRefused: as `migrate` would, naming the operation; `part` says which it was.
        """
        assert self.owing is not None  # noqa: S101 - asked of a stage that works by halves alone
        parts = {id(operation): part for part, operation in enumerate(flat_operations(migration.operations), 1)}

        @contextmanager
        def around(operation: Operation, _editor: Any) -> Iterator[None]:
            self.part = parts[id(operation)]
            yield

        steps = [(migration, False)]
        return forecast(self.connection, steps, self.state(), fresh=self.owing.fresh.copy(), around=around)

    def carry_out(self, migration: Migration, backwards: bool, step: StagedMigration, *, whole: bool = False) -> None:
        """Apply or unapply one migration, its statements recorded; with `whole`, never by halves."""
        state, self._state = self._state, None  # what a failure leaves of it is no use
        if state is None:
            self.executor.loader.build_graph()
        self._begin(step)
        attributed = self._by_halves if self.owing is not None and not whole else self._attributed
        lock_timeout_ms = getattr(migration, "lock_timeout_ms", LOCK_TIMEOUT_MS)
        began = time.monotonic()
        try:
            with (
                heard(lambda message, _is_warning: step.logged.append(message)),
                session_settings(self.connection, lock_timeout=lock_timeout_ms),
                attributed(migration, backwards),
                self.connection.execute_wrapper(self._recorded),
            ):
                state = self.executor.migrate([], plan=[(migration, backwards)], state=state)
            if self.witness is not None:
                self._state = state  # a long history is not gone through again for each of its migrations
        finally:
            step.duration_s += time.monotonic() - began
            self._restore_session()

    def pay(self, debt: Debt, migration: Migration, step: StagedMigration) -> None:
        """Pay a debt of this migration, the statements recorded as its operation's."""
        self._begin(step)
        numbered = enumerate(numbered_operations(migration.operations), 1)
        number, operation = next((number, one) for number, (place, one) in numbered if place == debt.operation)
        looked_at = debt.kind == OPERATION
        began = time.monotonic()
        try:
            with (
                heard(lambda message, _is_warning: step.logged.append(message)),
                self._at_work(number, operation, looked_at=looked_at),
                self.connection.execute_wrapper(self._recorded),
            ):
                self.payer().pay(debt)
        finally:
            step.duration_s += time.monotonic() - began
            self._restore_session()

    def _restore_session(self) -> None:
        """As `migrate` does: neither a role nor a transaction that SQL left behind may govern what comes next."""
        raw = self.connection.connection
        if raw is None or raw.closed:
            return
        if raw.info.transaction_status != TRANSACTION_STATUS_IDLE:
            raw.rollback()
        restore_settings(self.connection, self._settings)

    def names(self) -> dict[int, str]:
        """By which names relations were known when what was tried last began."""
        return {oid: facts[0] for oid, facts in self._existing.items()}

    def payer(self) -> Payer:
        """Who pays, and waits for nobody: there is nobody."""
        return Payer(self.connection, Limits(0, 0), run_id=0, loader=self.executor.loader)

    def _begin(self, step: StagedMigration) -> None:
        self.step = step
        found = {oid: (name, kind, file, of) for oid, name, kind, file, of in self._fetch(_RELATIONS)}
        if self.witness is None or not self._existing:
            self._existing = found
        self._files = {oid: facts[2] for oid, facts in found.items()}
        self._strongest = {}
        self.part, self._deferred, self._repeated = 0, {}, None

    @contextmanager
    def _by_halves(self, migration: Migration, backwards: bool) -> Iterator[None]:
        assert self.owing is not None  # noqa: S101 - its callers have looked
        parts = {id(operation): part for part, operation in enumerate(flat_operations(migration.operations), 1)}

        def around(operation: Operation, editor: Any) -> AbstractContextManager[None]:
            return self._at_work(parts[id(operation)], operation, editor)

        # Forwards, Django's executor runs what its own loader has read, and not what it is given.
        own = self.executor.loader.graph.nodes.get((migration.app_label, migration.name), migration)
        own = migration if backwards else own
        with self.owing.carrying_out(own, backwards=backwards, around=around):
            yield

    @contextmanager
    def _attributed(self, migration: Migration, _backwards: bool) -> Iterator[None]:
        """Know which operation is at work, by wrapping the one method that Django calls."""
        operations = list(flat_operations(migration.operations))

        def wrap(part: int, operation: Operation) -> None:
            forwards = operation.database_forwards

            def database_forwards(app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
                with self._at_work(part, operation, schema_editor):
                    forwards(app_label, schema_editor, from_state, to_state)

            operation.database_forwards = database_forwards  # type: ignore[method-assign]

        for part, operation in enumerate(operations, 1):
            wrap(part, operation)
        try:
            yield
        finally:
            for operation in operations:
                vars(operation).pop("database_forwards", None)

    @contextmanager
    def _at_work(
        self, part: int, operation: Operation, schema_editor: Any = None, *, looked_at: bool = True
    ) -> Iterator[None]:
        """Attribute what is sent in the block to an operation, and what the schema editor puts off till the end."""
        self.part = part
        witness = self.witness if looked_at else None
        known = {str(sql) for sql in schema_editor.deferred_sql} if schema_editor else set()
        if witness is not None:
            witness.before(part, operation)
        try:
            yield
            self._settle()
            if witness is not None:
                witness.after(part, operation)
        finally:
            self.part = 0
            put_off = schema_editor.deferred_sql if schema_editor else ()
            self._deferred.update(dict.fromkeys((text for sql in put_off if (text := str(sql)) not in known), part))

    def _recorded(
        self, execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        text = str(sql)
        if is_bookkeeping(text):
            return execute(sql, parameters, many, context)
        shown = text_of(text)
        part = self.part or self._deferred.get(text, 0)
        same = [old for old in self.step.statements if old.sql == shown and old.part == part]
        if len(same) >= LOOKED_AT_TIMES:
            same[-1].times += 1
            self._repeated = same[-1]
            if same[-1].times > LOOP_TIMES and self.witness is not None and self.witness.may_not_loop(part):
                raise Looping(same[-1])
            began = time.monotonic()
            try:
                return execute(sql, parameters, many, context)
            finally:
                same[-1].duration_s += time.monotonic() - began
        self._settle()
        statement = Statement(shown, 0.0, part=part)
        self.step.statements.append(statement)

        def run() -> Any:
            self._work = self._read_work()
            self.connection.connection.notices.clear()
            began = time.monotonic()
            try:
                return execute(sql, parameters, many, context)
            finally:
                statement.duration_s = time.monotonic() - began
                statement.notices += [notice.strip() for notice in self.connection.connection.notices]

        if self.connection.in_atomic_block:
            result = run()
            self._look(statement)
            return result
        # Locks are gone when a transaction ends: one around the statement shows them, if it can run in one.
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

    def _read_work(self) -> Work:
        return {oid: (scans, read, written) for oid, scans, read, written in self._fetch(_WORK)}

    def _settle(self) -> None:
        """Count what a statement did that came too often to be looked at each time; known within a transaction only."""
        statement, self._repeated = self._repeated, None
        if statement is not None and self.connection.in_atomic_block and not self.connection.needs_rollback:
            self._note_work(statement)

    def _look(self, statement: Statement) -> None:
        """Note what the session holds after a statement, and what became of files and tables."""
        pid = self.connection.connection.info.backend_pid
        ((statement.transaction, statement.waits_endlessly),) = self._fetch(
            "SELECT transaction_timestamp()::text, current_setting('lock_timeout') = '0'"
        )
        self._note_locks(statement, self._fetch(_LOCKS, pid))
        self._note_files(statement)
        self._note_work(statement)

    def _note_work(self, statement: Statement) -> None:
        now = self._read_work()
        for oid, (scans, read, written) in now.items():
            if oid not in self._existing:
                continue
            name = self._existing[oid][0]
            before = self._work.get(oid, (0, 0, 0))
            if scans > before[0] and name not in statement.scanned:
                statement.scanned.append(name)
            for counts, more in ((statement.read, read - before[1]), (statement.written, written - before[2])):
                if more > 0:
                    counts[name] = counts.get(name, 0) + more
        statement.scanned.sort()
        self._work = now

    def _note_locks(self, statement: Statement, rows: Sequence[tuple[int | None, str, bool]]) -> None:
        for oid, mode, _granted in rows:
            if oid not in self._existing or self._existing[oid][1] == "i" or mode not in MODES:
                continue
            name = self._existing[oid][0]
            if name not in statement.held or MODES.index(mode) > MODES.index(statement.held[name]):
                statement.held[name] = mode
            if oid not in self._strongest or MODES.index(mode) > MODES.index(self._strongest[oid]):
                self._strongest[oid] = mode
                statement.locks[name] = mode
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
        tables = [name for _oid, name, kind, _file, _of in self._fetch(_RELATIONS) if kind in "rp"]
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
