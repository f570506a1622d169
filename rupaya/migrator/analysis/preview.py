"""What a run of `migrate` would do, without doing it: phases, SQL where it can be known, and the tables it touches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from psycopg2.extensions import TRANSACTION_STATUS_INTRANS

from rupaya.migrator.errors import counted
from rupaya.migrator.plan.nothing import NOTHING_TO_MIGRATE
from rupaya.migrator.plan.phases import flat_operations, model_name_of
from rupaya.migrator.plan.plan import Plan


@dataclass(frozen=True)
class TouchedTable:
    """A table that exists, and that a migration names."""

    table: str
    rows: int
    """The server's estimate; -1: never analysed."""
    size_bytes: int
    open_transactions: int
    """Transactions of others that hold a lock on it now."""
    oldest_transaction_s: float


@dataclass(frozen=True)
class Previewed:
    """One migration of the plan."""

    migration: str
    direction: str
    phase: str
    atomic: bool
    operations: tuple[str, ...]
    sql: tuple[str, ...]
    unknown_sql: str
    """Why the SQL cannot be known beforehand; empty if it is."""
    tables: tuple[TouchedTable, ...]


@dataclass(frozen=True)
class Preview:
    """The steps, in order, and what running them would leave owed."""

    steps: tuple[Previewed, ...]
    owed: tuple[str, ...]
    unknown: tuple[str, ...]
    """Migrations that the database has and this code does not."""
    rows: tuple[str, ...] = ()
    """What live rows say of what the plan presumes of them."""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def preview(
    connection: BaseDatabaseWrapper, plan: Plan, owed: Iterable[object] = (), rows: Iterable[str] = ()
) -> Preview:
    """Look at a plan; nothing is changed, and no lock but on the catalog is taken."""
    with _read_only(connection):
        steps = steps_of(connection, plan)
    return Preview(
        steps=steps,
        owed=tuple(map(str, owed)),
        unknown=tuple(f"{app}.{name}" for app, name in sorted(plan.unknown)),
        rows=tuple(rows),
    )


def steps_of(connection: BaseDatabaseWrapper, plan: Plan) -> tuple[Previewed, ...]:
    """The steps of a plan; the session, or the transaction that it is in, must be one that only reads."""
    loader = MigrationLoader(connection, replace_migrations=True)
    return tuple(_step(connection, loader, plan, migration, backwards) for migration, backwards in plan.steps)


@contextmanager
def _read_only(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Make the server refuse every change: an operation may act while its SQL is collected."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET default_transaction_read_only")


def _step(
    connection: BaseDatabaseWrapper, loader: MigrationLoader, plan: Plan, migration: Migration, backwards: bool
) -> Previewed:
    with _taken_back(connection):
        sql, unknown_sql = _sql(loader, migration, backwards)
    return Previewed(
        migration=str(migration),
        direction="unapply" if backwards else "apply",
        phase=plan.phases[migration.app_label, migration.name],
        atomic=bool(migration.atomic),
        operations=tuple(operation.describe() for operation in migration.operations),
        sql=sql,
        unknown_sql=unknown_sql,
        tables=_touched_tables(connection, _table_names(migration, plan.tables())),
    )


@contextmanager
def _taken_back(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Keep a failed query of an operation from ending a transaction that is open, if one is."""
    connection.ensure_connection()
    if connection.connection.info.transaction_status != TRANSACTION_STATUS_INTRANS:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT preview")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK TO SAVEPOINT preview; RELEASE SAVEPOINT preview")


def _sql(loader: MigrationLoader, migration: Migration, backwards: bool) -> tuple[tuple[str, ...], str]:
    try:
        return tuple(loader.collect_sql([(migration, backwards)])), ""
    except (DatabaseError, ValueError, LookupError) as error:
        # An operation that looks at the database first may look for what an earlier pending migration makes.
        reason = str(error).strip().partition("\n")[0]
        return (), f"It depends on what an earlier pending migration does ({reason}); see 'migrate --rehearse'."


def _table_names(migration: Migration, tables: Mapping[tuple[str, str], str]) -> list[str]:
    names = []
    for operation in flat_operations(migration.operations):
        model = model_name_of(operation)
        names.append(tables.get((migration.app_label, model), ""))
    return sorted({name for name in names if name})


def _touched_tables(connection: BaseDatabaseWrapper, names: Sequence[str]) -> tuple[TouchedTable, ...]:
    if not names:
        return ()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname, c.reltuples::bigint, c.relpages::bigint * current_setting('block_size')::bigint,
                   count(DISTINCT l.pid), coalesce(max(extract(epoch FROM clock_timestamp() - a.xact_start)), 0)
            FROM pg_class c
            LEFT JOIN pg_locks l ON l.relation = c.oid AND l.granted AND l.pid <> pg_backend_pid()
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE c.oid IN (SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS wanted (name))
            GROUP BY c.oid ORDER BY c.relname
            """,
            [list(names)],
        )
        return tuple(
            TouchedTable(table, rows, size, transactions, round(float(age), 1))
            for table, rows, size, transactions, age in cursor.fetchall()
        )


def as_text(found: Preview, *, markdown: bool = False) -> str:
    """For a person on a terminal, or for a pull request."""
    heading, fence = ("### ", "```") if markdown else ("", "")
    lines: list[str] = []
    if not found.steps:
        lines.append(f"{NOTHING_TO_MIGRATE}.")
    for step in found.steps:
        transaction = "one transaction" if step.atomic else "not atomic"
        lines += [f"{heading}{step.migration} ({step.direction}, {step.phase}, {transaction})"]
        lines += [f"  - {text}" for text in step.operations]
        for table in step.tables:
            rows = f"about {table.rows:,} rows" if table.rows >= 0 else "never analysed"
            waits = (
                f"{counted(table.open_transactions, 'transaction')} open on it, the oldest "
                f"{table.oldest_transaction_s:g} s"
                if table.open_transactions
                else "no transaction open on it"
            )
            lines.append(f"  table {table.table}: {rows}, {table.size_bytes / 1024 / 1024:.1f} MiB, {waits}")
        if step.unknown_sql:
            lines.append(f"  SQL: {step.unknown_sql}")
        else:
            lines += [fence + "sql"] if markdown else []
            lines += [line if markdown else f"    {line}" for line in step.sql]
            lines += [fence] if markdown else []
        lines.append("")
    if found.owed:
        lines.append("Would be owed until 'manage.py migrate --contract', once no older release runs:")
        lines += [f"  - {debt}" for debt in found.owed]
    if found.rows:
        lines.append("Live rows:")
        lines += [f"  - {line}" for line in found.rows]
    if found.unknown:
        lines.append(f"In the database and not in this code: {', '.join(found.unknown)}")
    lines.append("Nothing was changed.")
    return "\n".join(lines)
