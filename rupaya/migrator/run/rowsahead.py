"""Live rows and the plan of a run: asked before anything is locked, and again where the plan itself changes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.migration import Migration

from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.errors import MigrationFailed
from rupaya.migrator.foresight import presumed
from rupaya.migrator.foresight.look import Look, look, look_again, refusal
from rupaya.migrator.foresight.presumption import Presumed
from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.output import Output
from rupaya.migrator.plan.fingerprint import migration_hashes
from rupaya.migrator.plan.plan import Plan, key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rupaya.migrator.run.context import RunContext

# integrity_constraint_violation: what the migration would have failed with, for the rule about what failed before.
WOULD_FAIL = "23000"


class RowsAhead:
    """What a plan presumes of live rows, and what they said."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        migrations: Sequence[Migration],
        owed: Collection[Debt],
        *,
        budget_s: float,
    ) -> None:
        self.connection = connection
        self.owed = owed
        self.budget_s = budget_s
        self.known = presumed.of_plan(migrations)
        self.found = Look()

    def look(self, output: Output) -> None:
        """Ask, and say what was found; nothing where the code has no such file, or presumes nothing."""
        if not presumed.is_shipped():
            return
        self.found = look(self.connection, self.known, self.owed, budget_s=self.budget_s)
        for line in self.found.warnings():
            output.say(line, warning=True)
        if summary := self.found.summary():
            output.say(summary)

    def failure(self, migration: Migration) -> MigrationFailed | None:
        """What this migration would surely fail with."""
        answers = [finding.answer for finding in self.found.stopping if finding.migration == str(migration)]
        return refusal(str(migration), answers) if answers else None

    def took_s(self, migration: Migration) -> float | None:
        """How long it took to read what this migration has the server read again; None where that means nothing."""
        took_s = sum(finding.answer.took_s for finding in self.found.findings if finding.migration == str(migration))
        return round(took_s, 1) if took_s >= 1 else None

    def look_again(self, migration: Migration) -> None:
        """Right before a migration whose rows an earlier one has changed.

        Raises:
            MigrationFailed: if rows are in its way still.
        """
        label = str(migration)
        again = [finding for finding in self.found.findings if finding.migration == label and finding.answer.count != 0]
        position = self.known.labels.index(label) if label in self.known.labels else -1
        if not any(finding.may_be_fixed and not finding.is_owed for finding in again) or position < 0:
            return
        found = look_again(self.connection, self.known, label, budget_s=self.budget_s)
        # What the migration's own code changes first, nobody can know before.
        if answers := [finding.answer for finding in found if not finding.may_be_fixed]:
            raise refusal(label, answers)


def look_at(
    connection: BaseDatabaseWrapper,
    plan: Plan,
    owed: Collection[Debt],
    budget_s: float,
    *,
    found_by_trying: Callable[[list[Migration]], Mapping[str, Presumed]] | None = None,
) -> list[str]:
    """The lines about live rows for who only asks what a run would do.

    `found_by_trying`: what the plan presumes, from who may try it; asked where the file that is shipped does not know.
    """
    forwards = [migration for migration, backwards in plan.steps if not backwards]
    if not forwards or plan.history_is_empty or not budget_s:
        return []
    known = presumed.of_plan(forwards)
    if found_by_trying is not None and known.unknown:
        known = presumed.of_plan(forwards, found_by_trying(forwards))
    elif not presumed.is_shipped():
        return [
            "not asked: no file says what this code's migrations presume of them ('manage.py presumptions' writes it, "
            "MIGRATOR_PRESUMPTIONS names it)"
        ]
    return list(look(connection, known, owed, budget_s=budget_s).lines())


def record_failure(context: RunContext, migration: Migration, failure: MigrationFailed) -> None:
    """Keep in the ledger that a migration was not begun, so that the replacements of this task fail at once."""
    fingerprint, file_hash = migration_hashes(migration)
    attempt_id = context.ledger.start_attempt(
        batch=context.ledger.next_batch(),
        app=migration.app_label,
        name=migration.name,
        direction="apply",
        phase=context.phases.get(key_of(migration), ""),
        atomic=True,
        fingerprint=fingerprint,
        file_hash=file_hash,
    )
    context.ledger.fail_attempt(attempt_id, "failed", 1, WOULD_FAIL, failure.happened, Trace(keeps_literals=False))
