"""A migration carried out by halves; and a forecast of that, which executes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint
from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from rupaya.migrator.debts import leftovers, unshareable
from rupaya.migrator.debts.book import Book
from rupaya.migrator.debts.debt import OPERATION, Debt, by_operation
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.editor import DebtsEditor
from rupaya.migrator.debts.fresh import Fresh
from rupaya.migrator.debts.mentions import mentioned
from rupaya.migrator.debts.stepping import CurrentOperation
from rupaya.migrator.debts.treatment import (
    HALVED,
    NOW,
    backwards,
    bears_a_transaction,
    forwards,
    treatment,
    written_sql,
)
from rupaya.migrator.django import table_of
from rupaya.migrator.errors import MigratorError, is_lost, python_text
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.phases import EXPAND

Around = Callable[[Operation, Any], AbstractContextManager[None]]
"""Whoever wants to know which operation is at work, given it and the schema editor."""


def _alone(_operation: Operation, _editor: Any) -> AbstractContextManager[None]:
    return nullcontext()


class Halved:
    """Stands for an operation while its migration is carried out: tells the editor which one it is."""

    def __init__(self, operation: Operation, migration: Migration, number: str, around: Around = _alone) -> None:
        self.operation = operation
        self.migration = migration
        self.number = number
        self.around = around
        if isinstance(operation, ops.SeparateDatabaseAndState):
            # Django works out the states of the inner operations itself.
            self.operation = copy.copy(operation)
            self.operation.database_operations = [
                Halved(inner, migration, f"{number}.{place}", around)  # type: ignore[misc]
                for place, inner in enumerate(operation.database_operations)
            ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.operation, name)

    def __repr__(self) -> str:
        return repr(self.operation)  # Django's complaints name it

    def database_forwards(
        self, app_label: str, editor: DebtsEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Carry it out as its treatment says."""
        if isinstance(self.operation, ops.SeparateDatabaseAndState):
            self.operation.database_forwards(app_label, editor, from_state, to_state)
            return
        with self.around(self.operation, editor):
            self._forwards(app_label, editor, from_state, to_state)

    def _forwards(self, app_label: str, editor: DebtsEditor, from_state: ProjectState, to_state: ProjectState) -> None:
        arguments = (app_label, editor, from_state, to_state)
        operation, migration = self.operation, self.migration
        how, sentence = treatment(operation, migration)
        step = self._step(backwards=False)
        if sentence:
            editor.book.warn(sentence)
        if how == HALVED:
            # A debt and the half that was done: both or neither, in a migration that is not atomic as well.
            with editor.stepping(step), _together(editor, operation):
                self._halve(*arguments)
            return
        with editor.stepping(step):
            if editor.is_forecast:
                editor._pay_first(mentioned(written_sql(operation), editor.book.owed))
            if how != NOW:
                self._owe_whole(app_label, editor, from_state)
                return
        if not editor.is_forecast:
            operation.database_forwards(*arguments)

    def database_backwards(
        self, app_label: str, editor: DebtsEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Undo what was done of it."""
        operation = self.operation
        if isinstance(operation, ops.SeparateDatabaseAndState):
            operation.database_backwards(app_label, editor, from_state, to_state)
            return
        how, _sentence = treatment(operation, self.migration)
        if any(
            debt.kind == OPERATION and debt.key == (app_label, self.migration.name) and debt.operation == self.number
            for debt in editor.book.owed
        ):
            return  # it was never carried out
        if how != HALVED:
            operation.database_backwards(app_label, editor, from_state, to_state)
            return
        with editor.stepping(self._step(backwards=True)):
            backwards(operation)(app_label, editor, from_state, to_state)

    def _step(self, *, backwards: bool) -> CurrentOperation:
        migration = self.migration
        forget = bool(getattr(migration, "forget", False))
        return CurrentOperation(
            migration.app_label, migration.name, self.number, self.operation.describe(), backwards, forget
        )

    def _halve(self, app_label: str, editor: DebtsEditor, from_state: ProjectState, to_state: ProjectState) -> None:
        operation = self.operation
        model_name = getattr(operation, "model_name", "")
        if isinstance(operation, AddConstraintNotValid | ValidateConstraint):
            model = from_state.apps.get_model(app_label, model_name)
            if operation.allow_migrate_model(editor.connection.alias, model):
                if isinstance(operation, ValidateConstraint):
                    if editor.validate_constraint(model, operation.name) or editor.is_forecast:
                        return
                elif editor._owes(table_of(model)):
                    editor.owe_constraint(model, operation.constraint, validate=False)
                    return
        forwards(operation, is_forecast=editor.is_forecast)(app_label, editor, from_state, to_state)

    def _owe_whole(self, app_label: str, editor: DebtsEditor, from_state: ProjectState) -> None:
        changed = from_state.clone()
        self.operation.state_forwards(app_label, changed)
        if _models_differ(from_state, changed):
            raise unshareable.owed_state(editor.where)
        breaks = f'what the migration\'s phase = "contract" means by {self.operation.describe()}'
        editor.book.owe(
            editor.debt(OPERATION, "", self.number, [by_operation(*written_sql(self.operation))], breaks, [])
        )


def _models_differ(before: ProjectState, after: ProjectState) -> bool:
    """Whether what was cloned from a state has other models; Django's own comparison finds an ArrayField unlike itself,
    for no field equals a copy of it."""
    if before.models.keys() != after.models.keys():
        return True
    return any(
        one.fields.keys() != (other := after.models[key]).fields.keys()
        or any(field is not other.fields[name] for name, field in one.fields.items())
        or (one.options, one.bases, one.managers) != (other.options, other.bases, other.managers)
        for key, one in before.models.items()
    )


@contextmanager
def _together(editor: DebtsEditor, operation: Operation) -> Iterator[None]:
    # Not by Django's Operation.atomic, which is False for nearly all of them and says nothing of this.
    if editor.is_forecast or editor.connection.in_atomic_block or not bears_a_transaction(operation):
        yield
        return
    with transaction.atomic(using=editor.connection.alias):
        yield


@contextmanager
def _by_halves(migration: Migration, around: Around = _alone) -> Iterator[None]:
    operations = migration.operations
    migration.operations = [  # type: ignore[misc]
        Halved(operation, migration, str(number), around)  # type: ignore[misc]
        for number, operation in enumerate(operations)
    ]
    try:
        yield
    finally:
        migration.operations = operations  # type: ignore[misc]


def _editor_class(name: str, stock: Any, book: Book, *, is_forecast: bool = False) -> type[DebtsEditor]:
    """The editor of debts over the backend's own, whichever that is."""
    return type(name, (DebtsEditor, stock), {"book": book, "is_forecast": is_forecast})


class Owing:
    """Lets the migrations of one run be carried out by halves; what it made, no older code knows."""

    def __init__(
        self, connection: BaseDatabaseWrapper, *, run_id: int, release: str, fresh: Fresh | None = None
    ) -> None:
        self.connection = connection
        self.store = DebtStore(connection)
        self.run_id = run_id
        self.release = release
        self.fresh = fresh or Fresh()
        self.warnings: list[str] = []

    @contextmanager
    def carrying_out(self, migration: Migration, *, backwards: bool = False, around: Around = _alone) -> Iterator[Book]:
        """Around one attempt at a migration, inside its transaction if it has one.

        Django's own `apply` and `unapply` work through the editor of debts in the block, whatever calls them.
        """
        book = Book(
            self.store.owed(),
            self.fresh.copy(),
            self.store,
            self.run_id,
            release=self.release,
            cancelled=self.store.cancelled_by(str(migration)) if backwards else [],
            fingerprint=migration_hashes(migration)[0],
        )
        apply, unapply = migration.apply, migration.unapply

        def apply_halves(*arguments: Any, **options: Any) -> ProjectState:
            with _by_halves(migration, around):
                return apply(*arguments, **options)

        def unapply_halves(*arguments: Any, **options: Any) -> ProjectState:
            for debt in book.owed:
                if debt.key == (migration.app_label, migration.name):
                    leftovers.take_away(self.connection, debt)
            with _by_halves(migration):
                return unapply(*arguments, **options)

        editor_class = self.connection.SchemaEditorClass
        self.connection.SchemaEditorClass = _editor_class("RunEditor", editor_class, book)
        migration.apply, migration.unapply = apply_halves, unapply_halves  # type: ignore[method-assign]
        try:
            yield book
            if backwards:  # also where Django was told to --fake it, and has called nothing
                settle_unapplied(book, migration)
        finally:
            del migration.apply, migration.unapply
            self.connection.SchemaEditorClass = editor_class
        self.fresh = book.fresh
        self.warnings += [warning for warning in book.warnings if warning not in self.warnings]


def settle_unapplied(book: Book, migration: Migration) -> None:
    """Cancel what a migration that was unapplied owed, and owe again what it had cancelled."""
    key = (migration.app_label, migration.name)
    book.cancel([debt for debt in book.owed if debt.key == key])
    book.reopen([debt for debt in book.cancelled if debt.settled_by == str(migration)])
    if book.store is not None:
        book.store.undo(*key)


@dataclass
class Forecast:
    """What carrying out a plan by halves would mean."""

    owed: list[Debt] = field(default_factory=list)
    """What it would leave owed, of its own."""
    cancelled: list[Debt] = field(default_factory=list)
    """What is owed now and would be pointless then."""
    pay_first: dict[tuple[str, str], list[Debt]] = field(default_factory=dict)
    """By migration, what is owed now and must be paid before it runs."""
    warnings: list[str] = field(default_factory=list)
    fresh: Fresh = field(default_factory=Fresh)
    unforeseen: str = ""
    """A sentence, where not all of the plan could be followed."""


@contextmanager
def _undone(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let the migration's own code, a default that asks the database for instance, change nothing and leave nothing.

    In a transaction that Django takes for none: in one of its own, what works outside alone would refuse.
    """
    if not connection.get_autocommit():  # a caller's
        yield
        return
    connection.set_autocommit(False)
    try:
        yield
    finally:
        with suppress(psycopg2.Error, Error):  # it may be lost
            connection.rollback()
            connection.set_autocommit(True)


def forecast(
    connection: BaseDatabaseWrapper,
    steps: Iterable[tuple[Migration, bool]],
    state: ProjectState,
    *,
    fresh: Fresh | None = None,
    told: Callable[[Migration], None] | None = None,
    around: Around = _alone,
) -> Forecast:
    """What a plan would owe, from the state of what is applied (which is left as it is); nothing is executed.

    Raises:
        HistoryRefused: for the first change that neither the running release nor this one could do without.
    """
    owed = DebtStore(connection).owed()
    result = Forecast(fresh=fresh or Fresh())
    book = Book(list(owed), result.fresh)
    editor_class = _editor_class("ForecastEditor", connection.SchemaEditorClass, book, is_forecast=True)
    state = state.clone()
    for migration, is_backwards in steps:
        if is_backwards:
            continue
        if told is not None:
            told(migration)
        editor = editor_class(connection, collect_sql=True, atomic=False)
        editor.deferred_sql = []
        try:
            with _undone(connection), _by_halves(migration, around):
                state = migration.apply(state, editor)
        except MigratorError:
            raise
        except Exception as error:
            if is_lost(error):
                raise
            # It may be wrong, or its default may ask for rows that those before it write: running it will tell.
            reason = f"{type(error).__name__}: {python_text(error)}"
            result.unforeseen = f"What {migration} and those after it would owe cannot be foreseen: {reason}"
            break
        if book.pay_first:
            result.pay_first[migration.app_label, migration.name] = list(book.pay_first)
            book.pay_first.clear()
    result.owed = [debt for debt in book.owed if debt.id is None]
    result.cancelled = [debt for debt in book.cancelled if debt.id is not None]
    result.warnings = book.warnings
    return result


def runs_by_halves(
    steps: Iterable[tuple[Migration, bool]], *, is_first: bool, phase: str, owes: Callable[[], bool]
) -> bool:
    """Whether an older release may be serving, so that only what it survives is done now and the rest is owed.

    `is_first`: nothing was ever migrated, so nobody serves; `owes`, whether anything is owed, is asked only where it
    decides.
    """
    return not is_first and any(not is_backwards for _migration, is_backwards in steps) and (phase == EXPAND or owes())


def refuse_unpaid(pay_first: Mapping[tuple[str, str], Sequence[Debt]]) -> None:
    """Refuse a plan that needs debts paid which cannot be paid in this run.

    Raises:
        HistoryRefused: naming the migration and the first of them.
    """
    for (app, name), debts in pay_first.items():
        raise unshareable.name_owed(f"{app}.{name}", debts[0], same_plan=False)
