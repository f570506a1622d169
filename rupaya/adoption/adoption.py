"""Taking over: `Adoption` adds what the original tolerates and records the history, `Finish` makes the rules hold.

Both are runs of the migrator: under its lock, with its timeouts and retries, in its ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from rupaya.adoption import baseline
from rupaya.adoption.alignment import (
    ADOPT,
    FINISH,
    KEEP_UPDATED_AT,
    Change,
    Part,
    changes,
    left_over,
    without_later,
)
from rupaya.adoption.decisions import Decisions
from rupaya.adoption.mending import CREATE_QUARANTINE, Mending, mendings, refused_values
from rupaya.adoption.obstacles import obstacles
from rupaya.adoption.original import ADOPTED, COMMAND, TABLES, Key, Original, find
from rupaya.adoption.rules import Finding, findings
from rupaya.migrator.conf import require_configuration
from rupaya.migrator.django import record_applied
from rupaya.migrator.errors import HistoryRefused, MigrationFailed, MigratorError
from rupaya.migrator.ledger.snapshots import snapshot_before
from rupaya.migrator.operations import Backfill
from rupaya.migrator.output import Output
from rupaya.migrator.plan.phases import CONTRACT, EXPAND
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run.batch import BatchExecutor
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.executor import Executor
from rupaya.migrator.run.procedure import Procedure, Request, plain_migrate, without_migrations
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.session.session import Session

FINISH_COMMAND = "adopt --finish"
ADOPTED_APPS = frozenset(app for app, _name in ADOPTED)
SYSTEM_CATEGORIES: Key = ("transactions", "0003_system_categories")
# An older system row of the same name and type stands for ours: other rows refer to it.
ADD_SYSTEM_CATEGORY = """
    INSERT INTO categories (category_id, name, category_type, is_system)
    SELECT %s::uuid, %s, %s, true WHERE NOT EXISTS (
        SELECT FROM categories WHERE is_system AND user_id IS NULL AND name = %s AND category_type = %s)
    ON CONFLICT DO NOTHING
"""
# Who may do something to each of the original's tables may do it to the new ones as well.
GRANTS = """
    SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, a.privilege_type
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.oid = ANY(%s::regclass[]) AND a.grantee <> c.relowner
      AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    GROUP BY 1, 2 HAVING count(*) = %s ORDER BY 1, 2
"""
SESSIONS = """
    SELECT DISTINCT coalesce(usename, '?') || coalesce(' (' || nullif(application_name, '') || ')', '')
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND application_name !~ '^(migrate|release|health) '
    ORDER BY 1
"""


class Step(Migration):
    """A change in the form that the migrator carries out and records; it is in no history but the ledger's."""

    atomic = False
    idempotent = True

    def __init__(self, name: str) -> None:
        super().__init__(name, "adoption")


class AdoptingExecutor(BatchExecutor):
    """Carries out steps; of the adopted migrations it makes only what the original does not have."""

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Run a migration; an adopted one is recorded, and what it would make is there or made now."""
        key = (migration.app_label, migration.name)
        if key not in ADOPTED:
            return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)

        def work(state: ProjectState) -> ProjectState:
            with self.connection.cursor() as cursor:
                create(cursor, baseline.CREATED.get(key, ()))
                if key == SYSTEM_CATEGORIES:
                    module = import_module(f"{key[0]}.migrations.{key[1]}")
                    for id_, name, category_type in module.SYSTEM_CATEGORIES:
                        cursor.execute(ADD_SYSTEM_CATEGORY, [id_, name, category_type, name, category_type])
            self._faked = True
            record_applied(self, migration)
            return migration.mutate_state(state, preserve=False)

        return self.run_recorded(migration, "apply", state, work)

    def carry_out_step(self, name: str, phase: str, work: Callable[[], None]) -> None:
        """Carry out what is not a migration, in batch 0: no rollback may take it for one of its own."""
        context = self.context
        step = Step(name)
        context.phases = {**context.phases, ("adoption", name): phase}

        def unchanged(state: ProjectState) -> ProjectState:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, 'on', false)", [KEEP_UPDATED_AT])
            try:
                work()
            finally:
                if not self.connection.needs_rollback and self.connection.is_usable():
                    with self.connection.cursor() as cursor:
                        cursor.execute("SELECT set_config(%s, 'off', false)", [KEEP_UPDATED_AT])
            return state

        batch, context.batch = context.batch, 0
        try:
            self.run_recorded(step, "apply", ProjectState(), unchanged)
        finally:
            context.batch = batch

    def state_before(self, direction: str, state: ProjectState) -> ProjectState:
        """A step has no state."""
        return super().state_before(direction, state) if state.models else state

    def explain(self, migration: Migration, direction: str, error: BaseException, tries: int) -> MigratorError:
        """A step that failed has its own way on."""
        explained = super().explain(migration, direction, error, tries)
        if not (isinstance(migration, Step) and isinstance(explained, MigrationFailed)):
            return explained
        return MigrationFailed(
            explained.happened,
            "What was done before it stays; nothing is half-done, and no row was lost.",
            "See what is left with 'manage.py adopt --plan', mend it, and start the same command again: it goes on "
            "from there.",
        )


def create(cursor: Any, relations: tuple[str, ...]) -> None:
    """Make those of these relations that are not there, and let others use them as they use the original's."""
    cursor.execute("SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL", [list(relations)])
    missing = {name for (name,) in cursor.fetchall()}
    if not missing:
        return
    cursor.execute(baseline.create(tuple(name for name in relations if name in missing)))
    cursor.execute(GRANTS, [list(TABLES), len(TABLES)])
    for grantee, privilege in cursor.fetchall():
        for name in sorted(missing):
            if privilege == "SELECT" or "view" not in baseline.baseline()["relations"][name]["kind"]:
                cursor.execute(f"GRANT {privilege} ON {name} TO {grantee}")


@dataclass(frozen=True)
class Survey:
    """All that is known before anything is changed."""

    original: Original
    is_adopted: bool
    finished_by: str
    """When and by which release it was finished; empty if it was not."""
    live: Catalog
    changes: list[Change]
    created: tuple[str, ...]
    """Tables and views that are missing."""
    left_over: list[str]
    findings: list[Finding]
    refused_values: list[str]
    obstacles: list[str]
    """What `adopt` would stumble over, and the way out; rows were not looked at where there are any."""
    sessions: tuple[str, ...]
    """Sessions that are not this service's: perhaps the original's."""

    @property
    def needs_decision(self) -> bool:
        """Whether `adopt --finish` would refuse."""
        return bool(self.obstacles or self.refused_values) or any(finding.undecided for finding in self.findings)


def read_live(connection: BaseDatabaseWrapper, applied: set[Key]) -> Catalog:
    """The original's tables as they are now, but for what migrations did that are newer than the adopted ones."""
    with connection.cursor() as cursor:
        live = catalog.read(cursor, baseline.names())
        cursor.execute("SELECT to_regclass('migrator_snapshots') IS NOT NULL")
        (has_snapshots,) = cursor.fetchone()
        later = [f"{app}.{name}" for app, name in applied - set(ADOPTED) if app in ADOPTED_APPS]
        if not (has_snapshots and later):
            return live
        cursor.execute("SELECT min(run_id) FROM migrator_attempts WHERE app || '.' || name = ANY(%s)", [later])
        (first_run,) = cursor.fetchone()
    before = snapshot_before(connection.connection, first_run) if first_run else None
    return without_later(live, before.catalog) if before else live


def survey(connection: BaseDatabaseWrapper, decisions: Decisions, original: Original, applied: set[Key]) -> Survey:
    """Look at everything, in one transaction that can write nothing."""
    with transaction.atomic(using=connection.alias, durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        live = read_live(connection, applied)
        finished_by = _finished_by(cursor)
        # Once it is finished, what differs is the work of later migrations.
        todo = [] if finished_by else changes(live)
        in_the_way = [] if finished_by else obstacles(connection, live, applied)
        found = [] if finished_by or in_the_way else findings(cursor, live, decisions)
        refused = [] if in_the_way else refused_values(cursor, decisions)
        cursor.execute(SESSIONS)
        sessions = tuple(name for (name,) in cursor.fetchall())
    return Survey(
        original=original,
        is_adopted=set(ADOPTED) <= applied,
        finished_by=finished_by,
        live=live,
        changes=todo,
        created=tuple(name for name in baseline.ALL if name not in live["relations"]),
        left_over=[] if finished_by else left_over(live),
        findings=found,
        refused_values=refused,
        obstacles=in_the_way,
        sessions=sessions,
    )


def _finished_by(cursor: Any) -> str:
    return _succeeded(cursor, f"{FINISH_COMMAND}%")


def _succeeded(cursor: Any, command: str) -> str:
    """When a run of a command, as LIKE has it, first succeeded, and of which release; empty if none did."""
    cursor.execute("SELECT to_regclass('migrator_runs') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return ""
    cursor.execute(
        "SELECT to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC by release ' || release "
        "FROM migrator_runs WHERE command LIKE %s AND outcome = 'succeeded' ORDER BY run_id LIMIT 1",
        [command],
    )
    row = cursor.fetchone()
    return str(row[0]) if row else ""


def _is_to_be_recorded(plan: Plan) -> bool:
    """Whether a plan has any of the adopted migrations."""
    return any((migration.app_label, migration.name) in ADOPTED for migration, _backwards in plan.steps)


class AdoptionRun(Procedure):
    """What both runs have in common."""

    def __init__(self, command: str, output: Output) -> None:
        super().__init__(
            Request(command=command), plain_migrate(output.verbosity, using=DEFAULT_DB_ALIAS, stdout=output.stream)
        )
        self.output = output
        self.connection = connections[DEFAULT_DB_ALIAS]
        self.conf = require_configuration()

    def executor(self, plan: Plan, context: RunContext) -> AdoptingExecutor:
        """A transaction a migration: somebody's traffic is on this database."""
        context.conf = replace(context.conf, batch="each")
        return AdoptingExecutor(plan, context)

    def refuse_before_the_lock(self, session: Session, plan: Plan) -> None:
        """Refuse what is not the original's, and what somebody is migrating with Knex.

        Raises:
            HistoryRefused: saying which.
        """
        original = self.original()
        if original.is_locked:
            raise HistoryRefused(
                "Knex's lock is set: somebody is migrating this database with the original, or died doing so.",
                "Two systems must not change one schema at a time; nothing was changed.",
                "Wait until that migration is through. If nobody is migrating, unlock it with the original's own "
                "'knex migrate:unlock', and start again.",
            )
        if self.has_work(session, plan) and (found := obstacles(self.connection, self.live(), self._applied())):
            raise HistoryRefused(
                "This database cannot be adopted as it is:" + "".join(f"\n    {line}" for line in found),
                "The adoption would fail half way; nothing was changed.",
                "Do what each line says, then look with 'manage.py adopt --plan', and start again.",
            )

    def refuse_existing(self, session: Session, plan: Plan) -> None:
        """That the tables are there already is what this is for."""

    def original(self) -> Original:
        """What is here.

        Raises:
            HistoryRefused: if Knex never was, or if it is another system's.
        """
        original = find(self.connection)
        if original is None:
            raise HistoryRefused(
                "This is not the original system's database: it has no table knex_migrations.",
                "There is nothing to adopt; nothing was changed.",
                "An empty database, and one that this service made, need only 'manage.py migrate'. If the original's "
                "SQL files made its tables, start its last release once (its Knex completes them), and adopt.",
            )
        if original.doubt:
            raise original.refusal()
        return original

    def survey(self, decisions: Decisions) -> Survey:
        """Look at everything; call it inside `reading`, or under the lock."""
        return survey(self.connection, decisions, self.original(), self._applied())

    def live(self) -> Catalog:
        """The original's tables as they are now, for this to align."""
        return read_live(self.connection, self._applied())

    def _applied(self) -> set[Key]:
        return set(MigrationRecorder(self.connection).applied_migrations())

    def align(self, executor: AdoptingExecutor, stage: str) -> None:
        """Carry out every change of a stage that is left to do."""
        for change in changes(self.live()):
            if change.stage == stage:
                self.output.say(f"  {change.table}: {change.says}")
                phase = EXPAND if stage == ADOPT else CONTRACT
                executor.carry_out_step(f"{change.table}.{change.name}", phase, self._work(change))

    def _work(self, change: Change) -> Callable[[], None]:
        def work() -> None:
            for part in change.parts:
                # Again after each part: what is written between the first filling and the rule that forbids nulls.
                self._fill(change)
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
        backfill = Backfill(
            model.__name__,
            set=", ".join(f"{column} = coalesce({column}, {value})" for column, value in change.fills),
            where=where,
        )
        state = cast("ProjectState", SimpleNamespace(apps=apps))
        with self.connection.schema_editor(atomic=False) as editor:
            backfill.database_forwards(model._meta.app_label, editor, state, state)


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

    def refuse_before_the_lock(self, session: Session, plan: Plan) -> None:
        """Refuse, moreover, what the original itself has not brought up to date.

        Raises:
            HistoryRefused: saying what Knex has not applied.
        """
        super().refuse_before_the_lock(session, plan)
        missing = self.original().missing_migrations
        if missing and self.has_work(session, plan):
            raise HistoryRefused(
                f"Knex has not applied everything to this database: {', '.join(missing)}.",
                "The original's next start would apply it, and stop at what is there already; nothing was changed.",
                "Start the original's last release once, which applies it; then start again.",
            )

    def has_work(self, session: Session, plan: Plan) -> bool:
        """Whether it is still to be done."""
        with self.connection.cursor() as cursor:
            return _is_to_be_recorded(plan) or not _succeeded(cursor, COMMAND)

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        """Say so."""
        self.output.say("Nothing to adopt: the history is recorded already", success=True)

    def apply(self, executor: Executor) -> None:
        """Align what the original tolerates, then let Django's command record and make the rest."""
        plan = executor.plan
        assert isinstance(executor, AdoptingExecutor)  # noqa: S101 - the class says so
        # Once they are recorded, later migrations may have changed the tables: there is nothing to align any more.
        if _is_to_be_recorded(plan):
            original = self.original()
            self.output.say(f"Adopting the original system's database: {original.said}")
            self.align(executor, ADOPT)
            if missing := tuple(name for name in TABLES if name not in {table.name for table in original.tables}):
                executor.carry_out_step("tables.added", EXPAND, partial(self._create, missing))
        super().apply(executor)
        self.output.say(
            "Adopted. The original can go on on this database; once it is switched off: 'manage.py adopt --finish'",
            success=True,
        )

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
            return not _finished_by(cursor)

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        """Say so."""
        with self.connection.cursor() as cursor:
            self.output.say(f"Nothing to do: the adoption was finished {_finished_by(cursor)}", success=True)

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
        with self.connection.cursor() as cursor:
            cursor.execute(CREATE_QUARANTINE)
        for mending in mendings(self.decisions):
            self.output.say(f"  {mending.says}")
            executor.carry_out_step(mending.name, CONTRACT, self._mend(mending))
        self.align(executor, ADOPT)
        self.align(executor, FINISH)
        if left := changes(self.live()):
            raise MigrationFailed(
                f"After all that was done, {left[0].table} still needs: {left[0].says}.",
                "Something else changed the schema meanwhile; no row was lost.",
                "Start the same command again.",
            )
        self.output.say("Finished. The contract's rules hold; the original must not run on this database again")

    def _mend(self, mending: Mending) -> Callable[[], None]:
        return lambda: mending.carry_out(self.connection)

    def say_done(self, context: RunContext, plan: Plan) -> None:
        """Nothing more."""

    @staticmethod
    def _refuse_undecided(survey: Survey) -> None:
        undecided = [
            f"{finding.undecided} rows of {finding.table}: {finding.says} ({finding.ways})"
            for finding in survey.findings
            if finding.undecided
        ]
        if undecided or survey.refused_values:
            raise HistoryRefused(
                "Rows break the contract's rules, and what becomes of them is not decided:"
                + "".join(f"\n    {line}" for line in [*undecided, *survey.refused_values]),
                "The rules cannot hold while there are such rows; nothing was changed.",
                "'manage.py adopt --plan' shows each with examples. Decide by the options named, or mend them by "
                "hand, and start again.",
            )
