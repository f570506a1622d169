"""Migrations tried in a scratch database: once on empty tables, which shows what fails, and once on made-up rows.

They are carried out as beside a release that is running: by halves; then what they owe is paid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation

from rupaya.migrator.analysis.gate import effects, madeuprows, oldcode
from rupaya.migrator.analysis.gate.effects import Inventory
from rupaya.migrator.analysis.gate.madeuprows import Filled
from rupaya.migrator.analysis.gate.oldcode import Sent
from rupaya.migrator.analysis.stage import Looping, Stage, StagedMigration, Statement, Witness
from rupaya.migrator.debts import unshareable
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.django import table_of
from rupaya.migrator.errors import HistoryRefused, MigrationFailed, MigratorError, driver_text, sqlstate
from rupaya.migrator.plan.phases import is_known, is_nothing

# Data exceptions and integrity violations: what made-up rows may well be to blame for.
OF_ROWS = ("22", "23")


Key = tuple[str, str]


@dataclass
class Trial:
    """One migration, tried once."""

    migration: Migration
    step: StagedMigration
    rows: dict[str, int]
    """How many rows each table had; those that had none are left out."""
    facts: dict[int, tuple[Inventory, Inventory]] = field(default_factory=dict)
    """The schema before and after each operation."""
    outcomes: dict[int, tuple[dict[Sent, str], dict[Sent, str]]] = field(default_factory=dict)
    """How old code's statements ended before and after each operation that nobody can judge by its form."""
    forgotten: list[tuple[str, str]] = field(default_factory=list)
    """Each (table, column) that was taken from the models alone."""
    expected: list[tuple[str, str]] = field(default_factory=list)
    """Each (table, column) of the models that SeparateDatabaseAndState has to do with, as they are afterwards."""
    at_the_end: Inventory = field(default_factory=Inventory)
    """The schema when all migrations were tried; known if one of these two is asked about."""
    refused: str = ""
    """Why it was tried a second time, on emptied tables: what the made-up rows did not keep to."""
    looping: Statement | None = None
    """What it sent again and again, for which it was stopped."""
    error: str = ""
    code: str = ""
    """The server's code of the failure; empty if it was no failure of the server."""
    advice: str = ""
    """What to do, where the failure says so itself."""
    part: int = 0
    """Which of its operations is refused, from 1; 0: none of them alone."""
    refusal: HistoryRefused | None = None
    """Why `migrate` would refuse it beside a release that is running; it was carried out whole then."""
    payments: list[Trial] = field(default_factory=list)
    """Paying each debt of it, looked at likewise."""
    debt: Debt | None = None
    """Of a payment: what was paid."""


class _Observer(Witness):
    def __init__(self, connection: BaseDatabaseWrapper, sent: Sequence[Sent], as_application: bool) -> None:
        self.connection = connection
        self.sent = sent
        self.as_application = as_application
        self.trial: Trial | None = None
        self._facts = Inventory()
        self._outcomes: dict[Sent, str] = {}
        self._guessed = 0

    def may_not_loop(self, part: int) -> bool:
        return part == self._guessed != 0

    def before(self, part: int, operation: Operation) -> None:
        self._guessed = part if _is_anybodys_guess(operation) else 0
        self._facts = self._read()
        if _is_anybodys_guess(operation):
            self._outcomes = self._ask()

    def after(self, part: int, operation: Operation) -> None:
        assert self.trial is not None  # noqa: S101 - set before each migration
        self.trial.facts[part] = (self._facts, self._read())
        if _is_anybodys_guess(operation):
            self.trial.outcomes[part] = (self._outcomes, self._ask())

    def _read(self) -> Inventory:
        self.connection.ensure_connection()
        with self.connection.connection.cursor() as cursor:
            return effects.read(cursor)

    def _ask(self) -> dict[Sent, str]:
        self.connection.ensure_connection()
        return oldcode.outcomes(self.connection.connection, self.sent, as_application=self.as_application)


def _is_anybodys_guess(operation: Operation) -> bool:
    return not is_known(operation) and not is_nothing(operation)


def try_on_empty_tables(
    connection: BaseDatabaseWrapper, migrations: Sequence[Migration], setting: Setting
) -> dict[Key, Trial]:
    """Carry them out one after the other, but for those that depend on one that fails; and pay what they owe."""
    trials: dict[Key, Trial] = {}
    observer = _Observer(connection, setting.statements({}), setting.as_application)
    with Stage(connection, observer, by_halves=True) as stage:
        for migration in _ready(migrations, trials):
            trials[key_of(migration)] = _try(stage, observer, migration, {})
        asked = [trial for trial in trials.values() if trial.forgotten or trial.expected]
        with connection.cursor() as cursor:
            at_the_end = effects.read(cursor) if asked else Inventory()
        for trial in asked:
            trial.at_the_end = at_the_end
        for debt in _due(connection, trials):
            trials[debt.key].payments.append(_pay(stage, observer, trials[debt.key].migration, debt, {}))
    return trials


def try_on_rows(
    connection: BaseDatabaseWrapper, migrations: Sequence[Migration], setting: Setting, filled: Filled
) -> dict[Key, Trial]:
    """Carry them out on rows; where these are refused, on emptied tables, which are filled again for the next."""
    trials: dict[Key, Trial] = {}
    observer = _Observer(connection, setting.statements(filled.tables), setting.as_application)
    counts = {name: count for name, count in filled.counts.items() if count}

    def attempt(work: Callable[[dict[str, int]], Trial]) -> Trial:
        nonlocal counts
        trial = work(counts)
        if not (trial.looping or trial.code.startswith(OF_ROWS)):
            return trial
        _empty(connection, counts)
        again = work({})
        if not again.error:
            again.refused, again.looping = trial.error, trial.looping
            trial = again
        with connection.connection.cursor() as cursor:
            counts = {name: count for name, count in madeuprows.fill(cursor, list(counts)).counts.items() if count}
        return trial

    with Stage(connection, observer, by_halves=True) as stage:
        for migration in _ready(migrations, trials):
            trials[key_of(migration)] = attempt(partial(_try, stage, observer, migration))
        for debt in _due(connection, trials):
            owing = trials[debt.key]
            owing.payments.append(attempt(partial(_pay, stage, observer, owing.migration, debt)))
    return trials


def key_of(migration: Migration) -> Key:
    """By what Django knows it."""
    return migration.app_label, migration.name


def _ready(migrations: Sequence[Migration], trials: dict[Key, Trial]) -> Iterator[Migration]:
    """Those that depend on none that failed, or that was left out for it."""
    out: set[Key] = set()
    for migration in migrations:
        out |= {key for key, trial in trials.items() if trial.error}
        if out.isdisjoint(migration.dependencies):
            yield migration
        else:
            out.add(key_of(migration))


@dataclass
class Setting:
    """What the deployed release is: its models, and whether its statements can be sent as an application's role."""

    models: Sequence[type]
    as_application: bool

    def statements(self, tables: dict[str, madeuprows.MadeUpTable]) -> list[Sent]:
        """What its code sends."""
        return oldcode.statements(self.models, tables)


def touched(trials: Iterable[Trial]) -> set[str]:
    """The tables that were there before and that a migration, or paying what it owes, locked."""
    steps = [step for trial in trials for step in (trial.step, *(payment.step for payment in trial.payments))]
    return {name for step in steps for statement in step.statements for name in (*statement.held, *statement.locks)}


def may_be_the_application(connection: BaseDatabaseWrapper) -> bool:
    """Whether this role may take the application's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_has_role(current_user, %s, 'MEMBER')", [oldcode.APPLICATION])
        return bool(cursor.fetchone()[0])


def _try(stage: Stage, observer: _Observer, migration: Migration, counts: dict[str, int]) -> Trial:
    trial = observer.trial = Trial(
        migration, StagedMigration(str(migration), "apply", bool(migration.atomic)), dict(counts)
    )

    def work() -> None:
        _foresee(stage, trial)
        trial.forgotten = _forgotten(stage.executor.loader, migration)
        stage.carry_out(migration, False, trial.step, whole=trial.refusal is not None)
        trial.expected = _expected(stage.executor.loader, migration)

    _watch(trial, work)
    return trial


def _foresee(stage: Stage, trial: Trial) -> None:
    """Ask what `migrate` asks before it begins; what it would want paid before is paid, so that the others follow."""
    try:
        foreseen = stage.foresee(trial.migration)
        for debts in foreseen.pay_first.values():
            trial.refusal = unshareable.name_owed(str(trial.migration), debts[0], same_plan=True)
            for debt in debts:
                stage.payer().pay(debt)
    except HistoryRefused as refused:
        trial.refusal, trial.part = refused, stage.part


def _due(connection: BaseDatabaseWrapper, trials: dict[Key, Trial]) -> list[Debt]:
    return [debt for debt in DebtStore(connection).owed() if not trials[debt.key].error]


def _pay(stage: Stage, observer: _Observer, migration: Migration, debt: Debt, counts: dict[str, int]) -> Trial:
    step = StagedMigration(str(migration), "pay", atomic=False)
    trial = observer.trial = Trial(migration, step, dict(counts), debt=debt)
    _watch(trial, lambda: stage.pay(debt, migration, step))
    return trial


def _watch(trial: Trial, work: Callable[[], None]) -> None:
    """Do it, and note how it ended."""
    try:
        work()
    except (MigrationFailed, HistoryRefused) as failed:
        trial.error, trial.advice = f"{failed.happened.rstrip('.')}. {failed.meaning.rstrip('.')}", failed.remedy
    except MigratorError:  # the scratch database's or the server's, and nothing of the migration's
        raise
    except Looping as stopped:
        trial.looping, trial.error = stopped.statement, str(stopped)
    except Exception as error:  # whatever a migration raises is what the gate is here to report
        trial.code = sqlstate(error)
        trial.error = driver_text(error) if trial.code else f"{type(error).__name__}: {driver_text(error)}"


def _forgotten(loader: MigrationLoader, migration: Migration) -> list[tuple[str, str]]:
    if not any(isinstance(operation, ops.SeparateDatabaseAndState) for operation in migration.operations):
        return []
    state = loader.project_state((migration.app_label, migration.name), at_end=False)
    found = []
    for operation in migration.operations:
        for inner in operation.state_operations if isinstance(operation, ops.SeparateDatabaseAndState) else ():
            if isinstance(inner, ops.RemoveField):
                model = state.apps.get_model(migration.app_label, inner.model_name)
                column = getattr(model._meta.get_field(inner.name), "column", None)
                found += [(table_of(model), column)] if column else []
            inner.state_forwards(migration.app_label, state)
    return found


def _expected(loader: MigrationLoader, migration: Migration) -> list[tuple[str, str]]:
    names = {
        str(getattr(inner, "model_name", getattr(inner, "name", ""))).lower()
        for operation in migration.operations
        if isinstance(operation, ops.SeparateDatabaseAndState)
        for inner in [*operation.state_operations, *operation.database_operations]
    }
    if not names:
        return []
    after = loader.project_state((migration.app_label, migration.name)).apps
    return [
        (table_of(model), str(field.column))
        for model in after.get_models()
        if model._meta.app_label == migration.app_label and model._meta.model_name in names
        for field in model._meta.local_concrete_fields
        if model._meta.managed and not model._meta.proxy
    ]


def _empty(connection: BaseDatabaseWrapper, tables: Collection[str]) -> None:
    with connection.connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL", [list(tables)]
        )
        there = [name for (name,) in cursor.fetchall()]
        if there:
            cursor.execute(f"TRUNCATE {', '.join(there)} CASCADE")
