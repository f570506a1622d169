"""The settings of a session, so that none of them leaks from one migration to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# By their values, and not by where these come from: a new connection has them from elsewhere. `role` is not in
# pg_settings; what begins with transaction_ is the transaction's, but for its time limit.
_READ = """
    SELECT name, setting, source FROM pg_settings
    WHERE context IN ('user', 'superuser') AND name <> ALL (%s)
      AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable', 'seed')
    UNION ALL SELECT 'role', current_setting('role'), ''
"""
TIMEOUTS = ("lock_timeout", "statement_timeout")


def read_settings(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """What this session is set to, its role and its search_path included; the migrator's own timeouts left out."""
    return {name: value for name, value, _source in _read(connection)}


def _read(connection: BaseDatabaseWrapper) -> list[tuple[str, str, str]]:
    with connection.connection.cursor() as cursor:
        cursor.execute(_READ, [list(TIMEOUTS)])
        rows: list[tuple[str, str, str]] = cursor.fetchall()
        return rows


def restore_settings(connection: BaseDatabaseWrapper, wanted: Mapping[str, str]) -> dict[str, str]:
    """Give a session the settings that it had. Returns those that were others, with the values that were found."""
    changed = {
        name: value
        for name, value, source in _read(connection)
        # One that was not there before: an extension's own, or one that was made up and set.
        if (wanted[name] != value if name in wanted else source == "session")
    }
    with connection.connection.cursor() as cursor:
        # The role first: a role that was taken may not be allowed to set the others.
        for name in sorted(changed, key=lambda name: name != "role"):
            if name in wanted:
                cursor.execute("SELECT set_config(%s, %s, false)", [name, wanted[name]])
            else:
                cursor.execute(f"RESET {name}")
    return changed


@contextmanager
def session_settings(connection: BaseDatabaseWrapper, **values: int | str) -> Iterator[None]:
    """Set ``lock_timeout`` (milliseconds) and others for as long as the block runs; on a new connection as well.

    Afterwards they are again what they were, or what a new connection began with.
    """
    before: dict[str, str] = {}

    def apply(connection: BaseDatabaseWrapper) -> None:
        with connection.connection.cursor() as cursor:
            # One round trip for both; the first part is worked out before a row of it reaches the second.
            old = ", ".join(f"current_setting(%s) AS setting_{number}" for number in range(len(values)))
            new = ", ".join("set_config(%s, %s, false)" for _ in values)
            cursor.execute(
                f"WITH old AS MATERIALIZED (SELECT {old}) SELECT old.*, {new} FROM old",  # noqa: S608 - placeholders
                [*values, *(str(part) for pair in values.items() for part in pair)],
            )
            before.update(zip(values, cursor.fetchone(), strict=False))

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
                _set(cursor, before)


def _set(cursor: Any, values: Mapping[str, int | str]) -> None:
    cursor.execute(
        "SELECT " + ", ".join("set_config(%s, %s, false)" for _ in values),
        [str(part) for pair in values.items() for part in pair],
    )
