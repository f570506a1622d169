"""What all databases of a server have in common is left as it is by whatever is tried in a scratch database.

Roles, their memberships and settings, and the other databases are the live ones, although the scratch database is not.
Before each commit there the server is asked what has been written to the catalogs that are shared. A role that is made
is dropped afterwards; anything else that would change is rolled back and refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it
from psycopg2.extensions import quote_ident

# Whoever writes to such a catalog keeps the lock to the end of the transaction. Every table's owner is in pg_shdepend.
_WRITTEN = """
    SELECT c.relname::text, has_table_privilege(c.oid, 'SELECT') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.database = 0
      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
      AND c.relisshared AND c.relkind = 'r' AND c.relname <> 'pg_shdepend'
    GROUP BY 1, 2
"""
_OWN = "(SELECT oid FROM pg_database WHERE datname = %s)"
# The scratch database's own rows go with it.
_WITHOUT_ITS_OWN = {
    "pg_database": f"oid <> {_OWN}",
    "pg_db_role_setting": f"setdatabase <> {_OWN}",
    "pg_shdescription": f"NOT (classoid = 'pg_database'::regclass AND objoid = {_OWN})",
    "pg_shseclabel": f"NOT (classoid = 'pg_database'::regclass AND objoid = {_OWN})",
}
_OF_ROLES = {"pg_authid": ("oid",), "pg_roles": ("oid",), "pg_auth_members": ("roleid", "member")} | {
    "pg_db_role_setting": ("setrole",),
    "pg_shdescription": ("objoid",),
}
"""By which columns a row belongs to a role, and goes with it."""
# Outside a transaction nothing can be taken back, so it is told by its text.
_COMMITS_AT_ONCE = re.compile(
    r"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER(?!\s+MAPPING)|GROUP|DATABASE|TABLESPACE|SUBSCRIPTION|SYSTEM)\b"
    r"|\b(?:DROP|REASSIGN)\s+OWNED\b|(?:\A|;)\s*(?:GRANT|REVOKE)\b(?![^;]*\bON\b)",
    re.IGNORECASE,
)

Row = tuple[str, frozenset[int]]
"""A row as text, and the roles that it belongs to."""


class NotContained(Exception):
    """What is tried would change what all databases of the server have in common; it was rolled back, or not begun."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"it would change what all databases of this server have in common ({what}), which a scratch database "
            "cannot keep to itself. Try it on a server of its own, which DATABASE_URL names"
        )


class Containment:
    """Stands around what is tried in one scratch database."""

    def __init__(self, connection: BaseDatabaseWrapper, keeper: PgConnection, name: str) -> None:
        self.connection: Any = connections[connection.alias]  # not the proxy, on which nothing can be set
        self.keeper = keeper
        self.name = name
        self.made: set[int] = set()
        """Roles that were made there, by their numbers."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Look before each commit for as long as the block runs."""
        before = vars(self.connection).get("_commit")
        self.connection._commit = self._commit
        try:
            with self.connection.execute_wrapper(self._execute):
                yield
        finally:
            if before is None:
                del self.connection._commit
            else:
                self.connection._commit = before

    def drop_roles(self) -> None:
        """Drop the roles that were made, once the database is gone that depends on them."""
        with suppress(psycopg2.Error), self.keeper.cursor() as cursor:
            cursor.execute("SELECT rolname::text FROM pg_roles WHERE oid = ANY(%s::oid[])", [list(self.made)])
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP ROLE {quote_ident(name, self.keeper)}")

    def _execute(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if not self.connection.in_atomic_block and (found := _COMMITS_AT_ONCE.search(str(sql))):
            raise NotContained(" ".join(found[0].strip("; \n").split()))
        return execute(sql, params, many, context)

    def _commit(self) -> Any:
        if self.connection.connection is not None:
            with self.connection.connection.cursor() as cursor:
                cursor.execute(_WRITTEN)
                written = cursor.fetchall()
            for catalog, is_readable in sorted(written, key=lambda row: row[0] != "pg_authid"):
                if not self._is_left_alone(catalog if is_readable else "pg_roles"):
                    self.connection._rollback()
                    raise NotContained(catalog)
        return type(self.connection)._commit(self.connection)

    def _is_left_alone(self, catalog: str) -> bool:
        """Whether what this transaction has done to a catalog goes with the roles that were made here."""
        here, elsewhere = self._rows(self.connection.connection, catalog), self._rows(self.keeper, catalog)
        added, gone = here - elsewhere, elsewhere - here
        if catalog in ("pg_authid", "pg_roles"):
            known = {role for _text, roles in elsewhere for role in roles}
            self.made |= {role for _text, roles in added for role in roles} - known
            if catalog == "pg_roles" and not added | gone:
                return False  # a password, perhaps, which this role cannot see
        return all(roles & self.made for _text, roles in added | gone)

    def _rows(self, connection: PgConnection, catalog: str) -> set[Row]:
        where = _WITHOUT_ITS_OWN.get(catalog, "true")
        columns = ", ".join(_OF_ROLES.get(catalog, ())) or "NULL::oid"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT t::text, ARRAY[{columns}]::bigint[] FROM {catalog} t WHERE {where}",  # noqa: S608 - constants
                [self.name] * where.count("%s"),
            )
            return {(text, frozenset(filter(None, roles))) for text, roles in cursor.fetchall()}
