"""Taking back what was paid, while the newer release serves: it is owed again, and the older one can come back.

The migrations stay applied. Nothing that serves notices: both releases live with what is owed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.attic import bringing
from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.facts import execute
from rupaya.migrator.attic.instep import IN_STEP
from rupaya.migrator.attic.item import DEBT, Item
from rupaya.migrator.debts.debt import COLUMN, DEFAULT, NOT_NULL, TABLE, UNNOTICED, Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.errors import HistoryRefused, counted
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import again, comingback
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.executor import Executor
from rupaya.migrator.run.outcome import reachable
from rupaya.migrator.run.procedure import Procedure
from rupaya.migrator.run.rollback import Rollback
from rupaya.migrator.session.session import Session


class Reopening(Rollback):
    """A run that owes again what was paid of the batches that the rollback would undo."""

    def read_plan(self, session: Session) -> Plan:
        """No migration is unapplied."""
        return Procedure.read_plan(self, session)

    def refuse_before_the_lock(self, session: Session, plan: Plan) -> None:
        """Refuse what cannot be taken back.

        Raises:
            HistoryRefused: naming it, and where migrations are pending.
        """
        if plan.steps:
            raise HistoryRefused(
                "This release has migrations that are not applied.",
                "What was paid is taken back by the release that paid it; nothing was changed.",
                "Run this from the image of the release that serves.",
            )
        if stuck := [debt for debt, item in self._paid(session) if not _can(debt, item)]:
            raise HistoryRefused(
                f"What was paid cannot be taken back: {'; '.join(map(str, stuck))}.",
                "How they were is not known, or was dropped for good; nothing was changed.",
                "Undo the migrations with 'manage.py rollback' once no connected release needs them.",
            )

    def _paid(self, session: Session) -> list[tuple[Debt, Item | None]]:
        """What was paid of these batches, the last first, with what is in the attic of it."""
        keys = {applied.key for applied in self.in_batch(session)}
        debts = [debt for debt in _noticed(session) if debt.key in keys]
        kept = AtticStore(session.connection).kept()
        return [(debt, _item_of(debt, kept)) for debt in reversed(debts)]

    def has_work(self, session: Session, plan: Plan) -> bool:
        """Whether anything was paid."""
        self.found = self._paid(session)
        return bool(self.found)

    def nothing_to_do(self, session: Session, plan: Plan) -> None:
        keys = {debt.key for debt in _noticed(session)}
        paid_in = [applied.batch for applied in Ledger(session.raw).in_force() if applied.key in keys]
        said = "Nothing of this batch was paid: the release before can start beside this one."
        if paid_in:
            last = max(paid_in)
            said += f" Of batch {last} something was: 'manage.py rollback --paid --to {last - 1}' takes it back."
        session.output.say(said)

    def apply(self, executor: Executor) -> None:
        """Owe it again, one debt after the other."""
        context = executor.context
        for debt, item in self.found:
            work = partial(_take_back, context.connection, debt, item, context.ledger.run_id)
            again.tried_in(
                context,
                f"Taking back {debt}",
                partial(comingback.limited, context, work),
                during=f"{debt} was being taken back",
                failed=f"{debt} could not be taken back",
                remedy="Fix what is named, then start the same command again: it goes on from there.",
                state=partial(_became, context, debt),
            )
            context.output.say(f"✓ owed again: {debt}", success=True, debt=str(debt))
        comingback.finish(context)

    def say_done(self, context: RunContext, plan: Plan) -> None:
        """What may be done now."""
        context.output.say(
            f"{counted(len(self.found), 'debt')} owed again: the release before can start beside this one. Deploy it; "
            "then 'manage.py rollback' undoes the migrations. Or 'manage.py migrate --contract' pays again."
        )


def _noticed(session: Session) -> list[Debt]:
    """All that was paid and that an older release would notice, of whichever batch."""
    return [debt for debt in DebtStore(session.connection).paid() if debt.kind not in UNNOTICED]


def _became(context: RunContext, debt: Debt) -> str:
    return again.asked(reachable(context), partial(_state, debt), str(debt))


def _state(debt: Debt, connection: Any) -> str:
    """What became of a debt, by the server's word."""
    is_owed = debt.id in {owed.id for owed in DebtStore(connection).owed()}
    return f"{debt} is {'owed again' if is_owed else 'still paid'}; both releases can go on as they are."


def _item_of(debt: Debt, kept: list[Item]) -> Item | None:
    of_it = [
        item
        for item in kept
        if item.key == debt.key
        and item.source.reason == DEBT
        and (item.table, item.object) == (debt.table, debt.object)
    ]
    return of_it[-1] if of_it else None


def _can(debt: Debt, item: Item | None) -> bool:
    if debt.kind in (COLUMN, TABLE):
        return item is not None and not debt.details.get("default_then")
    return debt.kind == NOT_NULL or (debt.kind == DEFAULT and "keep" in debt.details)


def _take_back(connection: BaseDatabaseWrapper, debt: Debt, item: Item | None, run_id: int) -> None:
    quote = connection.ops.quote_name
    if item is not None and item.details.get(IN_STEP):
        bringing.prepare(connection, item, "", lambda: None)
    with transaction.atomic(using=connection.alias):
        if item is not None:
            bringing.reopen(connection, item, run_id)
        elif debt.kind == NOT_NULL:
            execute(connection, f"ALTER TABLE {quote(debt.table)} ALTER COLUMN {quote(debt.object)} DROP NOT NULL")
        else:
            execute(connection, debt.details["keep"])
        DebtStore(connection).owe_again(debt)
