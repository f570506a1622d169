"""Undoing whole batches: under the same lock, timeouts and ledger as `migrate`, and refused whole before it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration

from rupaya.migrator.django import Key
from rupaya.migrator.errors import HistoryRefused, is_or_are
from rupaya.migrator.ledger.ledger import Applied, Ledger
from rupaya.migrator.output import Output
from rupaya.migrator.plan.history import refuse_by_project
from rupaya.migrator.plan.plan import Plan, backwards_plan, history_explained, key_of
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.procedure import Procedure, Request, plain_migrate
from rupaya.migrator.session.serving import serving_releases
from rupaya.migrator.session.session import Session


@dataclass(frozen=True)
class Undoing:
    """What a rollback would undo, and the attempts that applied it."""

    plan: Plan
    undone: list[Applied]


class Rollback(Procedure):
    """A run that unapplies every batch after `to_batch`; None: the last batch alone."""

    def __init__(self, to_batch: int | None, output: Output) -> None:
        super().__init__(
            Request(command="rollback"),
            plain_migrate(output.verbosity, using=DEFAULT_DB_ALIAS, stdout=output.stream),
        )
        self.to_batch = to_batch

    def read_plan(self, session: Session) -> Plan:
        """What is to be unapplied.

        Raises:
            HistoryRefused: if this release does not have all of it.
        """
        return self.undoing(session).plan

    def in_batch(self, session: Session) -> list[Applied]:
        """The attempts by which what is to be unapplied was applied, as the ledger has them, oldest first."""
        in_force = Ledger(session.raw).in_force()
        last = max((applied.batch for applied in in_force), default=0)
        after = last - 1 if self.to_batch is None else self.to_batch
        return [applied for applied in in_force if applied.batch > after]

    def undoing(self, session: Session) -> Undoing:
        """What would be unapplied, in that order, and by which attempts it was applied.

        Raises:
            HistoryRefused: if this release does not have all of it, or has it in one with an earlier batch's.
        """
        with history_explained():
            executor = self.django.plan().executor
        by_key = {applied.key: applied for applied in self.in_batch(session)}
        disk = executor.loader.disk_migrations or {}
        if missing := [applied for applied in by_key.values() if applied.key not in disk]:
            names = ", ".join(f"{applied.app}.{applied.name} (release {applied.release})" for applied in missing)
            raise HistoryRefused(
                f"This release does not have every migration of the batch: {names}.",
                "What undoes a migration is in its own code; nothing was changed.",
                "Run the rollback from the image of the release that applied it.",
            )
        graph = executor.loader.graph
        # Recorded by its own name, and gone from the graph: a squashed migration stands in its place now.
        keys = {key for key in by_key if key in graph.nodes}
        for squash, migration in executor.loader.replacements.items():
            if squash in graph.nodes and set(migration.replaces) & by_key.keys():
                _refuse_squashed(executor.loader, migration, by_key.keys())
                keys.add(squash)
                by_key.setdefault(squash, next(by_key[key] for key in migration.replaces if key in by_key))
        plan = backwards_plan(executor, keys)
        return Undoing(plan, [by_key[key_of(migration)] for migration, _backwards in plan.steps])

    def refuse_before_the_lock(self, session: Session, plan: Plan) -> None:
        """Refuse what cannot be undone, or must not be now.

        Raises:
            HistoryRefused: saying why.
        """
        refuse_by_project(session.connection, plan)
        self.by_halves = False
        self.refuse(session, plan)

    def refuse(self, session: Session, plan: Plan) -> None:
        """What stands in the way of a rollback.

        Raises:
            HistoryRefused: if any of it cannot be undone, or a session may need it.
        """
        _refuse_dependents(plan)
        _refuse_irreversible(plan)
        if plan.steps:
            _refuse_while_needed(session.connection, Ledger(session.raw), {key_of(step[0]) for step in plan.steps})

    def has_work(self, session: Session, plan: Plan) -> bool:
        """Whether there is anything to undo."""
        return bool(plan.steps)

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        after = f" after {self.to_batch}" if self.to_batch else ""
        session.output.say(f"Nothing to roll back: no batch is applied{after}")

    def say_done(self, context: RunContext, plan: Plan) -> None:
        """Nothing more: each migration has its line."""


def _refuse_squashed(loader: MigrationLoader, squash: Migration, batch: Collection[Key]) -> None:
    """Refuse where what undoes a squashed migration would undo what is to stay."""

    def replaced(migration: Migration) -> Iterator[Key]:
        """What was applied by its own name: a squash may replace another one."""
        for key in migration.replaces:
            if key in loader.replacements:
                yield from replaced(loader.replacements[key])
            else:
                yield key

    if key_of(squash) in batch:
        return
    if others := sorted({f"{app}.{name}" for app, name in replaced(squash) if (app, name) not in batch}):
        raise HistoryRefused(
            f"{squash} stands for {', '.join(others)} as well, which {is_or_are(len(others))} not of the batch.",
            "What undoes it would undo that too, which was applied in an earlier batch or outside the ledger; nothing "
            "was changed.",
            "Run the rollback from an image that has the squashed migrations alone, or roll back further with --to.",
        )


def _refuse_dependents(plan: Plan) -> None:
    undone = {key_of(migration) for migration, _backwards in plan.steps}
    graph = plan.executor.loader.graph
    for migration, _backwards in plan.steps:
        children = graph.backwards_plan(key_of(migration))
        if others := [f"{app}.{name}" for app, name in children if (app, name) in plan.status.applied - undone]:
            raise HistoryRefused(
                f"What depends on {migration} is applied, but not in the batch: {', '.join(others)}.",
                "It was applied in an earlier batch or outside the ledger; nothing was changed.",
                "Unapply it first: 'manage.py migrate APP NAME', or roll back further with --to.",
            )


def _refuse_irreversible(plan: Plan) -> None:
    irreversible = [str(migration) for migration, _backwards in plan.steps if not is_reversible(migration)]
    if irreversible:
        raise HistoryRefused(
            f"The batch cannot be undone: {', '.join(irreversible)} {is_or_are(len(irreversible))} irreversible.",
            "One of the operations is irreversible; the whole batch stays, and nothing was changed.",
            "Go forward with a new migration, or restore a backup. An older release may run on this schema "
            "as it is unless a contract migration is among these.",
        )


def _refuse_while_needed(connection: BaseDatabaseWrapper, ledger: Ledger, undone: set[tuple[str, str]]) -> None:
    """Refuse while a session is connected whose release may need what would be undone."""
    first_run = min((applied.run_id for applied in ledger.in_force() if applied.key in undone), default=None)
    if first_run is None:
        return
    older = ledger.releases_before(first_run)
    if needing := [session for session in serving_releases(connection) if session.release not in older]:
        names = ", ".join(map(str, needing))
        raise HistoryRefused(
            f"Sessions are connected whose release may need this batch: {names}.",
            "Undoing it would break them while they serve; nothing was changed.",
            "Deploy the older release first, wait until its tasks have replaced these, then roll back. In development "
            "every release is called unknown: stop the server.",
        )


def is_reversible(migration: Migration) -> bool:
    """Whether every operation of a migration can be undone."""
    return all(operation.reversible for operation in migration.operations)
