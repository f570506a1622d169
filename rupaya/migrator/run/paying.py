"""Paying what is owed, once no release that may need it is connected; one debt after the other, each recorded."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from rupaya.migrator.debts import leftovers
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.pay import Limits, Payer
from rupaya.migrator.errors import HistoryRefused, MigrationFailed, counted
from rupaya.migrator.foresight.look import look_at_debts
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import again
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import reachable
from rupaya.migrator.session.serving import serving_releases


def refuse_while_served(context: RunContext, debts: Iterable[Debt]) -> None:
    """Refuse to pay while a session is connected whose release is older than a debt.

    Raises:
        HistoryRefused: naming the sessions.
    """
    runs = [debt.run_id for debt in debts]
    if not runs:
        return
    older = context.ledger.releases_before(max(runs))
    if needing := [session for session in serving_releases(context.connection) if session.release in older]:
        names = ", ".join(map(str, needing))
        raise HistoryRefused(
            f"Sessions of older releases are connected: {names}.",
            "What is owed is what they would not survive; nothing of it was paid.",
            "Wait until the rollout has replaced them, or end them, then start 'manage.py migrate --contract' again.",
        )


def refuse_by_rows(context: RunContext, debts: Collection[Debt]) -> None:
    """Refuse to pay what live rows would surely stop; what could not be asked is reported.

    Raises:
        MigrationFailed: naming the first such debt, with the rows.
    """
    if not context.conf.look_s:
        return
    with context.stop.interrupting():
        found = look_at_debts(context.connection, debts, budget_s=context.conf.look_s)
    for debt, answer in found:
        if answer.count is None:
            context.output.say(f"{debt} presumes {answer}", warning=True)
    for debt, answer in found:
        if answer.is_against:
            raise MigrationFailed(
                f"{debt} cannot be paid because rows are in its way: {answer}",
                "Nothing was paid; it is still owed, and both releases can go on as they are.",
                "Fix these rows, then start 'manage.py migrate --contract' again.",
            )


def pay(context: RunContext, plan: Plan, debts: Collection[Debt]) -> None:
    """Pay debts, in their order.

    Raises:
        MigratorError: for the first that cannot be paid; it is still owed, and what was paid before it is paid.
    """
    if not debts:
        return
    context.output.say(f"Paying {counted(len(debts), 'debt')} of earlier migrations")
    conf = context.conf
    patience_ms = max(conf.lock_timeout_ms, int((context.deadline - time.monotonic()) * 1000))
    payer = Payer(
        context.connection,
        Limits(conf.lock_timeout_ms, conf.statement_timeout_ms, patience_ms),
        run_id=context.ledger.run_id,
        loader=plan.executor.loader,
        before_part=lambda _debt, _number: context.stop.check(),
    )
    for debt in debts:
        _pay_one(context, payer, debt)


def _pay_one(context: RunContext, payer: Payer, debt: Debt) -> None:
    began = time.monotonic()
    context.progress.begin(f"paying {debt}")
    was_owed = again.tried_in(
        context,
        str(debt),
        lambda: payer.pay(debt),
        during=f"{debt} was being paid",
        failed=f"{debt} could not be paid",
        remedy="Fix the rows or what else is in the way, then start 'manage.py migrate --contract' again.",
        state=lambda: again.asked(reachable(context), partial(_state, debt), str(debt)),
    )
    if was_owed:
        context.output.say(f"✓ paid {debt} ({time.monotonic() - began:.3f} s)", success=True, debt=str(debt))


def _state(debt: Debt, connection: Any) -> str:
    """What became of a debt."""
    if debt.id in {owed.id for owed in DebtStore(connection).owed()}:
        if names := leftovers.unproved(connection, debt):
            return (
                f"{debt} is still owed, but {', '.join(names)} holds for each row that is written, by whichever "
                "release: a row that breaks it cannot be changed until it is mended."
            )
        return f"{debt} is still owed; both releases can go on as they are."
    return f"{debt} is not owed any more."
