"""What this release would do: each pending migration and each debt, with its SQL, its locks, and what is in its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from rupaya.migrator import conf
from rupaya.migrator.analysis.locks import strongest_locks
from rupaya.migrator.analysis.preview import Previewed, steps_of
from rupaya.migrator.analysis.stage import WAITING
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.fresh import fresh_of
from rupaya.migrator.debts.owing import forecast, runs_by_halves
from rupaya.migrator.debts.window import windows
from rupaya.migrator.django import Planned, applied_state
from rupaya.migrator.errors import MigratorError
from rupaya.migrator.foresight import presumed
from rupaya.migrator.foresight.liverows import Answer
from rupaya.migrator.foresight.look import Look, RowFinding, look, look_at_debts
from rupaya.migrator.foresight.use import IN_USE, NOT_SEEN, takes_away, uses
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.plan.plan import Plan, history_explained, read_plan, refuse_conflicts
from rupaya.migrator.session import database
from rupaya.story import reading
from rupaya.story.ddl import Side, against_text
from rupaya.story.state import Fact, LastRun

ALIAS = "story"
KEPT_FOR_S = 30.0
ROWS_BUDGET_S = 2.0
SECONDS_AN_HOUR = 3600
# Of a debt that says more, the ledger has it all.
MAX_DEBTS = 50
# Below this the time that reading the rows took says nothing about how long the server will read them.
TELLING_S = 0.5

_INDEXES = """
    SELECT i.relname, t.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE n.nspname = current_schema()
"""
_NOT_ASKED = "Live rows were not asked: "


@dataclass(frozen=True)
class Lock:
    """The strongest lock on a table."""

    table: str
    mode: str

    @property
    def waits(self) -> str:
        return WAITING.get(self.mode, "nobody waits")

    @property
    def level(self) -> str:
        """By what it is coloured."""
        return {"reads and writes wait": "failed", "writes wait": "held"}.get(self.waits, "good")


@dataclass(frozen=True)
class Said:
    """A line about rows or use, and how it is coloured."""

    text: str
    level: str = ""


@dataclass(frozen=True)
class Pending:
    """A migration that is not applied."""

    step: Previewed
    locks: tuple[Lock, ...]
    rows: tuple[Said, ...]
    owes: tuple[Debt, ...]
    """What carrying it out by halves would leave."""
    estimate: str = ""


@dataclass(frozen=True)
class Owed:
    debt: Debt
    locks: tuple[Lock, ...]
    rows: tuple[Said, ...]
    due: str
    use: Said | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """All that the page shows."""

    pending: tuple[Pending, ...] = ()
    owed: tuple[Owed, ...] = ()
    notes: tuple[str, ...] = ()
    problem: Fact | None = None
    """Why a run would refuse to go on from here."""
    is_cut: bool = False
    ddl: tuple[Side, ...] = ()
    """The schema as the last run left it, beside what this release's code has; empty if there is nothing to do."""
    read_at: datetime = field(default_factory=timezone.now)


def read(last_run: LastRun | None) -> Release:
    """What there is to do now. While a run is under way neither rows nor use are asked."""
    with _apart() as connection:
        is_quiet = last_run is None or not last_run.is_alive
        debts = DebtStore(connection).owed()
        indexes = dict(reading.rows(connection, _INDEXES))
        notes = [] if is_quiet else [f"{_NOT_ASKED}a run is under way."]
        try:
            plan = _plan(connection)
            owes = _would_owe(connection, plan, debts)
        except MigratorError as error:
            problem = Fact("refused", "error", error.happened, error.meaning, error.remedy)
            owed = _owed(connection, debts, indexes, asks=is_quiet)
            return Release((), owed, tuple(notes), problem, len(debts) > MAX_DEBTS)
        looked = _look(connection, plan, owes, notes) if is_quiet else Look()
        pending = [_pending(step, looked.findings, owes, indexes) for step in steps_of(connection, plan)]
        owed = _owed(connection, debts, indexes, asks=is_quiet)
        ddl = _ddl(connection) if pending or owed else ()
    return Release(tuple(pending), owed, tuple(notes), is_cut=len(debts) > MAX_DEBTS, ddl=ddl)


def _ddl(connection: BaseDatabaseWrapper) -> tuple[Side, ...]:
    snapshot = last_snapshot(connection.connection)
    try:
        wanted = settings.SCHEMA_SQL.read_text()
    except OSError:
        return ()
    return tuple(against_text(snapshot.catalog, wanted)) if snapshot else ()


def with_use(release: Release) -> Release:
    """With who uses what is owed: asked as `migrate --contract` asks, in a transaction that is rolled back."""
    debts = [owed.debt for owed in release.owed if takes_away(owed.debt)]
    if not debts:
        return release
    watch_s = conf.read()[0].use_watch_h * SECONDS_AN_HOUR
    with closing(database.connect(connections[DEFAULT_DB_ALIAS])) as connection:
        found = {use.debt.id: use for use in uses(connection, debts, watch_s=watch_s)}
    levels = {IN_USE: "failed", NOT_SEEN: "good"}
    return replace(
        release,
        owed=tuple(
            replace(owed, use=Said(use.answer, levels.get(use.answer, "held")), used_by=use.lines)
            if (use := found.get(owed.debt.id))
            else owed
            for owed in release.owed
        ),
    )


@contextmanager
def _apart() -> Iterator[BaseDatabaseWrapper]:
    """A connection of its own, in one short transaction that only reads and that Django takes for none.

    Within one of Django's own, what works outside transactions alone, such as CREATE INDEX CONCURRENTLY, would not tell
    its SQL; and what is set for a session would stay behind in a pooler.
    """
    connection = connections[DEFAULT_DB_ALIAS].copy(alias=ALIAS)
    connections[ALIAS] = connection
    try:
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                [str(reading.STATEMENT_TIMEOUT_MS), str(reading.LOCK_TIMEOUT_MS)],
            )
        yield connection
    finally:
        connection.close()
        del connections[ALIAS]


def _plan(connection: BaseDatabaseWrapper) -> Plan:
    with history_explained():
        executor = MigrationExecutor(connection)
        refuse_conflicts(executor.loader)
        executor.loader.check_consistent_history(connection)
        steps = executor.migration_plan(executor.loader.graph.leaf_nodes())
        return read_plan(Planned(executor, (), tuple(steps)))


def _would_owe(connection: BaseDatabaseWrapper, plan: Plan, debts: Sequence[Debt]) -> list[Debt]:
    """What running the plan would leave owed, where it would run by halves."""
    phase = conf.read()[0].phase
    if not runs_by_halves(plan.steps, is_first=plan.history_is_empty, phase=phase, owes=lambda: bool(debts)):
        return []
    fresh = fresh_of(plan.executor.loader, DebtStore(connection).never_served())
    return forecast(connection, plan.steps, applied_state(plan.executor), fresh=fresh).owed


def _look(connection: BaseDatabaseWrapper, plan: Plan, owes: Sequence[Debt], notes: list[str]) -> Look:
    if not plan.steps:
        return Look()
    if plan.history_is_empty:
        notes.append("Nothing was ever migrated here, so there are no rows to ask.")
        return Look()
    if not presumed.is_shipped():
        notes.append(f"{_NOT_ASKED}no file says what this code's migrations presume of them.")
        return Look()
    known = presumed.of_plan([migration for migration, _backwards in plan.steps])
    found = look(connection, known, owes, budget_s=ROWS_BUDGET_S)
    if summary := found.summary():
        notes.append(f"{summary}.")
    if found.unknown:
        notes.append(f"What they presume of rows is not known: {', '.join(found.unknown)}.")
    return found


def _pending(step: Previewed, findings: Iterable[RowFinding], owes: Iterable[Debt], indexes: dict[str, str]) -> Pending:
    own = [finding for finding in findings if finding.migration == step.migration]
    took_s = sum(finding.answer.took_s for finding in own)
    return Pending(
        step,
        _locks(step.sql, indexes),
        tuple(_of_answer(finding.answer, stops=finding.stops) for finding in own),
        tuple(debt for debt in owes if debt.migration_label == step.migration),
        f"at least {took_s:.1f} s, as long as reading these rows took now" if took_s >= TELLING_S else "",
    )


def _owed(
    connection: BaseDatabaseWrapper, debts: Sequence[Debt], indexes: dict[str, str], *, asks: bool
) -> tuple[Owed, ...]:
    shown = debts[:MAX_DEBTS]
    answers: dict[int | None, list[Answer]] = defaultdict(list)
    if asks and presumed.is_shipped():
        for debt, answer in look_at_debts(connection, shown, budget_s=ROWS_BUDGET_S):
            answers[debt.id].append(answer)
    after_h = conf.read()[0].contract_after_h
    due = windows(connection, shown, after_h) if after_h > 0 else {}
    return tuple(
        Owed(
            debt,
            _locks(debt.statements, indexes),
            tuple(_of_answer(answer, stops=answer.is_against) for answer in answers[debt.id]),
            str(due[debt.run_id]) if debt.run_id in due else "due as soon as no older release runs",
        )
        for debt in shown
    )


def _of_answer(answer: Answer, *, stops: bool) -> Said:
    return Said(str(answer), "failed" if stops else "" if answer.count == 0 else "held")


def _locks(sql: Iterable[str], indexes: dict[str, str]) -> tuple[Lock, ...]:
    return tuple(Lock(table, mode) for table, mode in strongest_locks(sql, indexes).items())
