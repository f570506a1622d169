"""What a migration says of itself, and what is known without trying it: names, order, declarations, reverses."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.db import NotSupportedError, connection
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.models import Field, Model
from django.db.models.fields import NOT_PROVIDED
from django_linear_migrations.apps import check_max_migration_files

from rupaya.migrator.analysis.gate.findings import Finding, finding
from rupaya.migrator.analysis.gate.sql import changes_data
from rupaya.migrator.operations import Backfill
from rupaya.migrator.plan.phases import CONTRACT, PHASES, declared_phase, flat_operations, must_declare
from rupaya.migrator.plan.repeatable import may_run_again

# makemigrations' names when it was given none, where they say nothing.
_AUTOMATIC_NAME = re.compile(r"(^|_)auto_\d{8}|_and_more$")


def project_apps(root: Path) -> list[AppConfig]:
    """The installed apps whose code lies in the repository at `root`, installed packages left out."""
    return [
        config
        for config in apps.get_app_configs()
        if Path(config.path).resolve().is_relative_to(root) and "site-packages" not in Path(config.path).parts
    ]


def undeployed(loader: MigrationLoader, labels: Iterable[str], deployed_files: set[Path]) -> list[Migration]:
    """The migrations of these apps that the deployed release does not have, each after those it depends on.

    It has those whose files are among `deployed_files`, and a squashed one if it has all that this replaces: where they
    are applied, the squashed one is only recorded.
    """
    labels = set(labels)
    plan = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    disk = loader.disk_migrations or {}
    return [disk[key] for key in plan if key[0] in labels and not _is_deployed(disk[key], deployed_files)]


def in_order(loader: MigrationLoader, migrations: Collection[Migration]) -> list[Migration]:
    """Each after those that it depends on."""
    plan = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    place = {key: number for number, key in enumerate(plan)}
    return sorted(migrations, key=lambda migration: place[migration.app_label, migration.name])


def _is_deployed(migration: Migration, deployed_files: set[Path]) -> bool:
    path = _path(migration)
    replaced = [name for app, name in migration.replaces if app == migration.app_label]
    return path in deployed_files or (
        bool(replaced) and all(path.with_name(f"{name}.py") in deployed_files for name in replaced)
    )


def check_linear(configs: Sequence[AppConfig]) -> list[Finding]:
    """Whether each app has one last migration, and max_migration.txt names it, so that branches conflict in git."""
    return [
        Finding("max_migration.txt", str(error.id), f"{error.msg} {error.hint}")
        for error in check_max_migration_files(app_configs=list(configs))
    ]


def check_names(migrations: Iterable[Migration]) -> list[Finding]:
    """Migrations whose name makemigrations made up."""
    return [
        finding(migration, "automatic-name", "The name does not say what the migration does.")
        for migration in migrations
        if _AUTOMATIC_NAME.search(migration.name)
    ]


def check_declared(migration: Migration, created: Iterable[str] = ()) -> Iterator[Finding]:
    """What is missing or wrong in how it is written; `created` names the models ("app.model") of this release."""
    parts = list(flat_operations(migration.operations))
    declared = declared_phase(migration)
    if declared not in (None, *PHASES):
        yield finding(migration, "phase", f"phase = {declared!r} is neither {' nor '.join(map(repr, PHASES))}.")
    if must_declare(migration):
        told = "It has SQL or Python of its own, or an operation of another package: nobody but you knows whether old "
        yield finding(migration, "undeclared-phase", told + "code survives it.")
    if not may_run_again(migration):
        told = "atomic = False, and an operation that cannot be run again after an interruption."
        yield finding(migration, "not-repeatable", told)
    for part, operation in enumerate(parts, 1):
        if one_way := _one_way(operation):
            yield finding(migration, "irreversible-data", one_way, parts=parts, part=part)
        if isinstance(operation, ops.RunPython) and (named := _misnamed(operation)):
            told = f"Its Python names what it is given {' and '.join(named)}."
            yield finding(migration, "argument-names", told, parts=parts, part=part)
        if isinstance(operation, ops.AddField):
            model = f"{migration.app_label}.{operation.model_name_lower}"
            if model not in created and (rule := _of_new_field(operation.field)):
                yield finding(migration, *rule, parts=parts, part=part)
    if declared == CONTRACT and (added := list(_added_with_sql(migration.operations))):
        told = f"It is held until no old code is left, and yet new code needs what it adds: {', '.join(added)}."
        yield finding(migration, "contract-changes-state", told)
    if imported := _imported_models(migration):
        told = f"It imports {', '.join(imported)}: the models of today, which its database does not fit one day."
        yield finding(migration, "imports-model", told)


def _one_way(operation: Operation) -> str:
    if isinstance(operation, ops.RunSQL) and operation.reverse_sql is None and changes_data(script_of(operation)):
        return "It changes rows and does not say what undoes that."
    if isinstance(operation, ops.RunPython) and operation.reverse_code is None:
        return "Its Python does not say what undoes it."
    if isinstance(operation, Backfill) and not operation.keep and not operation.fills_only_null:
        return "It overwrites values, and does not keep them: it cannot be reversed."
    return ""


def _misnamed(operation: ops.RunPython) -> list[str]:
    try:
        names = list(inspect.signature(operation.code).parameters)[:2]
    except (TypeError, ValueError):
        return []
    expected = [("apps", "registry"), ("schema_editor", "editor")]
    right = all(name.strip("_") in known or name == "_" for name, known in zip(names, expected, strict=False))
    return [] if right or operation.code is ops.RunPython.noop else names


def script_of(operation: ops.RunSQL) -> str:
    """All SQL of an operation as one script."""
    scripts = [operation.sql] if isinstance(operation.sql, str) else list(operation.sql or ())
    return ";\n".join(script if isinstance(script, str) else str(script[0]) for script in scripts)


def _of_new_field(field: Field) -> tuple[str, str] | None:  # type: ignore[type-arg]
    if field.many_to_many or field.db_default is not NOT_PROVIDED or field.primary_key:
        return None
    default = field.default
    if default is NOT_PROVIDED:
        fills = field.null or getattr(field, "generated", False) or (field.blank and field.empty_strings_allowed)
        if fills or getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            return None
        return "required-column", "It is NOT NULL without a default: no row that there is has a value for it."
    if callable(default):
        try:
            with connection.execute_wrapper(_no_query):
                first, second = default(), default()
        except Exception:  # it needs what a migration has and we have not; the trial shows what becomes of it
            return None
        if first != second and not isinstance(first, date):
            told = "Its default is another value at each call, but Django calls it once: all rows would get the same."
            return "frozen-default", told
    return None


def _no_query(*_arguments: Any) -> None:
    raise NotSupportedError("A default is called outside the scratch database, where nothing may be asked.")


def _added_with_sql(operations: Iterable[Operation]) -> Iterator[str]:
    """What state_operations beside SQL of one's own add to the models."""
    for operation in operations:
        state: Sequence[Operation] = ()
        if isinstance(operation, ops.RunSQL) or (
            isinstance(operation, ops.SeparateDatabaseAndState) and operation.database_operations
        ):
            state = operation.state_operations
        for one in state:
            if isinstance(one, ops.CreateModel):
                yield one.name
            elif isinstance(one, ops.AddField):
                yield f"{one.model_name}.{one.name}"


def _imported_models(migration: Migration) -> list[str]:
    """Models that a migration's file imports; managers and functions, which makemigrations names so, are none."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[migration.__module__]))
    except (OSError, TypeError, KeyError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[-1] == "models":
            module = sys.modules.get(node.module)
            found += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if isinstance(made := getattr(module, alias.name, None), type) and issubclass(made, Model)
            ]
        elif isinstance(node, ast.ImportFrom) and node.module == "django.apps":
            found += [f"django.apps.{alias.name}" for alias in node.names if alias.name == "apps"]
    return sorted(set(found))


def _path(migration: Migration) -> Path:
    return Path(str(sys.modules[migration.__module__].__file__)).resolve()
