"""Paying what is owed, once no release that may need it is connected; one debt after the other, each recorded."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import count
from typing import Any

import psycopg2
from django.db import DatabaseError

from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.pay import Limits, Payer
from rupaya.migrator.debts.store import Store
from rupaya.migrator.errors import (
    DatabaseUnreachable,
    HistoryRefused,
    MigrationFailed,
    MigratorError,
    TableLocked,
    counted,
    driver_text,
    is_lost,
    sqlstate,
)
from rupaya.migrator.foresight.look import look_at_debts
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import connections
from rupaya.migrator.session.serving import serving_releases
from rupaya.migrator.sqlstates import RETRYABLE


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
    """Refuse to pay what live rows would surely stop; what could not be asked is said.

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
                f"{debt} cannot be paid, for rows are in its way: {answer}",
                "Nothing was paid; it is still owed, and both releases can go on as they are.",
                "Mend these rows, then start 'manage.py migrate --contract' again.",
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
    for tries in count(1):
        context.stop.check()
        context.lock.verify()
        try:
            raw = context.connection.connection
            with context.watch.observing(raw.info.backend_pid), context.stop.interrupting():
                was_owed = payer.pay(debt)
        except Exception as error:
            if context.stop.requested:
                raise context.stop.error(_state(context, debt)) from None
            may_wait = tries <= context.conf.retries and time.monotonic() < context.deadline
            if sqlstate(error) in RETRYABLE and may_wait:
                context.stop.wait(backoff.pause_s(tries, at_most_s=context.deadline - time.monotonic()))
                continue
            raise _explained(context, debt, error, tries) from error
        break
    if was_owed:
        context.output.say(f"✓ paid {debt} ({time.monotonic() - began:.3f} s)", success=True, debt=str(debt))


def _state(context: RunContext, debt: Debt) -> str:
    """What became of a debt, by the server's word."""
    for connection in connections(context):
        with suppress(psycopg2.Error):
            raw: Any = connection  # a driver's own connection does as well
            if debt.id in {owed.id for owed in Store(raw).owed()}:
                return f"{debt} is still owed; both releases can go on as they are."
            return f"{debt} is not owed any more."
    return f"Whether {debt} is still owed could not be asked of the server."


def _explained(context: RunContext, debt: Debt, error: Exception, tries: int) -> MigratorError:
    if isinstance(error, MigratorError):
        return error
    still = _state(context, debt)
    if is_lost(error):
        return DatabaseUnreachable.lost(error, f"{debt} was being paid", still)
    if sqlstate(error) in RETRYABLE:
        return TableLocked(str(debt), error, tries, still, context.watch.blockers)
    reason = driver_text(error) if isinstance(error, DatabaseError) else f"{type(error).__name__}: {error}"
    return MigrationFailed(
        f"{debt} could not be paid: {reason}",
        still,
        "Fix the rows or what else is in the way, then start 'manage.py migrate --contract' again.",
    )
