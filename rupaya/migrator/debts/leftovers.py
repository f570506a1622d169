"""What a payment that did not get to its end has left in the database, found by the names that are in it.

A constraint that is not valid yet holds for each row that is written: rows that break it cannot be changed any more.
"""

from __future__ import annotations

from typing import Any

from rupaya.migrator.attic.facts import execute, fetch
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.statements import as_stored

_CONSTRAINTS = """
    SELECT conname::text, format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname), convalidated
    FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(%s)) AND conname = ANY(%s)
"""
_INDEXES = """
    SELECT format('DROP INDEX %%s', i.indexrelid::regclass)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = to_regclass(quote_ident(%s)) AND c.relname = ANY(%s)
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
"""


def unproved(connection: Any, debt: Debt) -> dict[str, str]:
    """Its constraints that hold for new rows and are not valid yet: name, and the SQL that drops it."""
    found = _fetch(connection, _CONSTRAINTS, debt, "constraint")
    return {name: sql for name, sql, is_valid in found if not is_valid}


def take_away(connection: Any, debt: Debt) -> None:
    """Drop all of it: for a debt that will never be paid, before anything else is made under these names."""
    drops = [sql for _name, sql, _is_valid in _fetch(connection, _CONSTRAINTS, debt, "constraint")]
    for sql in drops:
        execute(connection, sql)
    for (sql,) in _fetch(connection, _INDEXES, debt, "index"):  # those of a constraint are gone with it
        execute(connection, sql)


def _fetch(connection: Any, query: str, debt: Debt, kind: str) -> list[tuple[Any, ...]]:
    names = [as_stored(part[kind]) for part in debt.payment if kind in part]
    if not names:
        return []
    return fetch(connection, query, [debt.table, names])
