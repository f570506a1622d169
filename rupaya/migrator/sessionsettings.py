"""The settings of a session, so that none of them leaks from one migration to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# `role` is not in pg_settings. What a session inherits from the role or the database has another source than 'session'.
_READ = """
    SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> ALL (%s)
    UNION ALL SELECT 'role', current_setting('role')
    UNION ALL SELECT 'search_path', current_setting('search_path')
"""
TIMEOUTS = ("lock_timeout", "statement_timeout")


def read_settings(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """What was set in this session, its role and its search_path included; the migrator's own timeouts left out."""
    with connection.connection.cursor() as cursor:
        cursor.execute(_READ, [list(TIMEOUTS)])
        return dict(cursor.fetchall())


def restore_settings(connection: BaseDatabaseWrapper, wanted: Mapping[str, str]) -> dict[str, str]:
    """Give a session the settings that it had. Returns those that were others, with the values that were found."""
    found = read_settings(connection)
    changed = {name: value for name, value in found.items() if wanted.get(name) != value}
    changed |= {name: "" for name in wanted if name not in found}
    with connection.connection.cursor() as cursor:
        # The role first: a role that was taken may not be allowed to set the others.
        for name in sorted(changed, key=lambda name: name != "role"):
            if name in wanted:
                cursor.execute("SELECT set_config(%s, %s, false)", [name, wanted[name]])
            else:
                cursor.execute(f"RESET {connection.ops.quote_name(name)}" if "." not in name else f"RESET {name}")
    return changed


@contextmanager
def session_settings(connection: BaseDatabaseWrapper, **values: int | str) -> Iterator[None]:
    """Set ``lock_timeout`` (milliseconds) and others for as long as the block runs; on a new connection as well."""

    def apply(connection: BaseDatabaseWrapper) -> None:
        with connection.connection.cursor() as cursor:
            cursor.execute(
                "SELECT " + ", ".join("set_config(%s, %s, false)" for _ in values),
                [str(part) for pair in values.items() for part in pair],
            )

    def on_reconnect(connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
        if connection.alias == alias:
            apply(connection)

    alias = connection.alias
    connection.ensure_connection()
    apply(connection)
    connection_created.connect(on_reconnect)
    try:
        yield
    finally:
        connection_created.disconnect(on_reconnect)
        raw = connection.connection
        # Where the block failed, its failure is the one to report; and a transaction that is aborted resets by itself.
        if raw is not None and not raw.closed and not connection.needs_rollback:
            with suppress(psycopg2.Error, DatabaseError), raw.cursor() as cursor:
                cursor.execute("; ".join(f"RESET {name}" for name in values))
