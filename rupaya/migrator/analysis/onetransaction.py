"""A schema of its own in one transaction that is rolled back, for what is to be tried by a role without CREATEDB.

Nothing that is there is locked, but what is read; nothing is left behind, whenever the process dies. What cannot be in
a transaction, or would commit, is done in it all the same: no other session sees these tables.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.postgres.operations import NotInTransactionMixin
from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.django import nothing_is_durable
from rupaya.migrator.errors import EnvironmentUnfit, driver_text, sqlstate
from rupaya.migrator.operations.backfill import MAY_BE_IN_A_TRANSACTION
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.catalog import Names

PREFIX = "trial_"
_CONCURRENTLY = re.compile(
    r"\A(\s*(?:CREATE\s+(?:UNIQUE\s+)?INDEX|DROP\s+INDEX|REINDEX\b.*?))\s+CONCURRENTLY\b", re.IGNORECASE
)
_WRITABLE = """
    SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
           has_database_privilege(current_database(), 'CREATE'), current_user, current_database()
"""


@contextmanager
def schema_of_its_own(connection: BaseDatabaseWrapper, *, lock_timeout_ms: int) -> Iterator[str]:
    """Let unqualified names mean a new, empty schema for as long as the block runs; yields its name.

    Raises:
        EnvironmentUnfit: if the server can only be read, or the role may not create schemas.
    """
    connection = connections[connection.alias]  # not the proxy, which is no connection's equal
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute(_WRITABLE)
        is_read_only, may_create, role, database = cursor.fetchone()
    if is_read_only:
        raise EnvironmentUnfit(
            "The server, or this session, can only be read.",
            "Nothing can be tried out on it; nothing was changed.",
            "Ask the primary, without default_transaction_read_only.",
        )
    if not may_create:
        raise EnvironmentUnfit(
            f"The role '{role}' may not create schemas in the database {database}.",
            "Nothing can be tried out without one; nothing was changed.",
            f'Let the database\'s owner run: GRANT CREATE ON DATABASE "{database}" TO "{role}".',
        )
    name = PREFIX + secrets.token_hex(8)
    with (
        nothing_is_durable(connection),
        _bearing_transactions(connection),
        transaction.atomic(using=connection.alias),
        connection.execute_wrapper(_not_concurrently),
    ):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(lock_timeout_ms)])
            cursor.execute(f"CREATE SCHEMA {name}")
            cursor.execute(f"SET LOCAL search_path TO {name}")
        try:
            yield name
        finally:
            transaction.set_rollback(True, using=connection.alias)


def names_here(cursor: Any) -> Names:
    """The names of all that is in the current schema, and of extensions."""
    everywhere = catalog.names(cursor)
    return {category: frozenset(name for name in names if "." not in name) for category, names in everywhere.items()}


@contextmanager
def attempted(connection: BaseDatabaseWrapper) -> Iterator[list[str]]:
    """Undo the block alone if the server refuses something in it; the list then has what it said."""
    said: list[str] = []
    try:
        with transaction.atomic(using=connection.alias):
            yield said
    except Error as error:
        if not sqlstate(error) or connection.connection is None or connection.connection.closed:
            raise
        said.append(driver_text(error))


@contextmanager
def _bearing_transactions(connection: BaseDatabaseWrapper) -> Iterator[None]:
    before = NotInTransactionMixin._ensure_not_in_transaction

    def check(self: Any, schema_editor: Any) -> None:
        if schema_editor.connection is not connection:
            before(self, schema_editor)

    NotInTransactionMixin._ensure_not_in_transaction = check  # type: ignore[method-assign]
    setattr(connection, MAY_BE_IN_A_TRANSACTION, True)
    try:
        yield
    finally:
        NotInTransactionMixin._ensure_not_in_transaction = before  # type: ignore[method-assign]
        delattr(connection, MAY_BE_IN_A_TRANSACTION)


def _not_concurrently(
    execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: dict[str, Any]
) -> Any:
    return execute(_CONCURRENTLY.sub(r"\1", sql) if isinstance(sql, str) else sql, parameters, many, context)
