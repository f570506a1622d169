"""The one door to Django's inside: what has no public name, and the few seams that a run needs in Django's `migrate`.

Each piece says in which version its source was read. `tests/migrator/test_django.py` tries them on the Django that is
installed, and `make django-test` runs Django's own tests of these commands with ours in their place.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from django.core.management.base import CommandError
from django.core.management.commands import makemigrations, migrate
from django.core.management.sql import emit_post_migrate_signal, emit_pre_migrate_signal
from django.db import Error as DatabaseError
from django.db import migrations as django_migrations
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import strip_quotes
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ModelState, ProjectState, StateApps
from django.db.migrations.utils import resolve_relation

from rupaya.migrator.statements import as_stored

Key = tuple[str, str]
Target = tuple[str, str | None]
PlanStep = tuple[Migration, bool]
SendSignal = Callable[..., None]

PLAIN_OPTIONS: Mapping[str, Any] = {
    "app_label": None,
    "migration_name": None,
    "interactive": True,
    "fake": False,
    "fake_initial": False,
    "plan": False,
    "run_syncdb": False,
    "check_unapplied": False,
    "prune": False,
}
"""The options of a plain ``migrate``, for what runs Django's command and is not that command."""


@dataclass(frozen=True)
class Planned:
    """What Django's own `migrate` would do: its executor, its targets, its plan."""

    executor: MigrationExecutor
    targets: tuple[Target, ...]
    steps: tuple[PlanStep, ...]


class _Asked(Exception):
    """Ends Django's command where its plan is made; nothing has been changed by then."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned


class _Planner(MigrationExecutor):
    """Answers Django's command with an exception that carries the plan."""

    def migration_plan(self, targets: Any, clean_start: bool = False) -> list[PlanStep]:
        """Plan, and leave; Django's full plan is there for later questions."""
        steps: list[PlanStep] = super().migration_plan(targets, clean_start)
        if clean_start:
            return steps
        raise _Asked(Planned(self, tuple(targets), tuple(steps)))


class DjangoMigrate:
    """Django's own `migrate`, with one set of options: asked for its plan, or run whole."""

    def __init__(self, command: migrate.Command, options: Mapping[str, Any]) -> None:
        self.command = command
        self.options = options

    def plan(self) -> Planned:
        """What it would do now: targets read, histories and conflicts judged, `APP.management` imported by Django.

        Raises:
            CommandError: as Django's command does.
            InconsistentMigrationHistory, NodeNotFoundError …: likewise.
        """
        made: list[_Planner] = []

        def make(connection: BaseDatabaseWrapper, *_callbacks: object) -> _Planner:
            made.append(_Planner(connection))
            return made[-1]

        try:
            with _seams(MigrationExecutor=make):
                migrate.Command.handle(self.command, **{**self.options, "prune": False})
        except _Asked as asked:
            return asked.planned
        except CommandError as error:
            if made and made[-1].loader.detect_conflicts():
                raise Conflict(str(error).partition("\n")[0]) from None
            raise
        raise AssertionError("Django's migrate made no plan")

    def run(self, executor: MigrationExecutor, send_pre_migrate: SendSignal, send_post_migrate: SendSignal) -> None:
        """Run it with an executor of ours; the two functions get what Django gives its own, in their place."""
        with _seams(
            MigrationExecutor=lambda *_arguments: executor,
            emit_pre_migrate_signal=send_pre_migrate,
            emit_post_migrate_signal=send_post_migrate,
        ):
            migrate.Command.handle(self.command, **self.options)

    def run_without_steps(self) -> None:
        """Run it for its signals and its words about models, where nothing is pending."""
        with _seams(MigrationExecutor=_NoSteps):
            migrate.Command.handle(self.command, **self.options)


class _NoSteps(MigrationExecutor):
    """Has nothing to do."""

    def migration_plan(self, targets: Any, clean_start: bool = False) -> list[PlanStep]:
        """Nothing, but for Django's full plan."""
        full: list[PlanStep] = super().migration_plan(targets, clean_start) if clean_start else []
        return full


_HERE = str(Path(__file__).parent) + os.sep
_READING = tuple(
    str(Path(django_migrations.__file__).parent / name)
    for name in ("loader.py", "graph.py", "state.py", "migration.py", "operations")
)


@dataclass(frozen=True)
class Misfit:
    """A failure of Django's reading of migrations: the fault of their files, and not of the database or the migrator.

    It may be any exception, SystemExit too, so it is told by where it came from.
    """

    text: str
    migration: str
    """The one whose operations could not be followed, where that is known."""
    is_loading: bool
    """Whether it is a file that cannot be loaded, or else an operation that cannot be followed."""

    @classmethod
    def of(cls, error: BaseException) -> Misfit | None:
        """What it is, if Django raised it where it reads migrations, or what that called (read in 5.2.19 and 6.0)."""
        frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
        known = [frame for frame in frames if frame.f_code.co_filename.startswith((*_READING, _HERE))]
        if isinstance(error, DatabaseError) or not known or known[-1].f_code.co_filename.startswith(_HERE):
            return None
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        file, line = innermost.filename, innermost.lineno
        if isinstance(error, SyntaxError) and error.filename:
            file, line = error.filename, error.lineno
        followed = [it for frame in known if isinstance(it := frame.f_locals.get("self"), Migration)]
        return cls(
            f"{type(error).__name__}: {error} at {file}:{line}",
            str(followed[-1]) if followed else "",
            any(frame.f_code.co_name == "build_graph" for frame in known),
        )


class Conflict(CommandError):
    """Two leaf nodes in one app, in Django's words."""


def send_pre_migrate(*arguments: Any, **options: Any) -> None:
    """Django's own sending of the signal."""
    emit_pre_migrate_signal(*arguments, **options)


def send_post_migrate(*arguments: Any, **options: Any) -> None:
    """Django's own sending of the signal."""
    emit_post_migrate_signal(*arguments, **options)


@contextmanager
def _seams(**names: Any) -> Iterator[None]:
    """Let Django's command find these under the names that its module imports (read in 5.2.19 and 6.0).

    Its `handle` offers no other way to give it an executor or to stand around its signals, and a copy of it would age.
    """
    before = {name: getattr(migrate, name) for name in names}
    for name, replacement in names.items():
        setattr(migrate, name, replacement)
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(migrate, name, original)


@contextmanager
def writing_migrations_with(writer: type) -> Iterator[None]:
    """Let Django's `makemigrations` write with this class, which it takes from its module's names (read in 5.2.19 and
    6.0)."""
    original = makemigrations.MigrationWriter  # type: ignore[attr-defined]
    makemigrations.MigrationWriter = writer  # type: ignore[attr-defined]
    try:
        yield
    finally:
        makemigrations.MigrationWriter = original  # type: ignore[attr-defined]


@contextmanager
def nothing_is_durable(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let blocks that ask to be durable be savepoints of the transaction around them, which Django refuses otherwise
    (read in 5.2.19 and 6.0)."""
    enter = transaction.Atomic.__enter__

    def as_savepoint(block: Any) -> None:
        durable = block.durable
        block.durable = durable and transaction.get_connection(block.using) is not connection
        try:
            enter(block)
        finally:
            block.durable = durable  # it may be a function's, and be entered again

    transaction.Atomic.__enter__ = as_savepoint  # type: ignore[method-assign]
    try:
        yield
    finally:
        transaction.Atomic.__enter__ = enter  # type: ignore[method-assign]


@contextmanager
def no_savepoint_within(block: transaction.Atomic, connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let the schema editor that is entered straight in this block make no savepoint there.

    Django's has none on its own, and two round trips for one in a block around it, which is rolled back whole where
    the editor's fails (read in 5.2.19 and 6.0).
    """
    editor_class: type[Any] = connection.SchemaEditorClass

    class Editor(editor_class):  # type: ignore[misc]
        def __enter__(self) -> Any:
            if connection.atomic_blocks[-1:] != [block]:
                return super().__enter__()
            connection.savepoint = lambda: None  # type: ignore[method-assign]
            try:
                return super().__enter__()
            finally:
                del connection.savepoint

    connection.SchemaEditorClass = Editor
    try:
        yield
    finally:
        connection.SchemaEditorClass = editor_class


def unquoted(name: str) -> str:
    """A table's name as the server has it: Django lets `db_table` be longer, and have the quotes (read in 5.2.19)."""
    return as_stored(str(strip_quotes(name)))


def table_of(model: Any) -> str:
    """The name of a model's table, as the server has it."""
    return unquoted(model._meta.db_table)


def apps_with(state: ProjectState, key: Key) -> StateApps:
    """A registry with the model of that app and lower-case name, and those that it refers to, and those in turn.

    `state.apps` makes all models of a project; that takes a tenth of a second where there are a hundred, and an
    altered foreign key asks for two of these (`StateApps` read in 5.2.19).
    """
    if "apps" in vars(state):
        return state.apps  # they are made already
    needed: dict[Key, ModelState] = {}
    wanted: list[Any] = [key]
    while wanted:
        found = wanted.pop()
        if found in needed or found not in state.models:
            continue
        model = needed[found] = state.models[found]
        related = list(model.bases)
        for remote in (field.remote_field for field in model.fields.values() if field.remote_field):
            related += [remote.model, getattr(remote, "through", None)]
        wanted += [resolve_relation(to, *found) for to in related if isinstance(to, str)]
    try:
        return StateApps(list(state.real_apps), needed)
    except (LookupError, ValueError):  # something refers to it in a way that is not seen here
        return state.apps


def recorded_rows(connection: BaseDatabaseWrapper) -> dict[Key, Any]:
    """The rows of `django_migrations` by app and name, in the order in which they were recorded.

    Not `loader.applied_migrations`: where a squashed migration stands for others, that has a `Migration` in the place
    of a row, and an entry where there is no row at all (read in 5.2.19 and 6.0).
    """
    rows = MigrationRecorder(connection).applied_migrations()
    return dict(sorted(rows.items(), key=lambda item: item[1].pk))


def recorded_keys(connection: Any) -> tuple[Key, ...]:
    """App and name of each row of `django_migrations`, in the order in which they were recorded.

    `connection` is Django's or the driver's.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations') IS NOT NULL")  # Django's way lists all tables
        if not cursor.fetchone()[0]:
            return ()
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return tuple(dict.fromkeys(cursor.fetchall()))


def full_order(loader: MigrationLoader) -> list[Key]:
    """Every migration in the order in which Django would apply them to an empty database.

    `executor.migration_plan(leaf_nodes, clean_start=True)` says the same, and needs a database to be made.
    """
    graph = loader.graph
    if graph not in _orders:
        _orders[graph] = graph._generate_plan(graph.leaf_nodes(), at_end=True)
    return list(_orders[graph])


_orders: WeakKeyDictionary[MigrationGraph, list[Key]] = WeakKeyDictionary()
"""A graph, once built, does not change."""


def applied_state(executor: MigrationExecutor) -> ProjectState:
    """The project state that the applied migrations amount to."""
    state: ProjectState = executor._create_project_state(with_applied_migrations=True)  # type: ignore[attr-defined]
    return state


def record_applied(executor: MigrationExecutor, migration: Migration) -> None:
    """Write a migration's row, and those of what it replaces, as Django 5.2's and 6.0's `record_migration` do.

    Their signatures differ: 5.2 takes the migration, 6.0 app label and name.
    """
    for app_label, name in migration.replaces or [(migration.app_label, migration.name)]:
        executor.recorder.record_applied(app_label, name)


def unmigrated_apps(loader: MigrationLoader) -> Sequence[str]:
    """Labels of apps that Django takes for unmigrated."""
    return sorted(loader.unmigrated_apps)
