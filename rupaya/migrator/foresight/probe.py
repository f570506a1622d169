"""Whether statements use a table or one of its columns: resolved by the server itself, as a role without rights on it.

In one transaction that is rolled back, on the live database, for there every view, function and search path is as it is
for those who send these statements. The rights are taken away within it, so nobody else notices; each statement is
planned and never executed, in a read-only transaction, and its locks are given back at once. 42501 means: it uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.errors import driver_text
from rupaya.migrator.foresight import texts

USES, USES_NOT, UNKNOWN = "uses", "uses not", "unknown"
# A predefined role that owns nothing and may read nothing: a superuser's rights cannot be taken away.
ROLE_WITHOUT_RIGHTS = "pg_signal_backend"

_VIEWS = """
    WITH RECURSIVE users AS (
        SELECT r.ev_class AS oid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(table)s::oid
          AND (%(column)s = 0 OR d.refobjsubid IN (0, %(column)s)) AND r.ev_class <> %(table)s::oid
        UNION
        SELECT r.ev_class FROM users u JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = u.oid
        JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass AND r.ev_class <> u.oid)
    SELECT oid::regclass::text, relname FROM users JOIN pg_class USING (oid)
"""
_ALL_VIEWS = _VIEWS.replace("%(column)s = 0 OR", "true OR")


@dataclass(frozen=True)
class Target:
    """What is to go: a column, or a whole table, as it is called today."""

    table: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.table}.{self.column}" if self.column else self.table


class Probe:
    """Asks on one connection, which is in no transaction, about one target."""

    def __init__(self, connection: PgConnection, target: Target) -> None:
        self.connection = connection
        self.target = target
        self.views: dict[str, str] = {}
        """Views that use the target, as they are written, by name."""
        self.related: frozenset[str] = frozenset()
        """Names by which a statement can reach the table: its own and those of views over it, in small letters."""
        self._cursor: Any = None

    @contextmanager
    def rights_taken_away(self) -> Iterator[str]:
        """For as long as the block runs; yields why it cannot be, or an empty text."""
        with self.connection.cursor() as cursor:
            self._cursor = cursor
            cursor.execute("BEGIN")
            try:
                yield self._take_away()
            finally:
                cursor.execute("ROLLBACK")
                cursor.execute("DEALLOCATE ALL")

    def _take_away(self) -> str:
        cursor, target = self._cursor, self.target
        cursor.execute("SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '10s'")
        cursor.execute(
            "SELECT to_regclass(quote_ident(%s))::oid, to_regclass(quote_ident(%s))::text, "
            "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), quote_ident(current_user)",
            [target.table, target.table],
        )
        oid, table, is_superuser, role = cursor.fetchone()
        if oid is None:
            return f"there is no table {target.table}"
        cursor.execute(
            "SELECT attname, quote_ident(attname), attnum FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
            [oid],
        )
        columns = cursor.fetchall()
        number = next((number for name, _quoted, number in columns if name == target.column), 0)
        if target.column and not number:
            return f"there is no column {target}"
        others = ", ".join(quoted for name, quoted, _number in columns if name != target.column)
        cursor.execute(_VIEWS, {"table": oid, "column": number})
        self.views = {name: written for written, name in cursor.fetchall()}
        cursor.execute(_ALL_VIEWS, {"table": oid, "column": number})
        names = {target.table, *(name for _written, name in cursor.fetchall())}
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid IN (i.inhparent, i.inhrelid) "
            "WHERE %s IN (i.inhparent, i.inhrelid)",
            [oid],
        )
        self.related = frozenset(name.lower() for name in {*names, *(name for (name,) in cursor.fetchall())})
        try:
            if is_superuser:
                role = ROLE_WITHOUT_RIGHTS
                self._grant_all_others(role)
            for relation in (table, *self.views.values()):
                cursor.execute(f"REVOKE ALL ON {relation} FROM {role}, PUBLIC")
            if target.column and others:
                rights = ", ".join(f"{right} ({others})" for right in ("SELECT", "INSERT", "UPDATE"))
                cursor.execute(f"GRANT DELETE, {rights} ON {table} TO {role}")
        except psycopg2.Error as error:
            return f"rights on {target.table} cannot be taken away: {driver_text(error)}"
        cursor.execute(f"SET LOCAL ROLE {role}; SET TRANSACTION READ ONLY")
        check = "has_column_privilege(%s::oid, %s::smallint, 'SELECT, INSERT, UPDATE')"
        if not target.column:
            check = "has_table_privilege(%s::oid, 'SELECT, INSERT, UPDATE, DELETE') AND %s::smallint IS NOT NULL"
        cursor.execute(f"SELECT {check}", [oid, number])
        if cursor.fetchone()[0]:
            return f"this role keeps rights on {target} by another role, such as pg_read_all_data"
        return ""

    def _grant_all_others(self, role: str) -> None:
        self._cursor.execute(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'"
        )
        for (schema,) in self._cursor.fetchall():
            self._cursor.execute(
                f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN "
                f"SCHEMA {schema} TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}; "
                f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}"
            )

    def mentions(self, text: str) -> bool:
        """Whether a text has any name by which the table can be reached."""
        lowered = text.lower()
        return any(name in lowered for name in self.related)

    def ask(self, text: str) -> tuple[str, str]:
        """Whether a statement uses the target, and why that is not known; inside `rights_taken_away`."""
        text = texts.without_comments(text)
        if not self.mentions(text) or texts.is_harmless(text):
            return USES_NOT, ""
        if copy := texts.copied(text):
            table, columns = copy
            is_all = not columns or not self.target.column
            same = table.lower() == self.target.table.lower()
            return (USES if same and (is_all or self.target.column in columns) else USES_NOT), ""
        query = texts.query_of(text)
        if not query:
            return UNKNOWN, "it cannot be prepared"
        why = ""
        versions = (query, texts.with_texts(query), texts.with_nulls(query), *texts.with_literals(query))
        for version in dict.fromkeys(versions):
            try:
                self._explain(version)
            except psycopg2.errors.InsufficientPrivilege as error:
                return self._refused(error)
            except psycopg2.Error as error:
                why = driver_text(error)
            else:
                return USES_NOT, ""
            finally:
                self._cursor.execute("ROLLBACK TO SAVEPOINT probe; DEALLOCATE ALL")
        return UNKNOWN, why

    def _explain(self, query: str) -> None:
        cursor = self._cursor
        cursor.execute("SAVEPOINT probe")
        cursor.execute(f"PREPARE migrator_probe AS {query}")
        cursor.execute("SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'migrator_probe'")
        nulls = ", ".join(["NULL"] * int(cursor.fetchone()[0]))
        cursor.execute("EXPLAIN EXECUTE migrator_probe" + (f" ({nulls})" if nulls else ""))

    def _refused(self, error: psycopg2.Error) -> tuple[str, str]:
        """Rights on something else may be lacking as well."""
        said = str(error).lower()
        if any(
            f" {name}\n" in f"{said.splitlines()[0]}\n"
            for name in (self.target.table.lower(), *map(str.lower, self.views))
        ):
            return USES, ""
        return UNKNOWN, driver_text(error)

    def ask_all(self, statements: Iterable[str]) -> dict[str, tuple[str, str]]:
        """What `ask` says of each text."""
        return {text: self.ask(text) for text in statements}
