"""What a run would do: Django's plan for the targets that were named, and how the database stands to the code."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db.migrations.exceptions import (
    BadMigrationError,
    CircularDependencyError,
    InconsistentMigrationHistory,
    NodeNotFoundError,
)
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState

from rupaya.migrator.django import Conflict, Key, Misfit, Planned, PlanStep, full_order, recorded_keys, unquoted
from rupaya.migrator.errors import HistoryRefused, MigratorError
from rupaya.migrator.plan import manifest
from rupaya.migrator.plan.phases import phase_of
from rupaya.migrator.plan.status import Status, read_status


@dataclass(frozen=True)
class Plan:
    """What a run would do, and how the database stands to the code."""

    executor: MigrationExecutor
    """Django's, which has read every migration and the history."""
    steps: tuple[PlanStep, ...]
    """Migrations in the order in which they are to run; True: backwards."""
    status: Status
    phases: Mapping[Key, str]
    """``expand`` or ``contract``, for each migration in `steps`."""
    unrecorded: frozenset[Key]
    """Squashed migrations all of whose replaced ones are applied, and which are not recorded themselves yet."""
    recorded: tuple[Key, ...]
    """What the database has recorded, in that order."""
    is_complete: bool
    """Whether running it leaves nothing of this code unapplied."""
    digest: str
    """By what the early exit knows this release; empty if it has no name, or files were not found without Django."""
    known_tables: Mapping[Key, str] | None
    """What `tables` says, where judging the phases has found it on its way."""

    @property
    def disk(self) -> Mapping[Key, Migration]:
        """Every migration of this code."""
        return self.executor.loader.disk_migrations or {}

    @property
    def applied(self) -> int:
        """How many migrations of this code the database has."""
        return len(self.status.applied)

    @property
    def unknown(self) -> frozenset[Key]:
        """Migrations that the database has and this code does not."""
        return self.status.unknown

    @property
    def history(self) -> frozenset[Key]:
        """What the database has recorded."""
        return frozenset(self.recorded)

    @property
    def history_is_empty(self) -> bool:
        """Whether nothing at all is recorded, so that nobody can be using the schema."""
        return not self.recorded

    @property
    def has_work(self) -> bool:
        """Whether there is anything to run or to record."""
        return bool(self.steps or self.unrecorded)

    def is_up_to_date(self) -> bool:
        """Whether the history is still the one that it was made for."""
        return self.recorded == recorded_keys(self.executor.connection)

    def is_of_the_same_code(self, loader: MigrationLoader) -> bool:
        """Whether a loader has the same migrations, in the same graph: squashes that stand for others included."""
        return self.executor.loader.graph.nodes.keys() == loader.graph.nodes.keys() and all(
            type(migration) is type(self.disk.get(key)) for key, migration in (loader.disk_migrations or {}).items()
        )

    def tables(self) -> dict[Key, str]:
        """The table of each (app label, lower-case model name) that this code's migrations make."""
        if self.known_tables is not None:
            return dict(self.known_tables)
        return _tables_of(self.executor.loader.project_state())

    def with_steps(self, steps: Iterable[PlanStep]) -> Plan:
        """The same plan with other steps."""
        return replace(self, steps=tuple(steps))


def _tables_of(state: ProjectState) -> dict[Key, str]:
    return {key: table_in_state(key, model.options) for key, model in state.models.items() if has_table(model.options)}


def has_table(options: Mapping[str, Any]) -> bool:
    """Whether Django makes a table for a model with these options."""
    return bool(options.get("managed", True) and not options.get("proxy"))


def table_in_state(key: Key, options: Mapping[str, Any]) -> str:
    """The table of a model, (app label, lower-case name), that has these options; as the server has its name."""
    return unquoted(options.get("db_table") or f"{key[0]}_{key[1]}")


@contextmanager
def history_explained() -> Iterator[None]:
    """Turn complaints about migrations that cannot be read, or do not fit together, into `HistoryRefused`."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if (refused := refusal_of(error)) is None:
            raise
        raise refused from (None if refused.__cause__ is None else error)


def refusal_of(error: BaseException) -> HistoryRefused | None:
    """What a failure says of the migrations of this code, if it is about them; its cause is worth a traceback or none.

    A file may raise anything when it is loaded, SystemExit too, and an operation anything when it is followed.
    """
    match error:
        case InconsistentMigrationHistory():
            return HistoryRefused(
                str(error),
                "The history says that migrations ran in an order that this code does not allow; nothing was changed.",
                "If somebody edited django_migrations or faked a migration, correct that entry; "
                "if dependencies were changed in the code, change them back.",
            )
        case Conflict():
            return HistoryRefused(
                str(error),
                "Two branches each added a migration after the same one; nothing was changed.",
                "Run 'python manage.py makemigrations --merge', or make one depend on the other, and release again.",
            )
        case NodeNotFoundError() | CircularDependencyError() | BadMigrationError():
            return HistoryRefused(
                f"The migrations in this release do not fit together: {error}",
                "A file is missing, or dependencies form a circle; nothing was changed.",
                "Build the release from a complete checkout, or correct the dependencies.",
            )
    if isinstance(error, MigratorError) or (misfit := Misfit.of(error)) is None:
        return None
    if misfit.is_loading:
        refused = HistoryRefused(
            f"A migration of this release cannot be loaded: {misfit.text}",
            "Its file, or something that it imports, is broken; nothing was changed.",
            "Correct the file and release again.",
        )
    else:
        refused = HistoryRefused(
            f"{misfit.migration or 'A migration of this release'} does not follow from those before it: {misfit.text}",
            "An operation speaks of what they do not make, or of an app that is not installed.",
            "Correct its operations or its dependencies, and release again.",
        )
    refused.__cause__ = error
    return refused


def refuse_conflicts(loader: MigrationLoader) -> None:
    """Refuse two leaf nodes in one app, for what reads migrations without asking Django's command for a plan.

    Raises:
        HistoryRefused: naming them.
    """
    if conflicts := loader.detect_conflicts():
        names = "; ".join(f"{', '.join(sorted(names))} in {app}" for app, names in conflicts.items())
        with history_explained():
            raise Conflict(f"Conflicting migrations detected; multiple leaf nodes in the migration graph: ({names}).")


def read_plan(planned: Planned, before: Plan | None = None) -> Plan:
    """What Django's plan means on this database; of `before`, read by this process, is kept what only code decides."""
    executor, steps = planned.executor, planned.steps
    recorded = recorded_keys(executor.connection)
    rows = frozenset(recorded)
    status = read_status(executor.loader, recorded)
    migrations = [migration for migration, _backwards in steps]
    known = before if before is not None and before.is_of_the_same_code(executor.loader) else None
    keys = [key_of(migration) for migration in migrations]
    if known and known.phases.keys() >= set(keys):
        phases, tables = {key: known.phases[key] for key in keys}, known.known_tables
    else:
        phases, tables = _judged(executor.loader, migrations)
    forwards = {key_of(migration) for migration, backwards in steps if not backwards}
    backwards = {key_of(migration) for migration, backwards in steps if backwards}
    left = set(status.pending) - forwards
    return Plan(
        executor=executor,
        steps=steps,
        status=status,
        phases=phases,
        unrecorded=frozenset(
            key
            for key, migration in executor.loader.replacements.items()
            if key not in rows and all(replaced in rows for replaced in migration.replaces)
        ),
        recorded=recorded,
        is_complete=not left and not backwards,
        known_tables=tables,
        digest=known.digest if known else _code_digest(executor.loader),
    )


def backwards_plan(executor: MigrationExecutor, keys: Set[Key]) -> Plan:
    """What unapplies exactly these migrations, each before those it depends on."""
    loader = executor.loader
    steps = tuple((loader.graph.nodes[key], True) for key in reversed(full_order(loader)) if key in keys)
    return read_plan(Planned(executor, (), steps))


def key_of(migration: Migration) -> Key:
    return migration.app_label, migration.name


def pending_phases(loader: MigrationLoader, pending: Iterable[Migration]) -> dict[Key, str]:
    """The phase of each of these migrations, each judged by the project state just before it."""
    return _judged(loader, pending)[0]


def _judged(loader: MigrationLoader, pending: Iterable[Migration]) -> tuple[dict[Key, str], dict[Key, str] | None]:
    """The phases, and the tables that all migrations of this code amount to; None where there is nothing to judge."""
    wanted = {key_of(migration) for migration in pending}
    phases: dict[Key, str] = {}
    if not wanted:
        return phases, None
    state = ProjectState(real_apps=loader.unmigrated_apps)
    for key in full_order(loader):
        migration = loader.graph.nodes[key]
        if key in wanted:
            phases[key] = phase_of(migration, state)
        migration.mutate_state(state, preserve=False)
    return phases, _tables_of(state)


def _code_digest(loader: MigrationLoader) -> str:
    """The early exit's digest of this release; empty unless it covers every migration that Django has loaded."""
    release = getattr(settings, "RELEASE", "")
    if not release:
        return ""
    files = manifest.migration_files(settings.INSTALLED_APPS, settings.MIGRATION_MODULES)
    try:
        loaded = {inspect.getfile(type(migration)) for migration in (loader.disk_migrations or {}).values()}
    except (TypeError, OSError):
        return ""
    # Links are followed only where the names do not say it.
    if (left := loaded - set(files)) and not set(map(os.path.realpath, left)) <= set(map(os.path.realpath, files)):
        return ""
    return manifest.digest(files, release)
