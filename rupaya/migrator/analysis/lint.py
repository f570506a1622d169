"""Unsafe migrations are refused before they are merged: two linters, and a few rules of our own, on what is new.

The linters, django-migration-linter and squawk, are development tools: only `lintmigrations` may import this module.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlparse
from django.apps import AppConfig, apps
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState
from django_linear_migrations.apps import check_max_migration_files
from django_migration_linter.migration_linter import MigrationLinter
from django_migration_linter.sql_analyser.analyser import analyse_sql_statements

from rupaya.migrator.plan.phases import (
    CONTRACT,
    EXPAND,
    PHASES,
    declared_phase,
    must_declare,
    phase_of,
    unready_removals,
)
from rupaya.migrator.plan.repeatable import may_run_again

EXCLUDED_SQUAWK_RULES = {
    "require-lock-timeout": "migrate sets lock_timeout for every statement",
    "require-statement-timeout": "migrate sets statement_timeout where a statement holds a lock",
    "prefer-robust-stmts": "not-repeatable is the same rule, and knows which operations look before they act",
    "prefer-text-field": "a CharField's limit is meant; this is about taste, not about locks",
    "prefer-bigint-over-int": "an IntegerField's range is meant; keys are bigint by DEFAULT_AUTO_FIELD",
    "prefer-bigint-over-smallint": "a SmallIntegerField's range is meant",
    "ban-drop-not-null": "it loosens: the running code goes on; and it is the first step of dropping a column",
    "ban-drop-constraint": "it loosens: the running code goes on",
}
EXCLUDED_DJANGO_RULES = {
    "RUNPYTHON_REVERSIBLE": "a data migration may be one-way, and a rollback over it is refused whole",
    "RUNPYTHON_MODEL_VARIABLE_NAME": "a variable's name has no effect",
    "RUNSQL_REVERSIBLE": "as RUNPYTHON_REVERSIBLE",
}
CONTRACT_RULES = frozenset(
    {
        "ADD_UNIQUE",
        "ALTER_COLUMN",
        "DROP_COLUMN",
        "DROP_TABLE",
        "NOT_NULL",
        "RENAME_COLUMN",
        "RENAME_TABLE",
        "ban-drop-column",
        "ban-drop-table",
        "changing-column-type",
        "renaming-column",
        "renaming-table",
    }
)
"""What may break the code that is still running, but is right once no such code is left."""

# makemigrations' names when it was given none, where they say nothing.
_AUTOMATIC_NAME = re.compile(r"(^|_)auto_\d{8}|_and_more$")
_CREATED_TABLE = re.compile(r'^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?("[^"]+"|[\w.]+)', re.IGNORECASE)
_CHANGED_TABLE = re.compile(
    r'^(?:ALTER TABLE (?:IF EXISTS )?(?:ONLY )?|CREATE (?:UNIQUE )?INDEX .*? ON (?:ONLY )?)("[^"]+"|[\w.]+)',
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """A migration, the rule that it breaks, and why that matters."""

    migration: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.migration}: {self.rule}: {self.message}"


def waived_rules(migration: Migration) -> frozenset[str]:
    """The rules that a migration may break because it says ``phase = "contract"``.

    `migrate` then holds it back until no older release is running. What is only inferred is not enough: whoever writes
    such a migration must have meant to.
    """
    return CONTRACT_RULES if declared_phase(migration) == CONTRACT else frozenset()


def check_phases(loader: MigrationLoader, migrations: Sequence[Migration]) -> list[Finding]:
    """Migrations that do not say what nobody can infer, and removals that new code cannot wait for."""
    findings = []
    for migration in migrations:
        declared = declared_phase(migration)
        if declared not in (None, *PHASES):
            message = f"phase = {declared!r} is neither {' nor '.join(map(repr, PHASES))}."
            findings.append(Finding(str(migration), "phase", message))
        if must_declare(migration):
            message = (
                "It has SQL or Python of its own, and nobody but you knows whether old code survives it: "
                f"say phase = {EXPAND!r} or phase = {CONTRACT!r} in the migration."
            )
            findings.append(Finding(str(migration), "undeclared-phase", message))
        for column in unready_removals(migration, _state_before(loader, migration)):
            message = (
                f"{column} is NOT NULL without a database default, so code that no longer knows it cannot insert "
                "while the removal waits. Make it nullable, or give it a db_default, in an earlier release."
            )
            findings.append(Finding(str(migration), "unready-removal", message))
    return findings


def check_held(loader: MigrationLoader, migrations: Sequence[Migration]) -> list[Finding]:
    """Migrations that cannot be applied at the start of a container, for they depend on one that is held back."""
    phases = {
        (migration.app_label, migration.name): phase_of(migration, _state_before(loader, migration))
        for migration in migrations
    }
    held = {key for key, phase in phases.items() if phase == CONTRACT}
    return [
        Finding(
            str(migration),
            "depends-on-held",
            f"It depends on {', '.join(f'{app}.{name}' for app, name in waited_for)}, a contract migration that is "
            "held back until this release's rollout is over: the release could not start. Release it after that one.",
        )
        for migration in migrations
        if phases[migration.app_label, migration.name] != CONTRACT
        and (waited_for := [key for key in migration.dependencies if key in held])
    ]


def project_apps(root: Path) -> list[AppConfig]:
    """The installed apps whose code lies in the repository at `root`, installed packages left out."""
    return [
        config
        for config in apps.get_app_configs()
        if Path(config.path).resolve().is_relative_to(root) and "site-packages" not in Path(config.path).parts
    ]


def undeployed(loader: MigrationLoader, labels: Iterable[str], deployed_files: set[Path]) -> list[Migration]:
    """The migrations of these apps whose files are not among `deployed_files`, each after those it depends on."""
    labels = set(labels)
    plan = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    disk = loader.disk_migrations or {}
    return [disk[key] for key in plan if key[0] in labels and _path(disk[key]) not in deployed_files]


def check_names(migrations: Iterable[Migration]) -> list[Finding]:
    """Migrations whose name makemigrations made up."""
    return [
        Finding(
            str(migration),
            "automatic-name",
            "The name does not say what the migration does. Rename the file, or use makemigrations --name.",
        )
        for migration in migrations
        if _AUTOMATIC_NAME.search(migration.name)
    ]


def check_linear(configs: Sequence[AppConfig]) -> list[Finding]:
    """Whether each app has one last migration, and max_migration.txt names it, so that branches conflict in git."""
    return [
        Finding("max_migration.txt", str(error.id), f"{error.msg} {error.hint}")
        for error in check_max_migration_files(app_configs=list(configs))
    ]


def check_sql(
    connection: BaseDatabaseWrapper, loader: MigrationLoader, migrations: Sequence[Migration]
) -> list[Finding]:
    """What the linters say about the SQL of these migrations, in order; tables created by them are nobody's yet."""
    connection.ensure_connection()  # quoting is the connection's
    loader.connection = connection
    linter = MigrationLinter(database=connection.alias, no_cache=True, no_output=True)
    findings: list[Finding] = []
    sql_files: dict[str, str] = {}
    created: set[str] = set()
    for migration in migrations:
        try:
            statements = _statements(loader.collect_sql([(migration, False)]))
        except (DatabaseError, ValueError) as error:
            findings.append(Finding(str(migration), "no-sql", f"Its SQL cannot be had: {error}"))
            continue
        created.update(table for statement in statements if (table := _match(_CREATED_TABLE, statement)))
        statements = [statement for statement in statements if _match(_CHANGED_TABLE, statement) not in created]
        if migration.atomic:
            statements = ["BEGIN;", *statements, "COMMIT;"]
        sql_files[str(migration)] = "\n".join(statements)
        if not may_run_again(migration):
            message = (
                "atomic = False, and an operation that cannot be run again after an interruption. "
                "Use Safer* operations and Backfill, or declare idempotent = True if the SQL looks before it acts."
            )
            findings.append(Finding(str(migration), "not-repeatable", message))
        lines = [_one_line(statement) for statement in statements]
        errors, _ignored, warnings = analyse_sql_statements(linter.sql_analyser_class, lines, EXCLUDED_DJANGO_RULES)
        of_data = [issue for issues in linter.analyse_data_migration(migration) for issue in issues]
        # Its SQL is linted above; what undoes it is not run by a deployment.
        of_data = [issue for issue in of_data if issue.code.startswith("RUNPYTHON")]
        codes = dict.fromkeys((issue.code, issue.message) for issue in [*errors, *warnings, *of_data])
        findings += [Finding(str(migration), *code) for code in codes if code[0] not in EXCLUDED_DJANGO_RULES]
    findings += _squawk(sql_files)
    waived = {str(migration): waived_rules(migration) for migration in migrations}
    return [finding for finding in findings if finding.rule not in waived[finding.migration]]


def _state_before(loader: MigrationLoader, migration: Migration) -> ProjectState:
    """The project state that a migration's own dependencies amount to; branches beside it do not count."""
    state: ProjectState = loader.project_state((migration.app_label, migration.name), at_end=False)
    return state


def _squawk(sql_files: dict[str, str]) -> list[Finding]:
    beside_python = Path(sys.executable).with_name("squawk")
    squawk = str(beside_python) if beside_python.exists() else shutil.which("squawk") or "squawk"
    with tempfile.TemporaryDirectory(prefix="lintmigrations-") as folder:
        for name, sql in sql_files.items():
            (Path(folder) / f"{name}.sql").write_text(sql)
        completed = subprocess.run(
            [
                squawk,
                "--reporter=json",
                f"--exclude={','.join(EXCLUDED_SQUAWK_RULES)}",
                *(str(Path(folder) / f"{name}.sql") for name in sql_files),
            ],
            cwd=folder,  # or it would take a configuration from wherever this runs
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        violations = json.loads(completed.stdout)
    except json.JSONDecodeError:
        raise RuntimeError(f"squawk said no JSON: {completed.stdout}{completed.stderr}") from None
    found = dict.fromkeys(
        Finding(Path(violation["file"]).stem, violation["rule_name"], violation["message"]) for violation in violations
    )
    return list(found)


def _statements(collected: Iterable[str]) -> list[str]:
    """Each statement by itself; sqlmigrate's comments left out, and a statement's own kept, squawk reads them."""
    return [
        statement
        for text in collected
        for statement in sqlparse.split(text)
        if _one_line(statement) and not (statement.startswith("--") and "\n" not in statement)
    ]


def _one_line(statement: str) -> str:
    return " ".join(str(sqlparse.format(statement, strip_comments=True)).split())


def _match(pattern: re.Pattern[str], statement: str) -> str | None:
    found = pattern.match(_one_line(statement))
    return found[1].strip('"') if found else None


def _path(migration: Migration) -> Path:
    return Path(str(sys.modules[migration.__module__].__file__)).resolve()
