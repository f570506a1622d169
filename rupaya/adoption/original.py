"""The original system's database, as its own deployment (Knex) left it: how to know it, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.plan.plan import Plan

Key = tuple[str, str]

COMMAND = "adopt"
TABLES = ("users", "devices", "accounts", "categories", "transactions", "revoked_tokens")
"""The tables that become ours, each after those it refers to."""
KNEX_TABLES = ("knex_migrations", "knex_migrations_lock")
ADOPTED: tuple[Key, ...] = (
    ("accounts", "0001_initial"),
    ("accounts", "0002_add_phone_number_to_users"),
    ("accounts", "0003_complete_api_schema"),
    ("accounts", "0004_auth_token_revocation"),
    ("transactions", "0001_initial"),
    ("transactions", "0002_complete_api_schema"),
    ("transactions", "0003_system_categories"),
    ("transactions", "0004_complete_transactions_table"),
    ("transactions", "0005_summary_views"),
)
"""The migrations that an adopted database has without their having run there. Later ones run as everywhere."""
KNOWN_KNEX_MIGRATIONS = (
    "001_init.js",
    "002_add_phone_number_to_users.js",
    "20240115_001_create_feature_flags.js",
    "20260228_001_create_revoked_tokens.js",
    "20260301_001_fix_transactions_schema.js",
    "20260304_001_fix_categories_schema.js",
)

FIRST_KNEX_MIGRATION = KNOWN_KNEX_MIGRATIONS[0]
MARKS = (
    "users.user_id",
    "users.email",
    "users.password_hash",
    "devices.device_id",
    "accounts.account_id",
    "categories.category_id",
    "transactions.transaction_id",
)
"""Columns that its first migration made: a table of one of these names without them is somebody else's."""

# Of what an adoption made: it is listed nowhere as somebody else's.
_OURS = ("adoption_", "auth_", "axes_", "budgets", "django_", "migrator_", "otp_", "phone_otps", "recurring_", "users_")

# Counting a table of millions takes seconds, and its statistics say it well enough.
_COUNTED_UP_TO_ROWS = 100_000
_SIZES = """
    SELECT c.relname, c.reltuples::bigint, pg_total_relation_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = coalesce(current_schema(), 'public') AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""


@dataclass(frozen=True)
class OriginalTable:
    """A table of the original's, and how big it is."""

    name: str
    rows: int
    is_estimate: bool
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name} ({'about ' if self.is_estimate else ''}{self.rows:,} rows)"


@dataclass(frozen=True)
class Original:
    """What was found of the original system."""

    tables: tuple[OriginalTable, ...]
    """Those of `TABLES` that exist."""
    others: tuple[str, ...]
    """Tables that are neither the original's nor ours: another service's."""
    batch: int
    knex_migrations: tuple[str, ...]
    is_locked: bool
    """Whether Knex's lock is set: somebody is migrating with it, or died doing so."""

    doubt: str = ""
    """Why this is not the original's, though Knex was here; empty if it is."""
    knex_is_gone: bool = False
    """Whether it was taken over, and Knex's tables were dropped since."""

    def refusal(self) -> HistoryRefused:
        """Of a database that Knex migrates for somebody else."""
        return HistoryRefused(
            "Knex migrates this database, but it is not known as the original system's: "
            f"{self.doubt} ({self.summary}).",
            "Another system may use it; nothing was changed.",
            "Check DATABASE_URL: this service needs a database of its own, or the original's with its own history.",
        )

    @property
    def summary(self) -> str:
        """In one line."""
        if self.knex_is_gone:
            return "it was taken over, and Knex's tables are gone since"
        tables = ", ".join(map(str, self.tables)) or "none of its tables"
        last = self.knex_migrations[-1] if self.knex_migrations else "none"
        return (
            f"tables {tables}; Knex's last batch is {self.batch} ({last}), "
            f"its lock is {'SET' if self.is_locked else 'not set'}"
        )

    @property
    def others_than_ours(self) -> tuple[str, ...]:
        """Knex's own tables and another service's, without what Django's migrations and the migrator made."""
        knex = () if self.knex_is_gone else KNEX_TABLES
        return tuple(name for name in (*knex, *self.others) if not name.startswith(_OURS))

    @property
    def missing_migrations(self) -> tuple[str, ...]:
        """Knex migrations that its last release has and this database does not."""
        if self.knex_is_gone:
            return ()
        return tuple(name for name in KNOWN_KNEX_MIGRATIONS if name not in self.knex_migrations)

    @property
    def unknown_migrations(self) -> tuple[str, ...]:
        """Knex migrations that nobody here has heard of."""
        return tuple(name for name in self.knex_migrations if name not in KNOWN_KNEX_MIGRATIONS)


def find(connection: BaseDatabaseWrapper) -> Original | None:
    """What there is of the original system; None where Knex never was."""
    with connection.cursor() as cursor:
        # A sequence, say, or an index of that name has no rows to read.
        cursor.execute(
            "SELECT count(*) FILTER (WHERE oid = to_regclass('knex_migrations')) > 0, "
            "count(*) FILTER (WHERE oid = to_regclass('knex_migrations_lock')) = 0 "
            "FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')"
        )
        is_there, has_no_lock = cursor.fetchone()
        if not is_there and not _was_taken_over(connection):
            return None
        if not is_there:
            cursor.execute(_SIZES)
            sizes = {name: (rows, size) for name, rows, size in cursor.fetchall()}
            tables = tuple(_table(cursor, name, *sizes[name]) for name in TABLES if name in sizes)
            return Original(tables, tuple(name for name in sizes if name not in TABLES), 0, (), False, "", True)
        # Of somebody else's table it is not known which columns it has.
        cursor.execute(
            "SELECT coalesce(its ->> 'name', '?'), "
            "CASE WHEN its ->> 'batch' ~ '^[0-9]{1,9}$' THEN (its ->> 'batch')::integer ELSE 0 END "
            "FROM (SELECT to_jsonb(k) AS its FROM knex_migrations k) done ORDER BY its -> 'id'"
        )
        done = cursor.fetchall()
        is_locked = False
        if not has_no_lock:
            cursor.execute(
                "SELECT coalesce(bool_or(to_jsonb(k) ->> 'is_locked' = '1'), false) FROM knex_migrations_lock k"
            )
            (is_locked,) = cursor.fetchone()
        cursor.execute(_SIZES)
        sizes = {name: (rows, size) for name, rows, size in cursor.fetchall()}
        tables = tuple(_table(cursor, name, *sizes[name]) for name in TABLES if name in sizes)
        doubt = _doubt(cursor, {name for name, _batch in done})
    return Original(
        tables=tables,
        others=tuple(name for name in sizes if name not in TABLES + KNEX_TABLES),
        batch=max((batch for _name, batch in done), default=0),
        knex_migrations=tuple(name for name, _batch in done),
        is_locked=is_locked,
        doubt=doubt,
    )


def refuse_without_knex(connection: BaseDatabaseWrapper) -> None:
    """Refuse what the original's SQL files made before its Knex ever ran: neither created again nor adopted as it is.

    Tables that this code made have `is_superuser`: those are let through here.

    Raises:
        HistoryRefused: saying how to go on.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE t = 'users' AND c IN ('user_id', 'email')), "
            "count(*) FILTER (WHERE t = 'users' AND c = 'is_superuser'), "
            "string_agg(DISTINCT t, ', ') FILTER (WHERE t || '.' || c IN "
            "('users.user_id', 'accounts.account_id', 'categories.category_id', 'transactions.transaction_id')) "
            "FROM (SELECT k.relname::text AS t, a.attname::text AS c FROM pg_class k "
            "JOIN pg_attribute a ON a.attrelid = k.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE k.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND k.relkind = 'r') columns"
        )
        marks, is_ours, tables = cursor.fetchone()
    if marks < 2 or is_ours or "," not in (tables or ""):
        return
    raise HistoryRefused(
        f"This is a database that the original system's SQL files made, and its Knex never ran here: tables {tables}.",
        "They are not whole yet, and hold its rows: they can neither be created, nor recorded as if this code had made "
        "them, nor adopted as they are; nothing was changed.",
        "Start the original's last release once: its Knex completes them. Then look with 'manage.py adopt --plan', "
        "and go on in the order that docs/adopting.md gives.",
    )


def _doubt(cursor: Any, history: set[str]) -> str:
    """Why this is somebody else's Knex: another history, or tables without what the original's first migration made."""
    if FIRST_KNEX_MIGRATION not in history:
        return f"{FIRST_KNEX_MIGRATION} is not in its history"
    cursor.execute(
        "SELECT p.place FROM unnest(%s::text[]) p(place) WHERE to_regclass(split_part(p.place, '.', 1)) IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(split_part(p.place, '.', 1)) "
        "AND a.attname = split_part(p.place, '.', 2) AND NOT a.attisdropped) ORDER BY 1",
        [list(MARKS)],
    )
    missing = ", ".join(place for (place,) in cursor.fetchall())
    return f"there is no column {missing}" if missing else ""


def _table(cursor: Any, name: str, estimate: int, size_bytes: int) -> OriginalTable:
    if estimate > _COUNTED_UP_TO_ROWS:
        return OriginalTable(name, estimate, True, size_bytes)
    cursor.execute(f"SELECT count(*) FROM (SELECT FROM {name} LIMIT {_COUNTED_UP_TO_ROWS + 1}) counted")
    rows = cursor.fetchone()[0]
    return OriginalTable(name, rows, rows > _COUNTED_UP_TO_ROWS, size_bytes)


def _was_taken_over(connection: BaseDatabaseWrapper) -> bool:
    """Whether the ledger says so: Knex's tables may be gone by now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('migrator_runs') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return False
        cursor.execute("SELECT EXISTS (SELECT FROM migrator_runs WHERE command = %s)", [COMMAND])
        return bool(cursor.fetchone()[0])


def refuse_unadopted(connection: BaseDatabaseWrapper, plan: Plan) -> None:
    """What `migrate` and `rollback` ask before they touch anything: is this database the original's?

    Raises:
        HistoryRefused: if it is and was not adopted yet, or if adopted tables would be dropped by unapplying what
            never made them.
    """
    wanted = {(migration.app_label, migration.name): backwards for migration, backwards in plan.steps}
    concerned = [key for key in ADOPTED if key in wanted]
    if not concerned:
        return
    if any(wanted[key] for key in concerned):
        if find(connection) is None:
            return
        raise HistoryRefused(
            f"This database was taken over from the original system; {'.'.join(concerned[-1])} did not make its "
            "tables, and undoing it would drop them with everybody's rows.",
            "They are older than this service; nothing was changed.",
            "Nothing needs to be undone to go back to the original: docs/adopting.md has each step's way back.",
        )
    if (original := find(connection)) is None:
        refuse_without_knex(connection)
        return
    if set(concerned) <= MigrationRecorder(connection).applied_migrations().keys():
        return  # adopted since the plan was read; it is read again under the lock
    if original.doubt:
        raise original.refusal()
    begun = " An adoption has begun, and is not through." if plan.applied else ""
    raise HistoryRefused(
        f"This is the original system's database, and it has not been taken over: {original.summary}.{begun}",
        "Its tables are there and hold its rows, so they must be adopted, not created; nothing was changed. An "
        "ordinary deployment never does that by itself.",
        "Look first, which changes nothing: 'manage.py adopt --plan'. Then 'manage.py adopt', in the order that "
        "docs/adopting.md gives.",
    )
