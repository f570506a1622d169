"""What this code's migrations presume of rows: found by carrying each out in a scratch database, kept in a file.

A deployment must know it without a scratch database of its own, and without running anybody's code twice: so it is
found where the code is made, and shipped with it, like the picture of the schema. A file that is older than a migration
is noticed by that migration's hash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.operations import RunPython, RunSQL
from django.db.migrations.state import ProjectState

from rupaya.migrator.analysis import scratch
from rupaya.migrator.analysis.gate.sql import statements_of
from rupaya.migrator.django import Key, table_of
from rupaya.migrator.foresight.delta import presumed, read_facts
from rupaya.migrator.foresight.presumption import EVERY_TABLE, Presumed
from rupaya.migrator.operations import Backfill
from rupaya.migrator.output import heard
from rupaya.migrator.plan.fingerprint import file_hash_of
from rupaya.migrator.plan.phases import flat_operations
from rupaya.migrator.statements import is_bookkeeping

# Modules of operations whose SQL is all that they do.
_KNOWN = ("django.", "django_pg_migration_tools.", "rupaya.migrator.")
_NAME = r'("(?:[^"]|"")+"|\w+)(?:\s*\.\s*("(?:[^"]|"")+"|\w+))?'
_WRITES = re.compile(rf"\b(?:UPDATE|INSERT\s+INTO|MERGE\s+INTO)\s+(?:ONLY\s+)?{_NAME}", re.IGNORECASE)
_READS_OR_WRITES = re.compile(r"\s*(?:UPDATE|INSERT|MERGE|DELETE|TRUNCATE|WITH)\b", re.IGNORECASE)
# What goes with a row that is deleted, and what somebody's function does, is not in the text.
_MAY_WRITE_ANYWHERE = re.compile(r"\b(?:DELETE\s+FROM|TRUNCATE)\b", re.IGNORECASE)
_CODE = re.compile(r"\s*(?:DO|CALL|SELECT|VALUES|EXECUTE|PERFORM|COPY)\b", re.IGNORECASE)


def presumed_by_code(connection: BaseDatabaseWrapper) -> dict[str, Presumed]:
    """What each migration of this code presumes, by its label; carried out in order in a scratch database.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
    """
    with scratch.database_like(connection):
        executor = scratch.Builder(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        found = _carried_out(connection, executor, [migration for migration, _backwards in plan])
    connection.ensure_connection()
    return found


def presumed_by(
    connection: BaseDatabaseWrapper, history: set[Key], wanted: Collection[Migration]
) -> dict[str, Presumed]:
    """What some migrations presume that come after a history; for code whose file knows nothing of them.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
    """
    with scratch.database_like(connection):
        executor = scratch.build(connection, history)
        found = _carried_out(connection, executor, list(wanted))
    connection.ensure_connection()
    return found


def _carried_out(
    connection: BaseDatabaseWrapper, executor: MigrationExecutor, migrations: list[Migration]
) -> dict[str, Presumed]:
    found = {}
    state = None
    with connection.cursor() as cursor:
        before = read_facts(cursor)
    for migration in migrations:
        statements: list[str] = []
        with connection.execute_wrapper(_recorder(statements)), heard(lambda _message, _is_warning: None):
            state = executor.migrate([], plan=[(migration, False)], state=state)
        with connection.cursor() as cursor:
            after = read_facts(cursor)
        writes = _writes(migration, statements, state)
        found[str(migration)] = presumed(before, after, statements, file_hash=file_hash_of(migration), writes=writes)
        before = after
    return found


def _recorder(statements: list[str]) -> Callable[..., Any]:
    def record(execute: Callable[..., Any], sql: Any, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if not is_bookkeeping(str(sql)):
            statements.append(str(sql))
        return execute(sql, parameters, many, context)

    return record


def _writes(migration: Migration, statements: list[str], state: ProjectState) -> list[str]:
    """The tables whose rows a migration changes, sorted; on the careful side."""
    tables = set()
    for operation in flat_operations(migration.operations):
        if isinstance(operation, RunPython) or not type(operation).__module__.startswith(_KNOWN):
            return [EVERY_TABLE]
        if isinstance(operation, RunSQL) and any(_CODE.match(sql) for sql in _own_sql(operation)):
            return [EVERY_TABLE]
        if isinstance(operation, Backfill):
            tables.add(table_of(state.apps.get_model(migration.app_label, operation.model_name)))
    for sql in (sql for script in statements for sql in statements_of(script)):
        if not _READS_OR_WRITES.match(sql):
            continue
        if _MAY_WRITE_ANYWHERE.search(sql):
            return [EVERY_TABLE]
        tables |= {_unquoted(match[2] or match[1]) for match in _WRITES.finditer(sql)}
    return sorted(tables)


def _own_sql(operation: RunSQL) -> list[str]:
    scripts = [operation.sql] if isinstance(operation.sql, str) else list(operation.sql or ())
    texts = [str(script[0]) if isinstance(script, list | tuple) else str(script) for script in scripts]
    return [sql for text in texts for sql in statements_of(text)]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def as_text(found: dict[str, Presumed]) -> str:
    """The file: sorted, one migration after the other, the same on every server."""
    return json.dumps({name: found[name].as_dict() for name in sorted(found)}, indent=1, ensure_ascii=False) + "\n"
