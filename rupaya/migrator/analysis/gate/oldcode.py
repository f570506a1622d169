"""What the deployed release's code sends, run again after a change: what it cannot do any more is what old code cannot.

The statements are those of its models: the columns that Django would name, in the form that Django would send. They run
as a role that owns nothing, as an application may, and are rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg2
from django.db.models import Model
from django.db.models.fields import NOT_PROVIDED
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.analysis.gate.madeuprows import ROWS, MadeUpTable
from rupaya.migrator.django import table_of
from rupaya.migrator.errors import driver_text

# One of PostgreSQL's own: it may do nothing with tables, and need not be created.
APPLICATION = "pg_signal_backend"

_GRANTS = """
    DO $$
    DECLARE name text;
    BEGIN
        FOR name IN SELECT nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' LOOP
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO PUBLIC', name);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO PUBLIC', name);
            EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO PUBLIC', name);
        END LOOP;
    END $$
"""


@dataclass(frozen=True)
class Sent:
    """One statement of old code."""

    table: str
    verb: str
    sql: str
    values: tuple[str | None, ...]


def grant(cursor: Any) -> None:
    """Let the application's role do with the tables what an application does."""
    cursor.execute(_GRANTS)


def statements(models: Iterable[type[Model]], tables: Mapping[str, MadeUpTable]) -> list[Sent]:
    """A select, an insert, an update and a deletion for each model whose table is there."""
    found = []
    for model in models:
        if model._meta.proxy:
            continue
        columns = [field for field in model._meta.local_concrete_fields if field.column]
        name = _quoted(table_of(model))
        listed = ", ".join(f"{name}.{_quoted(str(field.column))}" for field in columns)
        found.append(Sent(name, "SELECT", f"SELECT {listed} FROM {name} LIMIT 1", ()))
        table = tables.get(table_of(model)) or tables.get(name)
        if table is not None and set(map(str, (field.column for field in columns))) <= set(table.columns):
            found += _writing(name, columns, table)
    return found


def _writing(name: str, columns: list[Any], table: MadeUpTable) -> list[Sent]:
    # Far behind the rows there are, but within what made-up values of a short type can hold.
    number = ROWS + 7
    named, values, put = [], [], []
    for field in columns:
        generated = getattr(field, "generated", False)
        known = table.columns[field.column]
        if generated or (known.fills_itself and field.primary_key):
            continue
        named.append(_quoted(str(field.column)))
        maker = table.makers.get(field.column)
        if field.db_default is not NOT_PROVIDED or maker is None:
            put.append("DEFAULT")
        else:
            put.append("%s")
            values.append(maker(number))
    insert = (
        f"INSERT INTO {name} ({', '.join(named)}) VALUES ({', '.join(put)})"
        if named
        else f"INSERT INTO {name} DEFAULT VALUES"
    )
    # The row that was inserted last: nothing refers to that one, whatever refers to others.
    delete = f"{insert}; DELETE FROM {name} WHERE ctid = (SELECT max(ctid) FROM {name})"
    found = [Sent(name, "INSERT", insert, tuple(values)), Sent(name, "DELETE", delete, tuple(values))]
    changed = [column for column, what in zip(named, put, strict=True) if what == "%s"]
    if changed:
        settings = ", ".join(f"{column} = {column}" for column in changed)
        where = f"ctid = (SELECT min(ctid) FROM {name})"
        found.append(Sent(name, "UPDATE", f"UPDATE {name} SET {settings} WHERE {where}", ()))
    return found


def outcomes(connection: PgConnection, sent: Iterable[Sent], *, as_application: bool) -> dict[Sent, str]:
    """How each statement ends now, and its COMMIT: by how many rows, or with which error. Nothing of it stays."""
    found: dict[Sent, str] = {}
    in_transaction = connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT old_code" if in_transaction else "BEGIN")
        if as_application:
            cursor.execute(f"SET LOCAL ROLE {APPLICATION}")
        for statement in sent:
            cursor.execute("SAVEPOINT one_statement")
            try:
                cursor.execute(statement.sql, statement.values or None)
                found[statement] = str(cursor.rowcount)
                if statement.verb != "SELECT":
                    at_commit = replace(statement, verb=f"{statement.verb} and COMMIT")
                    found[at_commit] = _deferred(cursor, str(cursor.rowcount))
            except psycopg2.Error as error:
                found[statement] = _ended(error)
            cursor.execute("ROLLBACK TO SAVEPOINT one_statement")
        cursor.execute("ROLLBACK TO SAVEPOINT old_code" if in_transaction else "ROLLBACK")
        if in_transaction:
            cursor.execute("RELEASE SAVEPOINT old_code")
    return found


def _deferred(cursor: Any, rows: str) -> str:
    """How what was put off till COMMIT ends, which is asked before it: made-up values may break rules of their own."""
    try:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg2.Error as error:
        return _ended(error)
    return rows


def _ended(error: psycopg2.Error) -> str:
    return f"{error.pgcode}: {driver_text(error)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
