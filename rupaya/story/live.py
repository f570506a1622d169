"""The live tables: what they are, from PostgreSQL's catalog, and how big and how used, from its statistics.

Nothing here counts rows or reads a table: the rows are the server's estimates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from rupaya.migrator.schema.catalog import ATTIC
from rupaya.migrator.schema.diff import short_type
from rupaya.story.reading import rows

MAX_TABLES = 500
# Some indexes are read once a month.
UNUSED_AFTER = timedelta(days=35)

HERE = "n.nspname = coalesce(current_schema(), 'public')"
NAME = f"CASE WHEN {HERE} THEN c.relname ELSE n.nspname || '.' || c.relname END"
# Without what was put away, which is no part of the schema.
OURS = f"n.nspname NOT IN ('information_schema', '{ATTIC}') AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'm')"
_TABLES = f"""
    SELECT c.oid, {NAME}, c.relkind::text, c.reltuples::bigint, pg_table_size(c.oid), pg_indexes_size(c.oid),
           CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(c.reltoastrelid) END,
           pg_total_relation_size(c.oid), greatest(s.last_vacuum, s.last_autovacuum),
           greatest(s.last_analyze, s.last_autoanalyze), coalesce(s.n_dead_tup, 0), obj_description(c.oid, 'pg_class'),
           coalesce(s.n_tup_ins - s.n_tup_del, 0)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE {OURS} AND (%(name)s = '' OR {NAME} = %(name)s)
    ORDER BY 8 DESC, 2 LIMIT {MAX_TABLES}
"""  # noqa: S608 - constants
_INDEXES = """
    SELECT i.indrelid, c.relname, pg_get_indexdef(i.indexrelid), i.indisprimary, i.indisunique,
           i.indisvalid AND i.indisready, pg_relation_size(i.indexrelid), coalesce(s.idx_scan, 0),
           EXISTS (SELECT FROM pg_constraint con WHERE con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x'))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
    WHERE i.indrelid = ANY(%(oids)s::oid[]) ORDER BY i.indisprimary DESC, c.relname
"""
_RESET = "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
_SHAPES = f"""
    SELECT c.oid, {NAME} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {OURS} AND NOT c.relispartition ORDER BY 2 LIMIT {MAX_TABLES}
"""  # noqa: S608 - constants
# A default is printed under a lock on its table, which a migration may hold: the diagram goes without.
_COLUMNS = """
    SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           CASE WHEN %(defaults)s THEN CASE WHEN a.attgenerated <> '' THEN 'generated: ' ELSE '' END
                                       || pg_get_expr(d.adbin, d.adrelid, true) END,
           a.attidentity::text, EXISTS (SELECT FROM pg_constraint con WHERE con.conrelid = a.attrelid
               AND con.contype = 'p' AND a.attnum = ANY(con.conkey)), col_description(a.attrelid, a.attnum)
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT starts_with(a.attname, 'migrator_attic_') ORDER BY a.attrelid, a.attnum
"""
_FOREIGN_KEYS = f"""
    WITH named AS (SELECT c.oid, {NAME} AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE {OURS})
    SELECT con.conname, child.name, parent.name,
           ARRAY(SELECT a.attname::text FROM unnest(con.conkey) WITH ORDINALITY k (number, position)
                 JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.number ORDER BY k.position),
           ARRAY(SELECT a.attname::text FROM unnest(con.confkey) WITH ORDINALITY k (number, position)
                 JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.number ORDER BY k.position),
           con.confdeltype::text, con.convalidated
    FROM pg_constraint con JOIN named child ON child.oid = con.conrelid JOIN named parent ON parent.oid = con.confrelid
    WHERE con.contype = 'f' AND con.conparentid = 0
      AND (con.conrelid = ANY(%(oids)s::oid[]) OR con.confrelid = ANY(%(oids)s::oid[]))
    ORDER BY 2, 1
"""  # noqa: S608 - constants
_CONSTRAINTS = """
    SELECT con.conname, con.contype::text, pg_get_constraintdef(con.oid, true), con.convalidated
    FROM pg_constraint con
    WHERE con.conrelid = ANY(%(oids)s::oid[]) AND con.contype IN ('p', 'u', 'c', 'x') ORDER BY con.contype DESC, 1
"""
_TRIGGERS = """
    SELECT t.tgname, pg_get_triggerdef(t.oid, true), t.tgenabled IN ('O', 'A')
    FROM pg_trigger t WHERE t.tgrelid = ANY(%(oids)s::oid[]) AND NOT t.tgisinternal ORDER BY 1
"""
_KINDS = {"r": "table", "p": "partitioned table", "m": "materialized view"}
_CONSTRAINT_KINDS = {"p": "primary key", "u": "unique", "c": "check", "x": "exclusion"}
_ON_DELETE = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}


@dataclass(frozen=True)
class Index:
    """An index, and how it is used."""

    name: str
    definition: str
    is_primary: bool
    is_unique: bool
    is_valid: bool
    size_bytes: int
    scans: int
    is_of_constraint: bool

    @property
    def is_unused(self) -> bool:
        """Whether nothing has read it, and it enforces nothing."""
        return not (self.scans or self.is_unique or self.is_of_constraint)


@dataclass(frozen=True)
class LiveTable:
    """A table, its size and its upkeep."""

    oid: int
    name: str
    kind: str
    rows: int
    """The server's estimate; -1: it was never analysed."""
    table_bytes: int
    index_bytes: int
    toast_bytes: int
    total_bytes: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    dead_rows: int
    comment: str | None
    grown_by: int
    """Rows, since statistics are kept."""
    indexes: tuple[Index, ...] = ()

    @property
    def unused_indexes(self) -> list[Index]:
        """Those that only cost."""
        return [index for index in self.indexes if index.is_valid and index.is_unused]

    @property
    def invalid_indexes(self) -> list[Index]:
        """Those that a concurrent build left unfinished."""
        return [index for index in self.indexes if not index.is_valid]


@dataclass(frozen=True)
class LiveColumn:
    name: str
    type: str
    is_nullable: bool
    default: str
    is_primary: bool
    comment: str | None


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key, from the table that has it to the one that it refers to."""

    name: str
    table: str
    refers_to: str
    columns: tuple[str, ...]
    referred: tuple[str, ...]
    on_delete: str
    is_valid: bool


@dataclass(frozen=True)
class Constraint:
    """A rule of the table's own."""

    name: str
    kind: str
    definition: str
    is_valid: bool


@dataclass(frozen=True)
class Trigger:
    name: str
    definition: str
    is_enabled: bool


@dataclass(frozen=True)
class Shape:
    """A table as the diagram shows it."""

    name: str
    columns: tuple[LiveColumn, ...]
    foreign_columns: frozenset[str]


@dataclass(frozen=True)
class Details:
    table: LiveTable
    columns: tuple[LiveColumn, ...]
    constraints: tuple[Constraint, ...]
    triggers: tuple[Trigger, ...]
    refers_to: tuple[ForeignKey, ...]
    referred_by: tuple[ForeignKey, ...]


def tables(connection: BaseDatabaseWrapper, name: str = "") -> list[LiveTable]:
    """Every table with its indexes, the biggest first; or the one of that name."""
    found = [
        LiveTable(oid, name, _KINDS[kind], *rest) for oid, name, kind, *rest in rows(connection, _TABLES, name=name)
    ]
    indexes: dict[int, list[Index]] = defaultdict(list)
    for oid, *facts in rows(connection, _INDEXES, oids=[table.oid for table in found]):
        indexes[oid].append(Index(*facts))
    return [LiveTable(**{**vars(table), "indexes": tuple(indexes[table.oid])}) for table in found]


def statistics_since(connection: BaseDatabaseWrapper) -> datetime | None:
    """Since when scans are counted; None: since the database was made."""
    found = rows(connection, _RESET)
    return found[0][0] if found else None


def details(connection: BaseDatabaseWrapper, name: str) -> Details | None:
    """One table; None if there is no such table."""
    found = tables(connection, name)
    if not found:
        return None
    (table,) = found
    oids = [table.oid]
    keys = _foreign_keys(connection, oids)
    return Details(
        table,
        tuple(_columns(connection, oids, defaults=True)[table.oid]),
        tuple(
            Constraint(name, _CONSTRAINT_KINDS[kind], definition, is_valid)
            for name, kind, definition, is_valid in rows(connection, _CONSTRAINTS, oids=oids)
        ),
        tuple(Trigger(*facts) for facts in rows(connection, _TRIGGERS, oids=oids)),
        tuple(key for key in keys if key.table == name),
        tuple(key for key in keys if key.refers_to == name),
    )


def shapes(connection: BaseDatabaseWrapper, wanted: Collection[str] | None) -> tuple[list[Shape], list[ForeignKey]]:
    """The tables of these names, or all, and the foreign keys among them."""
    names = {oid: name for oid, name in rows(connection, _SHAPES) if wanted is None or name in wanted}
    columns = _columns(connection, list(names), defaults=False)
    keys = _foreign_keys(connection, list(names))
    shown = set(names.values())
    foreign: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        foreign[key.table].update(key.columns)
    return (
        [Shape(name, tuple(columns[oid]), frozenset(foreign[name])) for oid, name in names.items()],
        [key for key in keys if key.table in shown and key.refers_to in shown],
    )


def models_of_tables() -> dict[str, type[Model]]:
    """The model of each table, proxies and unmanaged models of others' tables included."""
    found: dict[str, type[Model]] = {}
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy:
            found.setdefault(model._meta.db_table.replace('"', ""), model)
    return found


def project_tables() -> dict[str, list[str]]:
    """The tables of each of the project's own apps that has any, by its label: what its migrations make."""
    found = {
        config.label: sorted(
            model._meta.db_table
            for model in config.get_models(include_auto_created=True)
            if model._meta.managed and not model._meta.proxy
        )
        for config in apps.get_app_configs()
        if _is_ours(Path(config.path))
    }
    return {label: tables for label, tables in found.items() if tables}


def project_apps() -> set[str]:
    """The labels of the project's own apps, with tables or without."""
    return {config.label for config in apps.get_app_configs() if _is_ours(Path(config.path))}


def _is_ours(folder: Path) -> bool:
    return settings.BASE_DIR in folder.parents and not {"site-packages", "dist-packages"} & set(folder.parts)


def _columns(connection: BaseDatabaseWrapper, oids: list[int], *, defaults: bool) -> dict[int, list[LiveColumn]]:
    found: dict[int, list[LiveColumn]] = defaultdict(list)
    for oid, name, type_, is_nullable, default, identity, is_primary, comment in rows(
        connection, _COLUMNS, oids=oids, defaults=defaults
    ):
        written = {"a": "identity, always", "d": "identity"}.get(identity, short_type(default or ""))
        found[oid].append(LiveColumn(name, short_type(type_), is_nullable, written, is_primary, comment))
    return found


def _foreign_keys(connection: BaseDatabaseWrapper, oids: list[int]) -> list[ForeignKey]:
    return [
        ForeignKey(name, table, parent, tuple(columns), tuple(referred), _ON_DELETE[on_delete], is_valid)
        for name, table, parent, columns, referred, on_delete, is_valid in rows(connection, _FOREIGN_KEYS, oids=oids)
    ]
