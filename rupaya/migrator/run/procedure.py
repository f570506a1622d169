"""What a run does, as `order`, which has the flow, asks for it: `migrate` here; rollback and adoption say what they do
otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.commands import migrate
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.migration import Migration

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.conf import Conf
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.fresh import fresh_of
from rupaya.migrator.debts.owing import Forecast, Owing, forecast, refuse_unpaid, runs_by_halves
from rupaya.migrator.debts.releases import refuse_breaking
from rupaya.migrator.debts.treatment import treatment
from rupaya.migrator.debts.window import due, windows
from rupaya.migrator.django import PLAIN_OPTIONS, DjangoMigrate, Key, applied_state, unmigrated_apps
from rupaya.migrator.errors import counted, is_or_are
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.history import Edited, refuse_by_project, refuse_existing
from rupaya.migrator.plan.nothing import NOTHING_TO_MIGRATE
from rupaya.migrator.plan.phases import CONTRACT, EXPAND, flat_operations
from rupaya.migrator.plan.plan import Plan, history_explained, key_of, pending_phases, read_plan
from rupaya.migrator.run import comingback, refusals
from rupaya.migrator.run.batch import BatchExecutor
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.executor import Executor
from rupaya.migrator.run.signals import Signals
from rupaya.migrator.session.session import Session

if TYPE_CHECKING:
    from rupaya.migrator.foresight.use import Use


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line, besides Django's own options."""

    retry_failed: bool = False
    contract: bool = False
    accept_edited: bool = False
    in_use_anyway: str = ""
    """Why what is still used, or may be, is paid all the same."""
    command: str = "migrate"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Request:
        """What `migrate` was given, by the names of these fields."""
        given = {field.name: options[field.name] for field in fields(cls) if field.name in options}
        return cls(**given)


MAX_DEBTS = 5


class Procedure:
    """A run's steps, in the order in which they are asked; Django's `migrate` is at the heart of each."""

    def __init__(self, request: Request, django: DjangoMigrate) -> None:
        self.request = request
        self.django = django
        self.command = request.command
        self.edited: list[Edited] = []
        """Edited migrations that this run is to record as they are now."""
        self.unproved: list[Key] = []
        """Migrations that are recorded and that the ledger does not know to have succeeded, which this run accepts."""
        self.by_halves = False
        self.owed: list[Debt] = []
        """What this run would leave owed."""
        self.is_first_start = False
        """Whether this release was never settled before, so that it owes Django's signals."""
        self._has_warned = False
        self._plan: Plan | None = None

    # Before the lock, and again under it

    def read_plan(self, session: Session) -> Plan:
        """What there is to do now.

        Raises:
            HistoryRefused: if history and code do not fit together.
        """
        if self._plan is not None and self._plan.is_up_to_date():
            return self._plan
        with history_explained():
            planned = self.django.plan()
        self._plan = read_plan(planned, self._plan)
        return self._plan

    def refuse_before_the_lock(self, session: Session, plan: Plan) -> None:
        """Refuse what no run may go on from.

        Raises:
            HistoryRefused: saying why.
        """
        refuse_by_project(session.connection, plan)
        ledger = Ledger(session.raw)
        in_force, unattested = ledger.in_force(), ledger.unattested()
        refuse_breaking(plan.status.newer, session.connection, in_force, unattested)
        self.by_halves = self.runs_by_halves(session, plan)
        foreseen = self.foresee(session, plan)
        self.owed = foreseen.owed
        known = refusals.known_of(plan, ledger, in_force, unattested)
        self.edited, self.unproved = (known.edited, known.unproved) if self.request.accept_edited else ([], [])
        if not self.request.accept_edited:
            refusals.refuse_edited_unless_told(known, session.conf)
            refusals.refuse_contradicted(known)
        if not self._has_warned:
            self._has_warned = True
            if foreseen.unforeseen:
                session.output.say(foreseen.unforeseen, warning=True)
            refusals.warn_of_edited(known, session.conf, session.output)
            if not self.unproved:
                refusals.warn_of_unattested(known, session.output)

    def runs_by_halves(self, session: Session, plan: Plan) -> bool:
        """Whether an older release may be serving; what is only recorded is recorded whole."""
        return not self.django.options["fake"] and runs_by_halves(
            plan.steps,
            is_first=plan.history_is_empty,
            phase=session.conf.phase,
            owes=lambda: bool(DebtStore(session.connection).owed()),
        )

    def foresee(self, session: Session, plan: Plan) -> Forecast:
        """What running the plan would leave owed; nothing, where it runs whole.

        Raises:
            HistoryRefused: for what neither release could do without, and for what must be paid first.
        """
        if not self.runs_by_halves(session, plan):
            return Forecast()
        loader = plan.executor.loader
        fresh = fresh_of(loader, DebtStore(session.connection).never_served()) if Ledger(session.raw).exists else None
        found = forecast(session.connection, plan.steps, applied_state(plan.executor), fresh=fresh)
        refuse_unpaid(
            {
                key: left
                for key, debts in found.pay_first.items()
                if (left := [debt for debt in debts if not self.request.contract or not self._is_due(session, debt)])
            }
        )
        return found

    @staticmethod
    def _is_due(session: Session, debt: Debt) -> bool:
        return bool(due(session.connection, [debt], session.conf.contract_after_h))

    def _due(self, connection: BaseDatabaseWrapper, conf: Conf, pending: Collection[Key]) -> list[Debt]:
        """What may be paid: no older release may want to come back any more."""
        return due(connection, DebtStore(connection).due(pending), conf.contract_after_h)

    def _pays(self, phase: str, plan: Plan) -> bool:
        """Whether this run pays what is owed; none that unapplies anything does, as paying leads away from there."""
        if any(backwards for _migration, backwards in plan.steps):
            return False
        return self.request.contract or phase == "all"

    def has_work(self, session: Session, plan: Plan) -> bool:
        """Whether to take the lock at all; forty tasks of an unchanged release must not queue for it."""
        return (
            plan.has_work
            or (
                self._pays(session.conf.phase, plan)
                and bool(self._due(session.connection, session.conf, plan.status.pending))
            )
            or bool(self.edited or self.unproved)
            or bool(AtticStore(session.connection).unfinished())
            or self._wants_syncdb(plan)
            or (self._owes_signals(plan) and not Ledger(session.raw).is_settled(plan.digest))
        )

    def _wants_syncdb(self, plan: Plan) -> bool:
        return bool(self.django.options["run_syncdb"]) and bool(unmigrated_apps(plan.executor.loader))

    @staticmethod
    def _owes_signals(plan: Plan) -> bool:
        """Whether this release, which has a name, sends Django's signals at its first start, pending migrations or not.

        Where the database is ahead, the newer release has seen to them.
        """
        return bool(plan.digest) and plan.is_complete and not plan.status.newer

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        """Say so. Without a release's name, or in development, Django's command runs all the same: it sends its
        signals, and says which models no migration reflects."""
        if settings.DEBUG or not plan.digest:
            with session.output.speaking_for(self.django.command):
                self.django.run_without_steps()
        else:
            Ledger(session.raw).keep_settled(plan.digest)
        self.say_nothing_to_do(session, plan)

    def say_nothing_to_do(self, session: Session, plan: Plan) -> None:
        """The last lines of a run that had nothing to do."""
        _say_unknown(session.output.say, plan)
        _say_owed(session.output.say, session.connection, session.conf)
        left = len(plan.status.pending)
        found = (
            f"{counted(plan.applied, 'migration')} {is_or_are(plan.applied)} applied, and "
            f"{left} {is_or_are(left)} pending but not asked for"
            if left
            else all_applied(plan.applied)
        )
        session.output.say(f"{NOTHING_TO_MIGRATE}: {found} ({time.monotonic() - session.began:.3f} s)", success=True)

    # Under the lock

    def refuse_existing(self, session: Session, plan: Plan) -> None:
        """Refuse tables without a history; asked under the lock, because another migrator may be making just these.

        Raises:
            HistoryRefused: naming them.
        """
        options = self.django.options
        if not (options["fake"] or options["fake_initial"] or options["run_syncdb"]):
            refuse_existing(session.connection, plan)

    def refuse_under_the_lock(self, context: RunContext, plan: Plan) -> None:
        """Refuse what an earlier run left, and record what this one accepts.

        Raises:
            MigratorError: saying why.
        """
        if not self.request.retry_failed and not self.django.options["fake"]:
            refusals.refuse_failed_before(context.conf, context.ledger, plan)
            refusals.refuse_half_done(context.ledger, plan)
        self.is_first_start = bool(plan.digest) and not context.ledger.is_settled(plan.digest)
        for item in self.edited:
            context.ledger.accept(item.applied, *migration_hashes(plan.disk[item.applied.key]))
            context.output.say(f"✓ {item} recorded as it is now", success=True)
        phases = pending_phases(plan.executor.loader, [plan.disk[key] for key in self.unproved])
        for key in self.unproved:
            fingerprint, file_hash = migration_hashes(plan.disk[key])
            with context.ledger.connection.cursor() as cursor:
                context.ledger.attest(
                    cursor, key, phase=phases.get(key, CONTRACT), fingerprint=fingerprint, file_hash=file_hash
                )
            context.output.say(f"✓ {plan.disk[key]} accepted as applied", success=True)

    def look_at_rows(self, context: RunContext, plan: Plan) -> None:
        """Ask live rows what the plan presumes of them, and refuse what will surely fail before anything is locked.

        Raises:
            MigrationFailed: naming the rows; kept as the failure of that migration, so that its replacements fail fast.
        """
        forwards = [migration for migration, backwards in plan.steps if not backwards]
        if not forwards or plan.history_is_empty or self.django.options["fake"] or not context.conf.look_s:
            return
        from rupaya.migrator.run.rowsahead import RowsAhead, record_failure

        context.rows = RowsAhead(context.connection, forwards, self.owed, budget_s=context.conf.look_s)
        with context.stop.interrupting():
            context.rows.look(context.output)
        for migration in forwards:
            if failure := context.rows.failure(migration):
                record_failure(context, migration, failure)
                raise failure

    def executor(self, plan: Plan, context: RunContext) -> Executor:
        """What runs the plan's migrations."""
        if self.by_halves or any(backwards for _migration, backwards in plan.steps):
            context.owing = Owing(
                context.connection,
                run_id=context.ledger.run_id,
                release=getattr(settings, "RELEASE", "unknown"),
                fresh=fresh_of(plan.executor.loader, DebtStore(context.connection).never_served()),
            )
        if self.by_halves:
            unjudged = {key_of(migration) for migration, _backwards in plan.steps if _is_unjudged(migration)}
            # Of what is done by halves nothing breaks old code until it is paid; of what nobody can judge, who knows.
            context.phases = {key: CONTRACT if key in unjudged else EXPAND for key in context.phases}
        return BatchExecutor(plan, context)

    def apply(self, executor: Executor) -> None:
        """Let Django's own command run the plan with that executor, its signals included."""
        context, plan = executor.context, executor.plan
        # What a run left that was cut off, first: else its rules would be taken for what they are half-way.
        comingback.finish(context)
        pays = self._pays(context.conf.phase, plan)
        if pays:
            self._pay(context, plan, plan.status.pending)
        if context.owing is not None:
            comingback.prepare(context, plan)
        signals = Signals(context, plan)
        with context.output.speaking_for(self.django.command):
            self.django.run(executor, signals.send_pre_migrate, signals.send_post_migrate)
        executor.apps_after = signals.apps
        comingback.finish(context)
        if context.owing is not None:
            from rupaya.migrator.run.stillused import remember_use

            remember_use(context)
        if pays and plan.steps:
            self._pay(context, plan, ())

    def _pay(self, context: RunContext, plan: Plan, pending: Collection[Key]) -> None:
        debts = self._due(context.connection, context.conf, pending)
        if not debts:
            return
        from rupaya.migrator.run.paying import pay, refuse_by_rows, refuse_while_served
        from rupaya.migrator.run.stillused import apart_by_use, refuse_used

        used: list[Use] = []
        if self.request.contract:
            refuse_while_served(context, debts)
            debts, used = apart_by_use(context, debts, reason=self.request.in_use_anyway.strip())
        refuse_by_rows(context, debts)
        pay(context, plan, debts)
        refuse_used(used)

    def say_done(self, context: RunContext, plan: Plan) -> None:
        """The last lines of a run that did something."""
        _say_unknown(context.output.say, plan)
        _say_owed(context.output.say, context.connection, context.conf)
        if plan.steps or not self.is_first_start:
            return
        release = getattr(settings, "RELEASE", "unknown")
        if context.ledger.last_outcome(release) in ("interrupted", "failed"):
            context.output.say("Sent post_migrate, which the last run did not get to", success=True)
        else:
            context.output.say(
                f"First start of release {release}: pre_migrate and post_migrate were sent, and "
                f"{all_applied(plan.applied)}",
                success=True,
            )


def _is_unjudged(migration: Migration) -> bool:
    """Whether a migration has SQL, Python or an operation of which nobody says what it does to older code."""
    return any(treatment(operation, migration)[1] for operation in flat_operations(migration.operations))


def plain_migrate(verbosity: int, *, using: str, stdout: object = None) -> DjangoMigrate:
    """Django's `migrate` without any option, for procedures that have a plan of their own."""
    command = migrate.Command(stdout=stdout)  # type: ignore[arg-type]
    return DjangoMigrate(command, {**PLAIN_OPTIONS, "verbosity": verbosity, "database": using})


def all_applied(number: int) -> str:
    """Of a release whose every migration is applied."""
    return f"all {number} migrations are applied" if number != 1 else "the only migration is applied"


def _say_unknown(say: Callable[..., None], plan: Plan) -> None:
    status = plan.status
    for keys, before, after in (
        (status.newer, "The database is ahead of this release by", ""),
        (status.older, "The history still has", " from before a squash was finished"),
        (status.foreign, "The history has", " of apps that this release does not install"),
    ):
        if keys:
            say(f"{before} {counted(len(keys), 'migration')}{after}: {refusals.names(list(keys))}", warning=True)


def _say_owed(say: Callable[..., None], connection: BaseDatabaseWrapper, conf: Conf) -> None:
    if debts := DebtStore(connection).owed():
        shown = "; ".join(map(str, debts[:MAX_DEBTS])) + (
            f"; and {len(debts) - MAX_DEBTS} more" if len(debts) > MAX_DEBTS else ""
        )
        say(f"Owed until 'manage.py migrate --contract', once no older release runs: {shown}", warning=True)
        if conf.contract_after_h > 0:
            for window in windows(connection, debts, conf.contract_after_h).values():
                say(f"  {window}: until then the release before can serve again", warning=True)


def without_migrations(plan: Plan, left_out: Collection[tuple[str, str]]) -> Plan:
    """A plan whose steps leave some migrations out, so that it is not complete."""
    steps = [step for step in plan.steps if (step[0].app_label, step[0].name) not in left_out]
    return replace(plan, steps=tuple(steps), is_complete=False)
