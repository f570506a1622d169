"""Whether statements use a table or one of its columns, also by views and by what inherits from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.foresight.probe import USES_NOT, Probe

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

_KEPT_ANY = """
    SELECT FROM unnest(%(family)s::oid[]) AS oid
    WHERE has_any_column_privilege(%(role)s::regrole::oid, oid, 'SELECT, INSERT, UPDATE')
"""
_KEPT = """
    SELECT FROM unnest(%(family)s::oid[]) AS oid
    WHERE has_column_privilege(%(role)s::regrole::oid, oid, %(column)s, 'SELECT, INSERT, UPDATE')
"""


@dataclass(frozen=True)
class Target:
    """What is to go: a column, or a whole table, as it is called today."""

    table: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.table}.{self.column}" if self.column else self.table


class RelationProbe(Probe):
    """Asks about a table or one of its columns. `related`: the names of the table and of views over it."""

    def __init__(self, connection: PgConnection, target: Target) -> None:
        super().__init__(connection)
        self.target = target
        self.of_table = not target.column

    def take_away(self) -> str:
        """Take them away, and those on all that inherits from it and on the views that use it."""
        target = self.target
        oid, is_superuser, role, owner = self.rows(_SELF, {"name": target.table})[0]
        if oid is None:
            return f"there is no table {target.table}"
        if not owner:
            return f"this role does not own {target.table}, so that it cannot be asked without rights on it"
        role = self.role_without_rights(owner, role, is_superuser=is_superuser)
        asked = {"table": oid, "column": target.column, "role": role}
        family = [each for (each,) in self.rows(_FAMILY, asked)]
        tables = self.rows(_COLUMNS, asked | {"family": family})
        if oid not in {each for each, _name, _others in tables}:
            return f"there is no column {target}"
        asked["family"] = [each for each, _name, _others in tables]
        reaching = [each for each, *_rest in self.rows(_DIRECT_VIEWS, asked | {"any_column": True})]
        related = [*family, *(each for each, _name in self.rows(_VIEWS, [reaching]))]
        self.know_names(self._names(related), [schema for (schema,) in self.rows(_SCHEMAS, {"ours": related})])
        self.taken = self._names(asked["family"])
        for _oid, name, _others in tables:
            self._revoke(name, role)
        for _oid, name, others in tables if target.column else ():
            if others:
                rights = ", ".join(f"{right} ({', '.join(others)})" for right in ("SELECT", "INSERT", "UPDATE"))
                self.execute(f"GRANT DELETE, {rights} ON {name} TO {role}")
        self.make_asking_function(role)
        views = self._using_views(asked)
        for _oid, name in views:
            self._revoke(name, role)
        self.views = [name for _oid, name in views]
        self.taken += self._names([each for each, _name in views])
        if self.rows(_KEPT if target.column else _KEPT_ANY, asked):
            return f"this role keeps rights on {target} by another role, such as pg_read_all_data"
        return ""

    def _using_views(self, asked: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Views that use the target, and those over them. Of whole rows the catalog says no more than of no column."""
        direct = self.rows(_DIRECT_VIEWS, asked | {"any_column": False})
        using = [oid for oid, has_it, definition in direct if has_it or self._needs_it(definition)]
        return self.rows(_VIEWS, [using])

    def _needs_it(self, definition: str | None) -> bool:
        """Of a rule's own action, which is no view's, nothing is known."""
        return definition is None or self.ask(definition)[0] != USES_NOT

    def _names(self, oids: list[int]) -> tuple[str, ...]:
        return tuple(name for (name,) in self.rows(_NAMES, [oids]))

    def _revoke(self, relation: str, role: str) -> None:
        """Somebody else's view, on which this role has no right at all, needs none taken."""
        self.execute("SAVEPOINT revoking")
        try:
            self.execute(f"REVOKE ALL ON {relation} FROM {role}, PUBLIC")
        except psycopg2.errors.InsufficientPrivilege:
            self.execute("ROLLBACK TO SAVEPOINT revoking")
        self.execute("RELEASE SAVEPOINT revoking")
