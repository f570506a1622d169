"""A copy of the live schema, and of some rows, in a schema of its own: what an adoption is tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption.original import TABLES
from rupaya.migrator.analysis.onetransaction import attempted
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.schema.dump import blocks, quoted

_NOT_VALID = " NOT VALID"
# What rows refer to, table after table: a row goes nowhere without it.
_REFERENCES = """
    SELECT r.relname, p.relname, quote_ident(a.attname), quote_ident(f.attname)
    FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid JOIN pg_class p ON p.oid = c.confrelid
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
    WHERE c.contype = 'f' AND array_length(c.conkey, 1) = 1
      AND c.conrelid IN (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) name)
      AND c.confrelid IN (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) name)
    ORDER BY 1, 2, 3
"""
# The copy has types of its own: a value of the live one goes by way of its text.
_COLUMNS = """
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),
        string_agg(quote_ident(attname) || CASE WHEN t.typnamespace = current_schema()::regnamespace
            THEN '::text::' || format_type(atttypid, atttypmod) ELSE '' END, ', ' ORDER BY attnum)
    FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
_SEQUENCES = """
    SELECT pg_get_serial_sequence(%(here)s, attname), pg_get_serial_sequence(%(there)s, attname) FROM pg_attribute
    WHERE attrelid = %(here)s::regclass AND attnum > 0 AND NOT attisdropped
      AND pg_get_serial_sequence(%(here)s, attname) IS NOT NULL
      AND pg_get_serial_sequence(%(there)s, attname) IS NOT NULL
"""
_ENABLED_TRIGGERS = """
    SELECT quote_ident(tgname) FROM pg_trigger
    WHERE tgrelid = %s::regclass AND tgenabled = 'O' AND NOT tgisinternal
"""
# Functions of an extension in this schema that something here calls by their bare names.
_OF_EXTENSIONS = """
    SELECT p.proname, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), p.pronargs,
           quote_ident(n.nspname) || '.' || quote_ident(p.proname),
           CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.pronamespace = coalesce(current_schema(), 'public')::regnamespace AND p.prokind = 'f'
      AND EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
      AND EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
                  AND d.deptype = 'n')
"""


def functions_of_extensions(cursor: Any) -> list[str]:
    """SQL that makes stand-ins for them; to be read before the names mean another schema."""
    cursor.execute(_OF_EXTENSIONS)
    made = []
    for name, arguments, result, number, there, volatility in cursor.fetchall():
        given = ", ".join(f"${position}" for position in range(1, number + 1))
        made.append(
            f'CREATE FUNCTION "{name}"({arguments}) RETURNS {result} LANGUAGE sql {volatility} '
            f"AS $$ SELECT {there}({given}) $$"
        )
    return made


def copy_structure(connection: BaseDatabaseWrapper, live: Catalog, before: list[str]) -> list[str]:
    """Make all that a catalog has, each thing after what it needs; returns what the server refused, in its words."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL check_function_bodies = off")
        waiting = [*before, *blocks({**live, "extensions": {}})]
        while waiting:
            refused: list[str] = []
            again: list[str] = []
            for block in waiting:
                with attempted(connection) as said:
                    cursor.execute(block)
                if said:
                    again.append(block)
                    refused.append(f"{block.partition('(')[0].strip()}: {said[0]}")
            if len(again) == len(waiting):
                return refused
            waiting = again
    return []


def without_foreign_keys(live: Catalog) -> tuple[Catalog, list[str]]:
    """A catalog without those of the original's tables, and SQL that adds them once rows are there.

    Two tables may refer to each other: then neither can be made first, nor its rows.
    """
    return _without(live, lambda table, its: table in TABLES and its["kind"] == "foreign key")


def without_not_valid(live: Catalog) -> tuple[Catalog, list[str]]:
    """A catalog without constraints that older rows may break, and SQL that adds them once rows are there."""
    return _without(live, lambda _table, its: its["definition"].endswith(_NOT_VALID))


def _without(live: Catalog, is_one: Callable[[str, dict[str, Any]], bool]) -> tuple[Catalog, list[str]]:
    relations, later = {}, []
    for name, facts in live["relations"].items():
        constraints = facts.get("constraints", {})
        waiting = {c: its for c, its in constraints.items() if is_one(name, its)}
        later += [
            f"ALTER TABLE {quoted(name)} ADD CONSTRAINT {quoted(c)} {its['definition']}" for c, its in waiting.items()
        ]
        kept = {c: its for c, its in constraints.items() if c not in waiting}
        relations[name] = {**facts, "constraints": kept} if waiting else facts
    return {**live, "relations": relations}, later


def references(cursor: Any) -> list[tuple[str, str, str, str]]:
    """Which of the original's tables refers to which, by which columns; to be read before names mean another schema."""
    cursor.execute(_REFERENCES, {"tables": list(TABLES)})
    return list(cursor.fetchall())


def copy_rows(
    connection: BaseDatabaseWrapper,
    source: str,
    rows: dict[str, list[str]],
    keys: dict[str, str],
    refers: list[tuple[str, str, str, str]],
) -> None:
    """Copy rows by their keys, with the rows that they refer to, and Django's history whole.

    `source` is the live schema, quoted; `keys` gives each table's primary key, and `refers` is what `references` found.
    """
    wanted = {table: set(rows.get(table, ())) for table in TABLES}
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NOT NULL", [list(TABLES)])
        there = {name for (name,) in cursor.fetchall()}
        before = -1
        while before < (before := sum(map(len, wanted.values()))):
            for table, parent, column, parent_key in refers:
                cursor.execute(
                    f"SELECT DISTINCT p.{keys[parent]}::text FROM {source}.{parent} p "
                    f"JOIN {source}.{table} c ON p.{parent_key} = c.{column} WHERE c.{keys[table]} = ANY(%s::uuid[])",
                    [sorted(wanted[table])],
                )
                wanted[parent] |= {found for (found,) in cursor.fetchall()}
        for table in (table for table in TABLES if table in there):
            # What triggers do to rows that are written was done to these.
            cursor.execute(_ENABLED_TRIGGERS, [table])
            triggers = [name for (name,) in cursor.fetchall()]
            for name in triggers:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
            _copy(cursor, source, table, f"WHERE {keys[table]} = ANY(%s::uuid[])", [sorted(wanted[table])])
            for name in triggers:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")


def copy_whole(connection: BaseDatabaseWrapper, source: str, table: str) -> None:
    """Copy every row of a table, if it is there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
        if cursor.fetchone()[0]:
            _copy(cursor, source, table, "", [])


def _copy(cursor: Any, source: str, table: str, where: str, parameters: list[Any]) -> None:
    cursor.execute(_COLUMNS, [table])
    columns, values = cursor.fetchone()
    cursor.execute(
        f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {source}.{table} {where}",
        parameters,
    )
    cursor.execute(_SEQUENCES, {"here": table, "there": f"{source}.{table}"})
    for here, there in cursor.fetchall():  # where it stands, and not where it ought to
        cursor.execute(f"SELECT setval(%s, last_value, is_called) FROM {there}", [here])
