"""Whether statements use a table or one of its columns: resolved by the server itself, as a role without rights on it.

In one transaction that is rolled back, on the live database, for there every view, function and search path is as it is
for those who send these statements. The rights are taken away within it, so nobody else notices; each statement is
planned and never executed, in a read-only transaction, and its locks are given back at once. 42501 means: it uses it.

The texts are other people's, and this session may more than they. So what is sent is one statement, without any
semicolon; it is sent from a function that no text can leave for another role; and what calls a function that belongs to
neither a superuser nor this role is not sent at all, for planning may execute it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.errors import driver_text
from rupaya.migrator.foresight import texts

USES, USES_NOT, UNKNOWN = "uses", "uses not", "unknown"
# A predefined role that owns nothing and may do next to nothing: a superuser's rights cannot be taken away.
ROLE_WITHOUT_RIGHTS = "pg_read_all_settings"

RELATION = """coalesce(to_regclass(quote_ident(%(name)s)), to_regclass(array_to_string(
    ARRAY(SELECT quote_ident(part) FROM unnest(string_to_array(%(name)s, '.')) AS part), '.')))"""
"""A table by its name, which may have its schema before it."""
_SELF = f"""
    SELECT c.oid, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), quote_ident(current_user),
           (SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class o WHERE o.oid = c.oid
            AND pg_has_role(current_user, relowner, 'USAGE'))
    FROM (SELECT {RELATION}::oid AS oid) AS c
"""
# The table; what it inherits from, or is a part of; and its own children and parts.
_FAMILY = """
    WITH RECURSIVE above AS (
        SELECT %(table)s::oid AS oid UNION SELECT i.inhparent FROM above JOIN pg_inherits i ON i.inhrelid = above.oid),
    below AS (
        SELECT %(table)s::oid AS oid UNION SELECT i.inhrelid FROM below JOIN pg_inherits i ON i.inhparent = below.oid)
    SELECT DISTINCT oid FROM (SELECT oid FROM below UNION ALL SELECT oid FROM above WHERE %(column)s <> '') AS family
"""
_COLUMNS = """
    SELECT oid, oid::regclass::text, ARRAY(
        SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = oid AND attnum > 0 AND NOT attisdropped
        AND attname <> %(column)s)
    FROM unnest(%(family)s::oid[]) AS oid
    WHERE %(column)s = ''
       OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = oid AND attname = %(column)s AND attnum > 0)
"""
# Views straight over it, and whether the catalog says that they have the column; else they have none, or whole rows.
_DIRECT_VIEWS = """
    SELECT r.ev_class, bool_or(%(column)s = '' OR a.attname = %(column)s),
           CASE WHEN bool_and(r.rulename = '_RETURN') THEN pg_get_viewdef(r.ev_class) END
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND d.refobjsubid <> 0
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = ANY(%(family)s::oid[]) AND NOT r.ev_class = ANY(%(family)s::oid[])
    GROUP BY r.ev_class
    HAVING %(any_column)s OR bool_or(%(column)s = '' OR d.refobjsubid = 0 OR a.attname = %(column)s)
"""
_VIEWS = """
    WITH RECURSIVE users AS (
        SELECT unnest(%s::oid[]) AS oid
        UNION
        SELECT r.ev_class FROM users u JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = u.oid
        JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass AND r.ev_class <> u.oid)
    SELECT oid, oid::regclass::text FROM users
"""
_SCHEMAS = """
    SELECT DISTINCT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY(%(ours)s::oid[])
      AND EXISTS (SELECT FROM pg_class o WHERE o.oid = ANY(%(ours)s::oid[])
                  AND (to_regclass(quote_ident(o.relname)) IS DISTINCT FROM o.oid::regclass))
"""
_NAMES = "SELECT lower(relname) FROM pg_class WHERE oid = ANY(%s::oid[])"
# Functions, operators and types that may execute code of somebody else's while a statement is planned.
_STRANGERS = """
    WITH trusted AS (SELECT oid FROM pg_roles WHERE rolsuper OR rolname IN (current_user, session_user)),
    functions AS (SELECT oid, lower(proname) AS name FROM pg_proc
                  WHERE provolatile <> 'v' AND proowner NOT IN (SELECT oid FROM trusted))
    SELECT name FROM functions
    UNION SELECT oprname FROM pg_operator JOIN functions f ON f.oid = oprcode
    UNION SELECT lower(typname) FROM pg_type t WHERE typtype IN ('d', 'c', 'e', 'r')
          AND typowner NOT IN (SELECT oid FROM trusted)
          AND (typtype <> 'c' OR NOT EXISTS (SELECT FROM pg_class WHERE reltype = t.oid AND relkind <> 'c'))
"""
# By its schema's name, for another function of that name may be nearer on the path that is set.
_FUNCTION = """
    CREATE FUNCTION pg_temp.migrator_ask(query text, path text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $ask$
    DECLARE parameters text;
    BEGIN
        PERFORM pg_catalog.set_config('search_path', path, true);
        EXECUTE pg_catalog.concat('PREPARE migrator_probe AS ', query);
        SELECT pg_catalog.repeat('NULL, ', pg_catalog.cardinality(parameter_types)) INTO parameters
        FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.=) 'migrator_probe'::pg_catalog.text;
        parameters := pg_catalog.concat('(', pg_catalog.rtrim(parameters, ', '), ')');
        EXECUTE pg_catalog.concat('EXPLAIN EXECUTE migrator_probe', pg_catalog.replace(parameters, '()', ''));
    END $ask$
"""


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
        self.views: list[str] = []
        """Views that use the target, as they are written."""
        self.related: frozenset[str] = frozenset()
        """Names by which a statement can reach the table: its own and those of views over it, in small letters."""
        self._taken: tuple[str, ...] = ()
        self._strangers: tuple[str, ...] = ()
        self._paths: tuple[str, ...] = ()
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
        oid, is_superuser, role, owner = self._rows(_SELF, {"name": target.table})[0]
        if oid is None:
            return f"there is no table {target.table}"
        if not owner:
            return f"this role does not own {target.table}, so that it cannot be asked without rights on it"
        if not is_superuser and owner != role:
            # A member has the owner's rights for as long as it is one; the owner can lose its own.
            cursor.execute(f"SET LOCAL ROLE {owner}")
            role = owner
        asked = {"table": oid, "column": target.column}
        family = [each for (each,) in self._rows(_FAMILY, asked)]
        tables = self._rows(_COLUMNS, asked | {"family": family})
        if oid not in {each for each, _name, _others in tables}:
            return f"there is no column {target}"
        asked["family"] = [each for each, _name, _others in tables]
        reaching = [each for each, *_rest in self._rows(_DIRECT_VIEWS, asked | {"any_column": True})]
        self._know_names([*family, *(each for each, _name in self._rows(_VIEWS, [reaching]))])
        self._taken = self._names(asked["family"])
        try:
            if is_superuser:
                role = ROLE_WITHOUT_RIGHTS
                self._grant_all_others(role)
            for _oid, name, _others in tables:
                self._revoke(name, role)
            for _oid, name, others in tables if target.column else ():
                if others:
                    rights = ", ".join(f"{right} ({', '.join(others)})" for right in ("SELECT", "INSERT", "UPDATE"))
                    cursor.execute(f"GRANT DELETE, {rights} ON {name} TO {role}")
            cursor.execute(_FUNCTION)
            if is_superuser:
                cursor.execute(f"ALTER FUNCTION pg_temp.migrator_ask OWNER TO {role}")
            views = self._using_views(asked)
            for _oid, name in views:
                self._revoke(name, role)
        except psycopg2.Error as error:
            return f"rights on {target.table} cannot be taken away: {driver_text(error)}"
        self.views = [name for _oid, name in views]
        self._taken += self._names([each for each, _name in views])
        cursor.execute("SET TRANSACTION READ ONLY")
        role_name = ROLE_WITHOUT_RIGHTS if is_superuser else None
        kept = "has_any_column_privilege({role}, oid, 'SELECT, INSERT, UPDATE')"
        if target.column:
            kept = "has_column_privilege({role}, oid, %(column)s, 'SELECT, INSERT, UPDATE')"
        kept = kept.format(role="coalesce(%(role)s, current_user)")
        if self._rows(f"SELECT FROM unnest(%(family)s::oid[]) AS oid WHERE {kept}", asked | {"role": role_name}):
            return f"this role keeps rights on {target} by another role, such as pg_read_all_data"
        return ""

    def _using_views(self, asked: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Views that use the target, and those over them. Of whole rows the catalog says no more than of no column."""
        direct = self._rows(_DIRECT_VIEWS, asked | {"any_column": False})
        using = [oid for oid, has_it, definition in direct if has_it or self._needs_it(definition)]
        return self._rows(_VIEWS, [using])

    def _needs_it(self, definition: str | None) -> bool:
        """Of a rule's own action, which is no view's, nothing is known."""
        return definition is None or self.ask(definition)[0] != USES_NOT

    def _names(self, oids: list[int]) -> tuple[str, ...]:
        return tuple(name for (name,) in self._rows(_NAMES, [oids]))

    def _revoke(self, relation: str, role: str) -> None:
        """Somebody else's view, on which this role has no right at all, needs none taken."""
        self._cursor.execute("SAVEPOINT revoking")
        try:
            self._cursor.execute(f"REVOKE ALL ON {relation} FROM {role}, PUBLIC")
        except psycopg2.errors.InsufficientPrivilege:
            self._cursor.execute("ROLLBACK TO SAVEPOINT revoking")
        self._cursor.execute("RELEASE SAVEPOINT revoking")

    def _know_names(self, oids: list[int]) -> None:
        self.related = frozenset(self._names(oids))
        self._strangers = tuple(name for (name,) in self._rows(_STRANGERS))
        ((path,),) = self._rows("SHOW search_path")
        # Others may have another path, on which a name is another relation's.
        schemas = [schema for (schema,) in self._rows(_SCHEMAS, {"ours": oids})]
        self._paths = (path, *(f"{schema}, {path}" if path else schema for schema in schemas))

    def _rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        self._cursor.execute(sql, parameters)
        return list(self._cursor.fetchall())

    def _grant_all_others(self, role: str) -> None:
        for (schema,) in self._rows(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'"
        ):
            self._cursor.execute(
                f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN "
                f"SCHEMA {schema} TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}; "
                f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}"
            )

    def may_read(self, text: str) -> bool:
        """Whether a text has any name by which the table can be reached, and may have read it."""
        return texts.may_name(text, self.related) and not texts.is_about_rights(text)

    def ask(self, text: str, *, is_cut: bool = False, has_inner: bool = False) -> tuple[str, str]:
        """Whether a text of one or more statements uses the target, and why that is not known.

        Inside `rights_taken_away`. `is_cut`: the server did not keep the text's end; `has_inner`: the statements that a
        block or a call sends are among the texts themselves.
        """
        statements, is_whole = texts.statements_of(text)
        answers = [self._ask_of(statement) for statement in statements if not (has_inner and texts.is_code(statement))]
        if is_cut or not is_whole:
            answers.append((UNKNOWN, "its text was cut"))
        for wanted in (USES, UNKNOWN):
            for answer in answers:
                if answer[0] == wanted:
                    return answer
        return USES_NOT, ""

    def _ask_of(self, statement: str) -> tuple[str, str]:
        of_table = not self.target.column
        if texts.hides_statements(statement):
            return UNKNOWN, "what it executes is not in its text"
        if not texts.may_name(statement, self.related):
            return USES_NOT, ""
        query = texts.query_of(statement, of_table=of_table)
        if not query:
            return (USES_NOT, "") if texts.is_harmless(statement) else (UNKNOWN, "it cannot be prepared")
        lowered = query.lower()
        if ";" in query:
            return UNKNOWN, "it has a name with a semicolon"
        if stranger := next((name for name in self._strangers if name in lowered), ""):
            return UNKNOWN, f"planning it may execute {stranger}, which belongs to a role that this one does not trust"
        first, *others = [(path, *self._ask_on(path, query)) for path in self._paths]
        if first[1] == USES:
            return USES, ""
        if path := next((path for path, answer, _why in others if answer == USES), ""):
            return UNKNOWN, f"with the search path {path} it does"
        return next((answer, why) for _path, answer, why in [*(o for o in others if o[1] == USES_NOT), first])

    def _ask_on(self, path: str, query: str) -> tuple[str, str]:
        why = ""
        for version in texts.versions_of(query):
            try:
                self._explain(version, path)
            except psycopg2.errors.InsufficientPrivilege as error:
                return self._refused(error)
            except psycopg2.Error as error:
                why = why or driver_text(error)
            else:
                return USES_NOT, ""
            finally:
                self._cursor.execute("ROLLBACK TO SAVEPOINT probe; DEALLOCATE ALL")
        return UNKNOWN, why

    def _explain(self, query: str, path: str) -> None:
        self._cursor.execute("SAVEPOINT probe")
        self._cursor.execute("SELECT pg_temp.migrator_ask(%s, %s)", [query, path])

    def _refused(self, error: psycopg2.Error) -> tuple[str, str]:
        """Rights on something else may be lacking as well."""
        said = str(error).lower().splitlines()[0]
        if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said) for name in self._taken):
            return USES, ""
        return UNKNOWN, driver_text(error)
