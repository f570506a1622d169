"""What an adoption is carried out by: steps in the migrator's ledger, and the history recorded instead of run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState

from rupaya.adoption import baseline
from rupaya.adoption.alignment import KEEP_UPDATED_AT
from rupaya.adoption.original import ADOPTED, TABLES, Key
from rupaya.migrator.django import record_applied
from rupaya.migrator.errors import MigrationFailed, MigratorError
from rupaya.migrator.run.batch import BatchExecutor
from rupaya.migrator.run.outcome import Outcome

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


class Carrier(Protocol):
    """Whatever carries steps out: for good, or in a trial."""

    def carry_out_step(self, name: str, phase: str, work: Callable[[], None]) -> None:
        """Carry out what is not a migration."""

    def before_rows_are_repaired(self) -> None:
        """See whether they can be."""


class AdoptionStep(Migration):
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
            make(self.connection, key)
            self._faked = True
            record_applied(self, migration)
            return migration.mutate_state(state, preserve=False)

        return self.run_recorded(migration, "apply", state, work)

    def carry_out_step(self, name: str, phase: str, work: Callable[[], None]) -> None:
        """Carry out what is not a migration, in batch 0: no rollback may take it for one of its own."""
        context = self.context
        step = AdoptionStep(name)
        context.phases = {**context.phases, ("adoption", name): phase}

        def unchanged(state: ProjectState) -> ProjectState:
            with keeping_updated_at(self.connection):
                work()
            return state

        batch, context.batch = context.batch, 0
        try:
            self.run_recorded(step, "apply", ProjectState(), unchanged)
        finally:
            context.batch = batch

    def before_rows_are_repaired(self) -> None:
        """Nothing: a trial has seen to it, and people's own rows are not changed to find out."""

    def state_before(self, direction: str, state: ProjectState) -> ProjectState:
        """A step has no state."""
        return super().state_before(direction, state) if state.models else state

    def explain(self, migration: Migration, error: BaseException, outcome: Outcome, tries: int) -> MigratorError:
        """What failed in an adoption has its own way on."""
        explained = super().explain(migration, error, outcome, tries)
        if not isinstance(explained, MigrationFailed):
            return explained
        return MigrationFailed(
            explained.happened,
            "What was committed before it failed stays, and each step may be run again.",
            "See what is left with 'manage.py adopt --plan', fix it, and start the same command again: it goes on "
            "from there. Where nothing can be tried out beforehand, 'manage.py adopt --retry-failed' insists.",
        )


@contextmanager
def keeping_updated_at(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let rows that are repaired in the block keep the time of their last change."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, 'on', false)", [KEEP_UPDATED_AT])
    try:
        yield
    finally:
        if not connection.needs_rollback and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, 'off', false)", [KEEP_UPDATED_AT])


class Trying(MigrationExecutor):
    """Django's own executor, which in a trial makes of an adopted migration what `AdoptingExecutor` makes."""

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """Run a migration, or make what is missing of an adopted one."""
        key = (migration.app_label, migration.name)
        if key not in ADOPTED:
            return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)
        with transaction.atomic(using=self.connection.alias):
            make(self.connection, key)
            record_applied(self, migration)
        return migration.mutate_state(state, preserve=False)


def make(connection: BaseDatabaseWrapper, key: Key) -> None:
    """Make what the original does not have of an adopted migration."""
    with connection.cursor() as cursor:
        create(cursor, baseline.CREATED.get(key, ()))
        if key == SYSTEM_CATEGORIES:
            module = import_module(f"{key[0]}.migrations.{key[1]}")
            for id_, name, category_type in module.SYSTEM_CATEGORIES:
                cursor.execute(ADD_SYSTEM_CATEGORY, [id_, name, category_type, name, category_type])


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
