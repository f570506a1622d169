"""Paying nothing that somebody still uses: what `--contract` asks before, and what it keeps of the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing, suppress

import psycopg2

from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.foresight.use import IN_USE, NOT_SEEN, Use, keep_baseline, takes_away, uses
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.session import database

SECONDS_AN_HOUR = 3600


def remember_use(context: RunContext) -> None:
    """Keep what the statistics have at the moment when this run left something owed that takes something away."""
    run_id = context.ledger.run_id
    debts = [debt for debt in DebtStore(context.connection).owed() if debt.run_id == run_id and takes_away(debt)]
    if debts:
        with suppress(psycopg2.Error):  # without it nothing is lost but the right to say "not seen"
            keep_baseline(context.ledger.connection, debts)


def apart_by_use(context: RunContext, debts: list[Debt], *, reason: str) -> tuple[list[Debt], list[Use]]:
    """What may be paid, and what may not because it is used, or because nobody can say.

    With `reason`, or MIGRATE_ON_USE=warn, everything may be; the ledger keeps the reason and what was known.
    """
    asked = [debt for debt in debts if takes_away(debt)]
    if not asked:
        return debts, []
    watch_s = context.conf.use_watch_h * SECONDS_AN_HOUR
    with closing(database.connect(context.connection)) as connection, context.stop.interrupting():
        found = uses(connection, asked, watch_s=watch_s)
    for use in found:
        if context.conf.on_use == "refuse" or use.answer in (NOT_SEEN, IN_USE):
            context.output.say(str(use), warning=use.answer != NOT_SEEN)
    used = [use for use in found if use.answer != NOT_SEEN]
    if context.conf.on_use == "warn" and not reason:
        return debts, []
    if reason:
        _record(context, used, reason)
        return debts, []
    with suppress(psycopg2.Error):
        keep_baseline(context.ledger.connection, [use.debt for use in used])
    ids = {use.debt.id for use in used}
    return [debt for debt in debts if debt.id not in ids], used


def refuse_used(used: Sequence[Use]) -> None:
    """Refuse what is in use, once everything else is paid.

    Raises:
        HistoryRefused: naming who uses it, or why nobody can say.
    """
    if not used:
        return
    raise HistoryRefused(
        "Not paid, because it is in use or may be: " + " | ".join(map(str, used)),
        "Anything that still uses it would fail once it is gone. It stays owed, everything else was paid, and all "
        "releases can go on as they are.",
        "Fix what uses it, and start 'manage.py migrate --contract' again after its next night. If you know better: "
        "--in-use-anyway REASON.",
    )


def _record(context: RunContext, used: Sequence[Use], reason: str) -> None:
    with context.ledger.connection.cursor() as cursor:
        for use in used:
            cursor.execute(
                "INSERT INTO migrator_paid_in_use (debt_id, run_id, reason, evidence) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (debt_id, run_id) DO NOTHING",
                [use.debt.id, context.ledger.run_id, reason, json.dumps([use.answer, *use.lines])],
            )
