"""Plans of an app `shop` whose migrations a test makes in this process, on a history that it says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from django.db import migrations, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.django import Planned
from rupaya.migrator.plan.plan import Plan, read_plan

KEY = ("id", models.BigAutoField(primary_key=True))


def made(name: str, after: str = "", *operations: Operation, **attributes: object) -> migrations.Migration:
    """A migration of a class of its own, which depends on another one."""
    dependencies = [("shop", after)] if after else []
    body = {"operations": list(operations), "dependencies": dependencies, **attributes}
    migration: migrations.Migration = type("Migration", (migrations.Migration,), body)(name, "shop")
    return migration


def loaded(path: Path, source: str) -> migrations.Migration:
    """The migration of a file, which is written first; named as the file is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"loaded_{abs(hash(path))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    migration: migrations.Migration = module.Migration(path.stem, "shop")
    return migration


def loader_of(
    connection: BaseDatabaseWrapper | None, disk: Iterable[migrations.Migration], installed: Iterable[str] = ("shop",)
) -> MigrationLoader:
    """Django's loader, which has found these migrations."""
    loader = MigrationLoader(connection, load=False)
    loader.disk_migrations = {(migration.app_label, migration.name): migration for migration in disk}
    loader.migrated_apps, loader.unmigrated_apps = set(installed), set()
    loader.load_disk = lambda: None
    loader.build_graph()
    return loader


def executor_of(
    connection: BaseDatabaseWrapper, disk: Iterable[migrations.Migration], recorded: Iterable[str] = ()
) -> MigrationExecutor:
    """Django's executor, where these migrations were found and those are recorded from now on."""
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    for name in recorded:
        recorder.record_applied("shop", name)
    executor = MigrationExecutor(connection)
    executor.loader = loader_of(connection, disk)
    return executor


def planned(connection: BaseDatabaseWrapper, applied: Sequence[Operation], pending: Sequence[Operation]) -> Plan:
    """A plan to run the pending operations, where the others are recorded."""
    first = [made("0001_first", "", *applied)] if applied else []
    second = made("0002_second", "0001_first" if applied else "", *pending)
    executor = executor_of(connection, [*first, second], [migration.name for migration in first])
    return read_plan(Planned(executor, (), ((second, False),)))
