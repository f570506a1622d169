"""What the role that serves may do, where another one migrates: as docs/runbook.md grants it by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from psycopg2.extensions import quote_ident

from rupaya.adoption.baseline import ALL

READ = ("SELECT",)
WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
# Read by probes and by the admin site, written by migrations alone.
RECORDS = ("django_migrations", "adoption_quarantine")
_MISSING = """
    SELECT c.relname, c.relkind::text, array_agg(p.privilege ORDER BY p.privilege)
    FROM pg_class c CROSS JOIN unnest(%(privileges)s::text[]) p(privilege)
    WHERE c.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND c.relname = ANY(%(names)s) AND (c.relkind <> 'v' OR p.privilege = 'SELECT')
      AND NOT has_table_privilege(%(role)s, c.oid, p.privilege)
    GROUP BY 1, 2 ORDER BY 1
"""
_SEQUENCES = """
    SELECT s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_class c ON c.oid = d.refobjid
    WHERE s.relkind = 'S' AND s.relnamespace = coalesce(current_schema(), 'public')::regnamespace
      AND c.relname = ANY(%(names)s)
      AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(%(role)s, s.oid, 'USAGE') END ORDER BY 1
"""
_WRITABLE = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND c.relkind = 'r'
      AND c.relname = ANY(%(names)s) AND has_table_privilege(%(role)s, c.oid, 'INSERT, UPDATE, DELETE') ORDER BY 1
"""
_LEDGER = """
    SELECT relname FROM pg_class WHERE relnamespace = coalesce(current_schema(), 'public')::regnamespace
      AND relkind = 'r' AND starts_with(relname, 'migrator_') ORDER BY 1
"""
_DEFAULTS = """
    SELECT coalesce(bool_or(d.defaclobjtype = 'r'), false)
    FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a
    WHERE d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
      AND d.defaclnamespace = coalesce(current_schema(), 'public')::regnamespace
      AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = %s) AND a.privilege_type = 'INSERT'
"""


def role_that_serves() -> str:
    """The role in DATABASE_URL where MIGRATION_DATABASE_URL names another; empty otherwise."""
    return str(getattr(settings, "SERVING_ROLE", ""))


def is_missing(cursor: Any, role: str) -> bool:
    """Whether the server has no such role."""
    cursor.execute("SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", [role])
    return bool(cursor.fetchone()[0])


def grants(cursor: Any, role: str, tables: set[str] | None = None) -> Iterator[str]:
    """SQL for what a role that serves lacks on what is there now; its tables of tomorrow included.

    `tables` are the original's and the models' unless others are named; the records are read, whatever is named.
    """
    cursor.execute(
        "SELECT coalesce(current_schema(), 'public'), pg_has_role(%s, current_user, 'USAGE'), "
        "has_schema_privilege(%s, coalesce(current_schema(), 'public'), 'USAGE')",
        [role, role],
    )
    schema, is_owner, may_use = cursor.fetchone()
    if is_owner:
        return
    raw = cursor.connection
    to = quote_ident(role, raw)
    if not may_use:
        yield f"GRANT USAGE ON SCHEMA {quote_ident(schema, raw)} TO {to}"
    if tables is None:
        models = apps.get_models(include_auto_created=True)
        tables = {*ALL, *(model._meta.db_table for model in models if model._meta.managed)}
    cursor.execute(_LEDGER)
    records = {*RECORDS, *(name for (name,) in cursor.fetchall())}
    for names, privileges in ((tables - records, WRITE), (records, READ)):
        yield from _of_tables(cursor, to, role, names, privileges)
    cursor.execute(_WRITABLE, {"names": sorted(records), "role": role})
    for (name,) in cursor.fetchall():  # by default privileges, say
        yield f"REVOKE INSERT, UPDATE, DELETE ON {quote_ident(name, raw)} FROM {to}"
    cursor.execute(_SEQUENCES, {"names": sorted(tables), "role": role})
    for (name,) in cursor.fetchall():
        yield f"GRANT USAGE ON SEQUENCE {quote_ident(name, raw)} TO {to}"
    cursor.execute(_DEFAULTS, [role])
    if not cursor.fetchone()[0]:
        within = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quote_ident(schema, raw)} GRANT"
        yield f"{within} {', '.join(WRITE)} ON TABLES TO {to}"
        yield f"{within} USAGE ON SEQUENCES TO {to}"


def _of_tables(cursor: Any, to: str, role: str, names: Iterable[str], privileges: tuple[str, ...]) -> Iterator[str]:
    cursor.execute(_MISSING, {"names": sorted(names), "privileges": list(privileges), "role": role})
    for name, _kind, missing in cursor.fetchall():
        yield f"GRANT {', '.join(missing)} ON {quote_ident(name, cursor.connection)} TO {to}"
