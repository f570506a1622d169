"""The code's migrations against the database's: targets, pending, unknown, and histories that do not go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError
from django.db.migrations.exceptions import (
    AmbiguityError,
    BadMigrationError,
    CircularDependencyError,
    InconsistentMigrationHistory,
    NodeNotFoundError,
)
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.plan import manifest
from rupaya.migrator.plan.phases import CONTRACT, phase_of

Target = tuple[str, str | None]


@dataclass(frozen=True)
class Plan:
    """What a run would do, and how the database stands to the code."""

    targets: tuple[Target, ...]
    steps: tuple[tuple[Migration, bool], ...]
    """Migrations in the order they are to be carried out; True: backwards."""
    applied: int
    """Migrations of this code that the database has."""
    unknown: frozenset[tuple[str, str]]
    """Migrations that the database has and this code does not."""
    phases: Mapping[tuple[str, str], str]
    """``expand`` or ``contract``, for each migration in `steps` and in `held`."""
    held: tuple[Migration, ...]
    """Pending, but held back: they would break the release that is still running."""
    has_unrecorded_squashes: bool
    """All that a squashed migration replaces is applied, and the squashed one not yet recorded."""
    history_is_empty: bool
    is_complete: bool
    """Whether carrying it out leaves nothing of this code unapplied but what is held."""
    disk: Mapping[tuple[str, str], Migration]
    """Every migration of this code."""
    tables: Mapping[tuple[str, str], str]
    """The table of each (app label, lower-case model name) that this code's migrations amount to."""
    digest: str
    """By what the early exit knows this code; empty if it cannot find the same migrations as Django."""

    @property
    def has_work(self) -> bool:
        """Whether there is anything to carry out or to record."""
        return bool(self.steps) or self.has_unrecorded_squashes


@contextmanager
def history_explained() -> Iterator[None]:
    """Turn Django's complaints about migrations that do not fit together into `HistoryRefused`."""
    try:
        yield
    except InconsistentMigrationHistory as error:
        raise HistoryRefused(
            str(error),
            "The history says that migrations ran in an order that this code does not allow; nothing was changed.",
            "If somebody edited django_migrations or faked a migration, mend that entry; "
            "if dependencies were changed in the code, change them back.",
        ) from None
    except (NodeNotFoundError, CircularDependencyError, BadMigrationError) as error:
        raise HistoryRefused(
            f"The migrations in this release do not fit together: {error}",
            "A file is missing, or dependencies form a circle; nothing was changed.",
            "Build the release from a complete checkout, or mend the dependencies.",
        ) from None


def refuse_conflicts(loader: MigrationLoader) -> None:
    """Refuse two leaf nodes in one app.

    Raises:
        HistoryRefused: naming them.
    """
    if conflicts := loader.detect_conflicts():
        names = "; ".join(f"{', '.join(sorted(names))} in {app}" for app, names in conflicts.items())
        raise HistoryRefused(
            f"Conflicting migrations: multiple leaf nodes in the migration graph ({names}).",
            "Two branches each added a migration after the same one; nothing was changed.",
            "Run 'python manage.py makemigrations --merge', or make one depend on the other, and release again.",
        )


def read_plan(
    executor: MigrationExecutor,
    app_label: str | None,
    migration_name: str | None,
    *,
    run_syncdb: bool = False,
    hold_contract: bool = False,
) -> Plan:
    """What `migrate [app_label [migration_name]]` would do now.

    With `hold_contract`, migrations that would break the running release stay pending; not on an empty history, where
    nothing runs yet, and not for a migration that was asked for by its name.

    Raises:
        CommandError: if the arguments name no app or no migration; the texts are Django's.
        HistoryRefused: if a migration depends on one that is held.
    """
    loader = executor.loader
    targets = _targets(loader, app_label, migration_name, run_syncdb=run_syncdb)
    steps = tuple(executor.migration_plan(list(targets)))
    applied = set(loader.applied_migrations or {})
    phases = pending_phases(loader, [step for step, _backwards in steps])
    held: tuple[Migration, ...] = ()
    if hold_contract and applied and not migration_name:
        held = _held(steps, phases)
        steps = tuple(step for step in steps if step[0] not in held)
        if held:
            targets = tuple((step.app_label, step.name) for step, _backwards in steps)
    known = set(loader.disk_migrations or {})
    replaced = {key for migration in loader.replacements.values() for key in migration.replaces}
    wanted = {key for key in loader.graph.nodes if loader.graph.nodes[key]}
    will_be_applied = applied | {(step.app_label, step.name) for step, backwards in steps if not backwards}
    will_be_applied -= {(step.app_label, step.name) for step, backwards in steps if backwards}
    return Plan(
        targets=targets,
        steps=steps,
        phases=phases,
        held=held,
        applied=len(applied & known),
        unknown=frozenset(applied - known - replaced),
        has_unrecorded_squashes=any(
            key not in applied and all(replaced_key in applied for replaced_key in migration.replaces)
            for key, migration in loader.replacements.items()
        ),
        history_is_empty=not applied,
        is_complete=wanted - {(migration.app_label, migration.name) for migration in held} <= will_be_applied,
        disk=loader.disk_migrations or {},
        tables=_tables(loader) if steps else {},
        digest=_code_digest(known),
    )


def backwards_plan(executor: MigrationExecutor, keys: Set[tuple[str, str]]) -> Plan:
    """What unapplies exactly these migrations, each before those it depends on."""
    loader = executor.loader
    order = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    steps = tuple((loader.graph.nodes[key], True) for key in reversed(order) if key in keys)
    applied = set(loader.applied_migrations or {})
    return Plan(
        targets=(),
        steps=steps,
        phases=pending_phases(loader, [step for step, _backwards in steps]),
        held=(),
        applied=len(applied & set(loader.disk_migrations or {})),
        unknown=frozenset(applied - set(loader.disk_migrations or {})),
        has_unrecorded_squashes=False,
        history_is_empty=not applied,
        is_complete=False,
        disk=loader.disk_migrations or {},
        tables={},
        digest="",
    )


def pending_phases(loader: MigrationLoader, pending: Iterable[Migration]) -> dict[tuple[str, str], str]:
    """The phase of each of these migrations, each judged by the project state just before it."""
    wanted = {(migration.app_label, migration.name) for migration in pending}
    phases: dict[tuple[str, str], str] = {}
    if not wanted:
        return phases
    state = ProjectState(real_apps=loader.unmigrated_apps)
    for key in loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True):
        migration = loader.graph.nodes[key]
        if key in wanted:
            phases[key] = phase_of(migration, state)
            if len(phases) == len(wanted):
                break
        migration.mutate_state(state, preserve=False)
    return phases


def _held(steps: Iterable[tuple[Migration, bool]], phases: Mapping[tuple[str, str], str]) -> tuple[Migration, ...]:
    held: dict[tuple[str, str], Migration] = {}
    for migration, backwards in steps:
        key = (migration.app_label, migration.name)
        if backwards:
            continue
        if phases[key] == CONTRACT:
            held[key] = migration
        elif waited_for := [held[dependency] for dependency in migration.dependencies if dependency in held]:
            raise HistoryRefused(
                f"{migration} depends on {', '.join(map(str, waited_for))}, a contract migration that is held back.",
                "This release cannot serve without it, and it may break the release that is running; nothing was "
                "changed.",
                "Finish the earlier rollout first: 'manage.py migrate --contract', once no older release is running. "
                "Then start this one again.",
            )
    return tuple(held.values())


def _tables(loader: MigrationLoader) -> dict[tuple[str, str], str]:
    return {
        key: str(model.options.get("db_table") or f"{key[0]}_{key[1]}")
        for key, model in loader.project_state().models.items()
    }


def _code_digest(known: set[tuple[str, str]]) -> str:
    files = manifest.migration_files(settings.INSTALLED_APPS)
    return manifest.digest(files) if set(files) == known else ""


def _targets(
    loader: MigrationLoader, app_label: str | None, migration_name: str | None, *, run_syncdb: bool
) -> tuple[Target, ...]:
    if not app_label:
        return tuple(loader.graph.leaf_nodes())
    try:
        apps.get_app_config(app_label)
    except LookupError as error:
        raise CommandError(str(error)) from None
    if run_syncdb:
        if app_label in loader.migrated_apps:
            raise CommandError(f"Can't use run_syncdb with app '{app_label}' as it has migrations.")
        return ()
    if app_label not in loader.migrated_apps:
        raise CommandError(f"App '{app_label}' does not have migrations.")
    if not migration_name:
        return tuple(key for key in loader.graph.leaf_nodes() if key[0] == app_label)
    if migration_name == "zero":
        return ((app_label, None),)
    try:
        migration = loader.get_migration_by_prefix(app_label, migration_name)
    except AmbiguityError:
        raise CommandError(
            f"More than one migration matches '{migration_name}' in app '{app_label}'. Please be more specific."
        ) from None
    except KeyError:
        raise CommandError(f"Cannot find a migration matching '{migration_name}' from app '{app_label}'.") from None
    target = (app_label, migration.name)
    # A partly applied squashed migration is not in the graph: the last one it replaces stands for it, as in Django.
    if target not in loader.graph.nodes and target in loader.replacements:
        target = loader.replacements[target].replaces[-1]
    return (target,)
