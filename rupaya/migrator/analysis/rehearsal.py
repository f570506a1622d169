"""What pending migrations really do: carried out in a scratch database at the live history, statement by statement.

Locks, rewrites and scans are the server's own word. Durations are those of empty tables, and say only what is slow even
there; `timing` tries it on rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.migration import Migration

from rupaya.migrator.analysis import scratch
from rupaya.migrator.analysis.stage import Stage, StagedMigration
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.errors import MigrationFailed, MigratorError, driver_text, is_lost, sqlstate
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.schema.diff import differences
from rupaya.migrator.statements import one_line


@dataclass
class Rehearsal:
    """All that was tried, in order, and how it ended."""

    server_version: str
    steps: list[StagedMigration] = field(default_factory=list)
    reversed: list[StagedMigration] = field(default_factory=list)
    again: list[StagedMigration] = field(default_factory=list)
    irreversible: str = ""
    """Why going back ended."""
    paid: list[StagedMigration] = field(default_factory=list)
    """Paying what is owed by then, as after the rollout."""
    changes: list[str] = field(default_factory=list)
    """What the migrations did to the schema."""
    changes_by_paying: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    """In what the schema differs once they were reversed; going back ended there."""
    differs_again: list[str] = field(default_factory=list)
    """In what the schema differs once they were applied again."""
    rows: list[str] = field(default_factory=list)
    """What live rows say of what the plan presumes of them."""
    times: list[Timing] = field(default_factory=list)
    """How long statements took on made-up rows, where somebody wanted to know."""
    untimed: list[str] = field(default_factory=list)
    """What the times do not show."""
    failure: MigrationFailed | None = None


@dataclass
class Timing:
    """How long one statement took on two numbers of made-up rows, and what that says of the live table."""

    migration: str
    sql: str
    table: str
    """Those that it worked on, the one with most live rows first; rows are counted of all together."""
    fewer_rows: int
    fewer_s: float
    more_rows: int
    more_s: float
    live_rows: int | None = None
    """About; None: not known."""
    low_s: float | None = None
    high_s: float | None = None
    basis: str = ""
    """What the estimate rests on, or why there is none."""


def rehearse(
    connection: BaseDatabaseWrapper,
    plan: Plan,
    history: set[tuple[str, str]],
    *,
    owed: Sequence[Debt] = (),
    by_halves: bool = False,
    pays_first: bool = False,
) -> Rehearsal:
    """Try a plan on a scratch database with this history: there, back again as far as possible, and there once more;
    then pay what is owed.

    `owed`: what is, in the live database; `by_halves`: as the run will be; `pays_first`: it begins with paying.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
        HistoryRefused: for what a run by halves refuses.
        MigrationFailed: if not even the history can be built.
    """
    version = connection.connection.info.parameter_status("server_version")
    rehearsal = Rehearsal(str(version).split(" ")[0])
    if not plan.steps and not owed:
        return rehearsal
    with scratch.database_like(connection):
        scratch.build(connection, history, owed=owed)
        with Stage(connection, by_halves=by_halves or bool(owed)) as stage:
            if pays_first:
                pay(stage, rehearsal)
            if rehearsal.failure is None:
                _all_three_ways(stage, plan, rehearsal)
            if rehearsal.failure is None and stage.by_halves and not goes_back(plan):
                pay(stage, rehearsal)
    return rehearsal


def goes_back(plan: Plan) -> bool:
    """Whether it unapplies anything."""
    return any(backwards for _migration, backwards in plan.steps)


def pay(stage: Stage, rehearsal: Rehearsal) -> None:
    """Pay all that is owed there and record it; the rehearsal has the failure, if there is one."""
    before = stage.read()
    migrations = stage.executor.loader.disk_migrations or {}
    for debt in DebtStore(stage.connection).owed():
        migration = migrations.get(debt.key)
        if migration is None:
            continue  # of a release that is gone from here; it says so itself when it is to be paid
        step = StagedMigration(str(debt), "pay", atomic=True)
        rehearsal.paid.append(step)
        try:
            stage.pay(debt, migration, step)
        except MigratorError:
            raise
        except Exception as error:
            step.error = f"{type(error).__name__}: {driver_text(error)}"
            rehearsal.failure = MigrationFailed(
                f"{debt} could not be paid in the rehearsal: {step.error}",
                "This was in a scratch database, which is gone; nothing live was touched.",
                "Fix the migration, then rehearse again.",
            )
            return
    rehearsal.changes_by_paying += [difference.happened() for difference in differences(before, stage.read())]


def _all_three_ways(stage: Stage, plan: Plan, rehearsal: Rehearsal) -> None:
    """There; back, until a migration cannot be undone; and there once more from where that was."""
    pictures = [stage.read()]
    for migration, backwards in plan.steps:
        if not carry_out(stage, migration, backwards, rehearsal.steps, rehearsal):
            return
        pictures.append(stage.read())
    rehearsal.changes = [difference.happened() for difference in differences(pictures[0], pictures[-1])]
    undone: list[tuple[Migration, bool]] = []
    for (migration, backwards), before in zip(reversed(plan.steps), reversed(pictures[:-1]), strict=True):
        try:
            if not carry_out(stage, migration, not backwards, rehearsal.reversed, rehearsal):
                return
        except IrreversibleError as error:
            rehearsal.irreversible = driver_text(error)
            rehearsal.reversed.pop()
            break
        undone.append((migration, backwards))
        if left := differences(before, stage.read()):
            # A way back that is none: to go on from here would prove nothing.
            rehearsal.left_behind = [f"{migration}: {item.compared('before', 'after reversing')}" for item in left]
            return
    for migration, backwards in reversed(undone):
        if not carry_out(stage, migration, backwards, rehearsal.again, rehearsal):
            return
    differ = differences(pictures[-1], stage.read())
    rehearsal.differs_again = [item.compared("the first time", "the second time") for item in differ]


def carry_out(
    stage: Stage, migration: Migration, backwards: bool, record: list[StagedMigration], rehearsal: Rehearsal
) -> bool:
    """Carry out one migration and record it; False if it fails."""
    step = StagedMigration(str(migration), "unapply" if backwards else "apply", bool(migration.atomic))
    record.append(step)
    try:
        stage.carry_out(migration, backwards, step)
    except (IrreversibleError, MigratorError):
        raise
    except Exception as error:
        if is_lost(error):
            raise
        step.error = f"{type(error).__name__}: {driver_text(error)}"
        at = f". The statement: {one_line(step.statements[-1].sql)}" if sqlstate(error) and step.statements else ""
        when = "unapplied" if backwards else "applied"
        again = " again" if record is rehearsal.again else ""
        rehearsal.failure = MigrationFailed(
            f"{migration} failed when it was {when}{again} in the rehearsal: {step.error}{at}",
            "This was in a scratch database, which is gone; nothing live was touched.",
            "Fix the migration, then rehearse again.",
        )
        return False
    return True
