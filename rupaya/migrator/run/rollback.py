"""Undoing whole batches: under the same lock, timeouts and ledger as `migrate`, and refused whole before it begins."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.migration import Migration

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.ledger.ledger import Applied, Ledger
from rupaya.migrator.output import Output
from rupaya.migrator.plan.plan import Plan, backwards_plan
from rupaya.migrator.run.executor import Executor
from rupaya.migrator.run.runner import Request, Runner

# How the service's own sessions name themselves: settings.py sets application_name to "release RELEASE".
_SERVING = re.compile(r"release (\S+)")


class Rollback(Runner):
    """A run that unapplies every batch after `to_batch`; None: the last batch alone."""

    def __init__(
        self,
        to_batch: int | None,
        output: Output,
        sync_apps: Callable[[BaseDatabaseWrapper, list[str]], None] = lambda _connection, _labels: None,
    ) -> None:
        super().__init__(Request(command="rollback"), output, sync_apps)
        self.to_batch = to_batch

    def plan(self) -> tuple[Plan, list[Applied]]:
        """What would be unapplied, in that order, and by which attempts it was applied.

        Raises:
            HistoryRefused: if any of it cannot be undone.
        """
        executor = self._executor()
        ledger = Ledger(self.connection.connection)
        undone = self._applied_since(ledger)
        disk = executor.loader.disk_migrations or {}
        if missing := [applied for applied in undone if applied.key not in disk]:
            names = ", ".join(f"{applied.app}.{applied.name} (release {applied.release})" for applied in missing)
            raise HistoryRefused(
                f"This release does not have every migration of the batch: {names}.",
                "What undoes a migration is in its own code; nothing was changed.",
                "Run the rollback from the image of the release that applied it.",
            )
        plan = backwards_plan(executor, {applied.key for applied in undone})
        self._refuse_dependents(executor, plan)
        self._refuse_irreversible(plan)
        self._refuse_while_needed(ledger, undone)
        by_key = {applied.key: applied for applied in undone}
        return plan, [by_key[migration.app_label, migration.name] for migration, _backwards in plan.steps]

    def _read_plan(self, executor: Executor) -> Plan:
        return self.plan()[0]

    def _refuse_histories(self, plan: Plan) -> None:
        """Nothing: a rollback is the way out of such histories."""

    def _say_nothing_to_do(self, plan: Plan) -> None:
        self.output.say("Nothing to roll back: no batch is applied" + (f" after {self.to_batch}" * bool(self.to_batch)))

    def _applied_since(self, ledger: Ledger) -> list[Applied]:
        in_force = ledger.in_force()
        last = max((applied.batch for applied in in_force), default=0)
        after = last - 1 if self.to_batch is None else self.to_batch
        return [applied for applied in in_force if applied.batch > after]

    def _refuse_dependents(self, executor: Executor, plan: Plan) -> None:
        undone = {(migration.app_label, migration.name) for migration, _backwards in plan.steps}
        applied = set(executor.loader.applied_migrations or {})
        for migration, _backwards in plan.steps:
            children = executor.loader.graph.backwards_plan((migration.app_label, migration.name))
            if others := [f"{app}.{name}" for app, name in children if (app, name) in applied - undone]:
                raise HistoryRefused(
                    f"{', '.join(others)} is applied, depends on {migration}, and is not in the batch.",
                    "It was applied in an earlier batch or outside the ledger; nothing was changed.",
                    "Unapply it first: 'manage.py migrate APP NAME', or roll back further with --to.",
                )

    def _refuse_irreversible(self, plan: Plan) -> None:
        irreversible = [str(migration) for migration, _backwards in plan.steps if not is_reversible(migration)]
        if irreversible:
            raise HistoryRefused(
                f"The batch cannot be undone: {', '.join(irreversible)} is irreversible.",
                "It has an operation that says no way back; the whole batch stays, and nothing was changed.",
                "Go forward with a new migration, or restore a backup. An older release may run on this schema "
                "as it is unless a contract migration is among these.",
            )

    def _refuse_while_needed(self, ledger: Ledger, undone: list[Applied]) -> None:
        """Refuse while a session is connected whose release may need what would be undone."""
        if not undone:
            return
        older = ledger.releases_before(min(applied.run_id for applied in undone))
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid, application_name FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            sessions = [(pid, match[1]) for pid, name in cursor.fetchall() if (match := _SERVING.match(name or ""))]
        if needing := [(pid, release) for pid, release in sessions if release not in older]:
            told = ", ".join(f"backend pid {pid} of release {release}" for pid, release in needing)
            raise HistoryRefused(
                f"Sessions are connected whose release may need this batch: {told}.",
                "Undoing it would break them while they serve; nothing was changed.",
                "Deploy the older release first, wait until its tasks have replaced these, then roll back.",
            )


def is_reversible(migration: Migration) -> bool:
    """Whether every operation of a migration can be undone."""
    return all(operation.reversible for operation in migration.operations)
