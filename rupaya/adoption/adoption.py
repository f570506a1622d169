"""Taking over: `Adoption` adds what the original tolerates and records the history, `Finish` makes the rules hold.

Both are runs of the migrator: under its lock, with its timeouts and retries, in its ledger; and both are tried out on a
copy before they change anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import cast

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from rupaya.adoption.alignment import ADOPT, FINISH, Change, LeftOver, Part, changes, left_over
from rupaya.adoption.baseline import CREATED
from rupaya.adoption.decisions import Decisions
from rupaya.adoption.executor import AdoptingExecutor, Carrier, Trying, create, make
from rupaya.adoption.obstacles import obstacles
from rupaya.adoption.original import ADOPTED, COMMAND, TABLES, Key, Original, find, refuse_without_knex
from rupaya.adoption.privileges import grants, role_that_serves
from rupaya.adoption.repairs import CREATE_QUARANTINE, QUARANTINE, Repair, drop_left_over, repairs
from rupaya.adoption.survey import ADOPTED_APPS, FINISH_COMMAND, Survey, before_later, finished_by, read_live, succeeded
from rupaya.adoption.survey import survey as surveyed
from rupaya.adoption.trial import Trial, Verdict, try_out
from rupaya.adoption.viewed import without_views
from rupaya.migrator.conf import require_configuration
from rupaya.migrator.errors import FailedBefore, HistoryRefused, MigrationFailed
from rupaya.migrator.operations import Backfill, backfill
from rupaya.migrator.output import Output
from rupaya.migrator.plan.phases import CONTRACT, EXPAND
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import refusals
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.executor import Executor
from rupaya.migrator.run.procedure import Procedure, Request, plain_migrate, without_migrations
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.session.session import Session


def _is_to_be_recorded(plan: Plan) -> bool:
    """Whether a plan has any of the adopted migrations."""
    return any((migration.app_label, migration.name) in ADOPTED for migration, _backwards in plan.steps)


class AdoptionRun(Procedure):
    """What both runs have in common."""

    def __init__(self, command: str, output: Output) -> None:
        super().__init__(
            Request(command=command),
            plain_migrate(output.verbosity, using=DEFAULT_DB_ALIAS, stdout=output.stream),
        )
        self.output = output
        self.connection = connections[DEFAULT_DB_ALIAS]
        self.conf = require_configuration()
        self.serves = role_that_serves()
        self._verdict: Verdict | None = None
        self._before_in_trial: tuple[Catalog | None] | None = None

    def executor(self, plan: Plan, context: RunContext) -> AdoptingExecutor:
        """A transaction a migration: somebody's traffic is on this database."""
        context.conf = replace(context.conf, batch="each")
        return AdoptingExecutor(plan, context)

    def refuse_before_the_lock(self, session: Session, plan: Plan) -> None:
        """Refuse what is not the original's, what somebody is migrating with Knex, and what would fail half way.

        Raises:
            HistoryRefused: saying which.
        """
        original = self.original()
        if not self.has_work(session, plan):
            return
        if refused := self.refused(original):
            raise HistoryRefused(*refused)
        if found := obstacles(self.connection, self.live(), self._applied(), self.serves):
            raise _in_the_way(found)
        if self._verdict is None:  # once, because what another migrator does until the lock is had is no obstacle
            self._verdict = self.prove(self.rows_to_try(), lambda trial: self.carry_out(trial, plan))
            if self._verdict.stumbled:
                raise _in_the_way(list(self._verdict.stumbled))
            if self._verdict.unproved:
                self.output.say(f"It was not tried out beforehand: {self._verdict.unproved}", warning=True)

    def refused(self, original: Original) -> tuple[str, str, str] | None:
        """Why not to begin, for what the original itself has to do first; what it means, and what to do."""
        if not original.is_locked:
            return None
        return (
            "Knex's lock is set: somebody is migrating this database with the original, or died doing so.",
            "Two systems must not change one schema at a time; nothing was changed.",
            "Wait until that migration is through. If nobody is migrating, unlock it with the original's own "
            "'knex migrate:unlock', and start again.",
        )

    def rows_to_try(self) -> dict[str, list[str]]:
        """By table, keys of rows on which to try it."""
        return {}

    def prove(self, rows: dict[str, list[str]], *work: Callable[[Trial], None]) -> Verdict:
        """Carry it all out on a copy, which is gone afterwards."""
        self._before_in_trial = (before_later(self.connection, self._applied()),)
        verbosity, self.output.verbosity = self.output.verbosity, 0
        backfills = logging.getLogger(backfill.__name__)
        backfills.disabled = True
        try:
            return try_out(self.connection, rows, self.conf.lock_timeout_ms, work)
        finally:
            self.output.verbosity = verbosity
            backfills.disabled = False
            self._before_in_trial = None

    def carry_out(self, carrier: Carrier, plan: Plan | None) -> None:
        """All that this run does, no matter who carries it out."""
        raise NotImplementedError

    def refuse_under_the_lock(self, context: RunContext, plan: Plan) -> None:
        """Refuse what an earlier run left, unless a trial has shown that it would not fail again.

        Raises:
            MigratorError: saying why.
        """
        is_proved = self._verdict is not None and not self._verdict.unproved
        if not self.request.retry_failed:
            try:
                if not is_proved:
                    refusals.refuse_failed_before(context.conf, context.ledger, plan)
                refusals.refuse_half_done(context.ledger, plan)
            except (FailedBefore, HistoryRefused) as error:
                raise type(error)(
                    error.happened,
                    error.meaning,
                    "See what is left with 'manage.py adopt --plan' and fix it; to insist: "
                    "'manage.py adopt --retry-failed'.",
                ) from None
            self.request = replace(self.request, retry_failed=True)
        super().refuse_under_the_lock(context, plan)

    def look_at_rows(self, context: RunContext, plan: Plan) -> None:
        """Not asked of adopted migrations, which are recorded and not run: the survey and the trial look at rows."""

    def refuse_existing(self, session: Session, plan: Plan) -> None:
        """That the tables are there already is what this is for."""

    def original(self) -> Original:
        """What is here.

        Raises:
            HistoryRefused: if Knex never was, or if it is another system's.
        """
        original = find(self.connection)
        if original is None:
            refuse_without_knex(self.connection)
            raise HistoryRefused(
                "This is not the original system's database: it has no table knex_migrations.",
                "There is nothing to adopt; nothing was changed.",
                "An empty database, and one that this service made, need only 'manage.py migrate'. Tables that "
                "somebody else made belong in another database, or schema.",
            )
        if original.doubt:
            raise original.refusal()
        return original

    def survey(self, decisions: Decisions) -> Survey:
        """Look at everything; call it inside `reading`, or under the lock."""
        return surveyed(self.connection, decisions, self.original(), self._applied(), self.serves)

    def live(self) -> Catalog:
        """The original's tables as they are now, for this to align."""
        if self._before_in_trial is not None:  # the ledger is not in the copy
            return read_live(self.connection, self._before_in_trial[0])
        return read_live(self.connection, before_later(self.connection, self._applied()))

    def _applied(self) -> set[Key]:
        return set(MigrationRecorder(self.connection).applied_migrations())

    def align(self, carrier: Carrier, stage: str) -> None:
        """Carry out every change of a stage that is left to do."""
        for change in changes(self.live()):
            if change.stage == stage:
                self.output.say(f"  {change.table}: {change.says}")
                phase = EXPAND if stage == ADOPT else CONTRACT
                carrier.carry_out_step(f"{change.table}.{change.name}", phase, self._work(change))

    def grant(self, carrier: Carrier) -> None:
        """Let the role that serves, if it is another one, use what is there now."""
        if not self.serves:
            return
        with self.connection.cursor() as cursor:
            statements = list(grants(cursor, self.serves))
        if statements:
            self.output.say(f"  what {self.serves}, the role that serves, lacks is granted")
            part = Part(tuple(statements))
            carrier.carry_out_step("privileges.granted", EXPAND, lambda: self._run_part(part))

    def _work(self, change: Change) -> Callable[[], None]:
        def work() -> None:
            for part in change.parts:
                # Again after each part: what is written between the first filling and the rule that forbids nulls.
                self._fill(change)
                with without_views(self.connection, change.table, change.retypes):
                    self._run_part(part)

        return work

    def _run_part(self, part: Part) -> None:
        with self.connection.cursor() as cursor:
            if not part.is_short:
                for statement in part.statements:
                    cursor.execute(statement)
                return
            with transaction.atomic(using=self.connection.alias):
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [str(self.conf.statement_timeout_ms)]
                )
                for statement in part.statements:
                    cursor.execute(statement)

    def _fill(self, change: Change) -> None:
        if not change.fills:
            return
        where = " OR ".join(f"{column} IS NULL" for column, _value in change.fills)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {change.table} WHERE {where})")
            if not cursor.fetchone()[0]:
                return
        model = next(model for model in apps.get_models() if model._meta.db_table == change.table)
        operation = Backfill(
            model.__name__,
            set=", ".join(f"{column} = coalesce({column}, {value})" for column, value in change.fills),
            where=where,
        )
        state = cast("ProjectState", SimpleNamespace(apps=apps))
        with self.connection.schema_editor(atomic=False) as editor:
            operation.database_forwards(model._meta.app_label, editor, state, state)


class Adoption(AdoptionRun):
    """`adopt`: from here both systems can run on this database."""

    def __init__(self, output: Output) -> None:
        super().__init__(COMMAND, output)

    def read_plan(self, session: Session) -> Plan:
        """All migrations but those of the adopted apps that came after: those run as everywhere, afterwards."""
        plan = super().read_plan(session)
        later: set[Key] = set()
        for migration, _backwards in plan.steps:
            key = (migration.app_label, migration.name)
            if (migration.app_label in ADOPTED_APPS and key not in ADOPTED) or later & set(migration.dependencies):
                later.add(key)
        return without_migrations(plan, later) if later else plan

    def refused(self, original: Original) -> tuple[str, str, str] | None:
        """Why not to begin: also what Knex has not applied."""
        if (refused := super().refused(original)) or not (missing := original.missing_migrations):
            return refused
        return (
            f"Knex has not applied everything to this database: {', '.join(missing)}.",
            "The original's next start would apply it, and stop at what is there already; nothing was changed.",
            "Start the original's last release once, which applies it; then start again.",
        )

    def has_work(self, session: Session, plan: Plan) -> bool:
        """Whether it is still to be done."""
        with self.connection.cursor() as cursor:
            return _is_to_be_recorded(plan) or not succeeded(cursor, COMMAND)

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        self.output.say("Nothing to adopt: the history is recorded already", success=True)

    def apply(self, executor: Executor) -> None:
        """Align what the original tolerates, then let Django's command record and make the rest."""
        assert isinstance(executor, AdoptingExecutor)  # noqa: S101 - the class says so
        if _is_to_be_recorded(executor.plan):
            self.output.say(f"Adopting the original system's database: {self.original().summary}")
        self._begin(executor, executor.plan)
        super().apply(executor)
        self.grant(executor)
        self.output.say(
            "Adopted. The original can keep running on this database. "
            "Once it is switched off: 'manage.py adopt --finish'",
            success=True,
        )

    def carry_out(self, carrier: Carrier, plan: Plan | None) -> None:
        """The same in a trial, the migrations by Django's own executor."""
        assert isinstance(carrier, Trial)  # noqa: S101 - a run that is for good has `apply`
        assert plan is not None  # noqa: S101 - Finish alone has none
        self._begin(carrier, plan)
        with carrier.trying("one of Django's migrations"):
            Trying(self.connection).migrate([], plan=list(plan.steps))
        self.grant(carrier)

    def _begin(self, carrier: Carrier, plan: Plan) -> None:
        # Once it has succeeded, later migrations may have changed the tables: there is nothing to align any more.
        with self.connection.cursor() as cursor:
            if not _is_to_be_recorded(plan) and succeeded(cursor, COMMAND):
                return
        self.align(carrier, ADOPT)
        live = self.live()["relations"]
        if missing := tuple(name for name in TABLES if name not in live):
            carrier.carry_out_step("tables.added", EXPAND, partial(self._create, missing))
        # What somebody recorded who did not make it, by --fake or --fake-initial.
        for key in (key for key in ADOPTED if key in self._applied()):
            if any(name not in live for name in CREATED.get(key, ())):
                carrier.carry_out_step(f"{key[0]}.{key[1]}.made", EXPAND, partial(make, self.connection, key))

    def say_done(self, context: RunContext, plan: Plan) -> None:
        """Nothing more."""

    def _create(self, relations: tuple[str, ...]) -> None:
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            create(cursor, relations)


class Finish(AdoptionRun):
    """`adopt --finish`: the point of no return, after which the contract's rules hold."""

    def __init__(self, decisions: Decisions, output: Output) -> None:
        super().__init__(f"{FINISH_COMMAND} {decisions}".strip(), output)
        self.decisions = decisions

    def read_plan(self, session: Session) -> Plan:
        """No migration: what is left to do is found by looking at the tables.

        Raises:
            HistoryRefused: if this database is not adopted yet.
        """
        plan = super().read_plan(session)
        missing = [f"{app}.{name}" for app, name in ADOPTED if (app, name) not in plan.history]
        if missing:
            raise HistoryRefused(
                f"This database is not adopted yet: {', '.join(missing)}.",
                "Finishing comes after adopting, once the original is switched off; nothing was changed.",
                "'manage.py adopt' comes first; docs/adopting.md has the order.",
            )
        return replace(plan, steps=(), unrecorded=frozenset(), digest="")

    def has_work(self, session: Session, plan: Plan) -> bool:
        """Whether it is still to be done."""
        with self.connection.cursor() as cursor:
            return not finished_by(cursor)

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        with self.connection.cursor() as cursor:
            self.output.say(f"Nothing to do: the adoption was finished {finished_by(cursor)}", success=True)

    def apply(self, executor: Executor) -> None:
        """Do what the decisions say to rows, then make the rules hold.

        Raises:
            MigratorError: if rows are undecided, or something else changed the schema meanwhile.
        """
        assert isinstance(executor, AdoptingExecutor)  # noqa: S101 - the class says so
        survey = self.survey(self.decisions)
        self._refuse_undecided(survey)
        if survey.sessions:
            told = ", ".join(survey.sessions)
            self.output.say(f"Sessions that are not this service's are connected: {told}", warning=True)
        self.carry_out(executor, executor.plan)
        self.output.say("Finished. The contract's rules hold; the original must not run on this database again")

    def rows_to_try(self) -> dict[str, list[str]]:
        """Those that break a rule, and others; none where that is not decided, because the run will be refused."""
        survey = self.survey(self.decisions)
        return {} if survey.is_undecided else survey.rows

    def carry_out(self, carrier: Carrier, _plan: Plan | None) -> None:
        """Fix rows as decided, and make the rules hold.

        Raises:
            MigrationFailed: if something is still not as it should be.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(CREATE_QUARANTINE)
        self.grant(carrier)
        self._drop_left_over(carrier)
        carrier.before_rows_are_repaired()
        for repair in repairs(self.decisions):
            self.output.say(f"  {repair.says}")
            carrier.carry_out_step(repair.name, CONTRACT, self._repair(repair))
        self.align(carrier, ADOPT)
        self.align(carrier, FINISH)
        if left := changes(self.live()):
            raise MigrationFailed(
                f"After all that was done, {left[0].table} still needs: {left[0].says}.",
                "Something else changed the schema meanwhile; no row was lost.",
                "Start the same command again.",
            )

    def _drop_left_over(self, carrier: Carrier) -> None:
        """First of all: a rule or trigger that the contract does not have may refuse what is decided about rows."""
        if self.decisions.left_over != "drop":
            return
        for item in left_over(self.live()):
            if item.drop:
                self.output.say(f"  {item} dropped, and kept in {QUARANTINE} as text")
                carrier.carry_out_step(f"{item.table}.{item.name}.dropped", CONTRACT, partial(self._drop, item))

    def _drop(self, item: LeftOver) -> None:
        with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
            drop_left_over(cursor, item)

    def _repair(self, repair: Repair) -> Callable[[], None]:
        return lambda: repair.carry_out(self.connection)

    def say_done(self, context: RunContext, plan: Plan) -> None:
        """Nothing more."""

    @staticmethod
    def _refuse_undecided(survey: Survey) -> None:
        if survey.is_undecided:
            raise HistoryRefused(
                "What becomes of rows that break the contract's rules, or of what it does not have, is not decided:"
                + "".join(f"\n    {line}" for line in survey.undecided),
                "The rules cannot hold while there is such; nothing was changed.",
                "'manage.py adopt --plan' shows each with examples. Decide by the options named, or fix them by "
                "hand, and start again.",
            )


def _in_the_way(found: list[str]) -> HistoryRefused:
    return HistoryRefused(
        "This database cannot be adopted as it is:" + "".join(f"\n    {line}" for line in found),
        "The adoption would fail half way; nothing was changed.",
        "Do what each line says, then look with 'manage.py adopt --plan', and start again.",
    )


def plan_of(output: Output, decisions: Decisions, session: Session) -> Survey:
    """Look at everything, and carry out on a copy all that is still to be done; call it inside `reading`."""
    adoption, finish = Adoption(output), Finish(decisions, output)
    survey = finish.survey(decisions)
    if survey.finished_by:
        return survey
    refused = (finish if survey.is_adopted else adoption).refused(survey.original)
    in_the_way = [*([f"{refused[0]} {refused[2]}"] if refused else []), *survey.obstacles]
    if in_the_way:
        return replace(survey, obstacles=in_the_way)
    steps: list[Callable[[Trial], None]] = []
    if not survey.is_adopted:
        plan = adoption.read_plan(session)
        steps.append(lambda trial: adoption.carry_out(trial, plan))
    steps.append(lambda trial: finish.carry_out(trial, None))
    verdict = finish.prove({} if survey.is_undecided else survey.rows, *steps)
    return replace(survey, obstacles=list(verdict.stumbled), unproved=verdict.unproved)
