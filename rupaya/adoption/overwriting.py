"""Triggers that would give rows which are repaired another `updated_at`, by what they do on a copy.

In what words a function says so, and in which language, nobody can read off its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption.original import TABLES
from rupaya.migrator.analysis.onetransaction import attempted

# Those that the contract does not have, on tables that have the column; and all columns that a change can name.
_SUSPECTS = """
    SELECT c.relname, quote_ident(t.tgname),
        (SELECT string_agg(format('%%1$I = %%1$I', a.attname), ', ') FROM pg_attribute a WHERE a.attrelid = c.oid
         AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname <> 'updated_at')
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) name) AND NOT t.tgisinternal
      AND t.tgenabled IN ('O', 'A') AND t.tgtype & 2 > 0 AND t.tgtype & 16 > 0 AND p.proname <> 'set_updated_at'
      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'updated_at')
    ORDER BY 1, 2
"""


def overwriting(connection: BaseDatabaseWrapper) -> Iterator[tuple[str, str]]:
    """Table and trigger of each that does it to a row of the copy, if there is one; the copy stays as it is."""
    with connection.cursor() as cursor:
        cursor.execute(_SUSPECTS, [list(TABLES)])
        for table, trigger, same in cursor.fetchall():
            if _overwrites(connection, cursor, table, trigger, same):
                yield table, trigger


def _overwrites(connection: BaseDatabaseWrapper, cursor: Any, table: str, trigger: str, same: str) -> bool:
    found: list[bool] = []
    with attempted(connection):
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER; ALTER TABLE {table} ENABLE TRIGGER {trigger}")
        # Another moment than the row has, or a trigger that looks for changes would see none. What takes changes back
        # keeps the row's own, and is found by what is repaired.
        cursor.execute(
            "WITH one AS (SELECT ctid AS place, updated_at AS was, "
            f"coalesce(updated_at, now()) - interval '1 day' AS moment FROM {table} LIMIT 1) "
            f"UPDATE {table} SET {same}, updated_at = moment FROM one WHERE ctid = place "
            "RETURNING updated_at IS DISTINCT FROM moment AND updated_at IS DISTINCT FROM was"
        )
        found = [bool(differs) for (differs,) in cursor.fetchall()]
        transaction.set_rollback(True, using=connection.alias)
    return any(found)
