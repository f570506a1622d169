"""Calls and scans kept in the ledger, from the moment that something comes to be owed: use is what grew since."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.foresight.calls import Calls, as_baseline


@dataclass(frozen=True)
class Baseline:
    """What the statistics had at one moment."""

    taken_at: datetime
    age_s: float
    stats_reset: datetime | None
    dealloc: int
    calls: dict[str, int]
    hidden: int


def exists(connection: PgConnection) -> bool:
    """Whether the ledger is new enough."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('migrator_use_baselines') IS NOT NULL")
        return bool(cursor.fetchall()[0][0])


def keep(connection: PgConnection, debt_ids: Iterable[int], calls: Calls) -> None:
    """Write down what the statistics have now, for these debts; nothing, where they cannot be read."""
    if calls.why:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO migrator_use_baselines (debt_ids, stats_reset, dealloc, readable, calls, scans) "
            "VALUES (%s, %s, %s, true, %s, %s)",
            [list(debt_ids), calls.stats_reset, calls.dealloc, json.dumps(as_baseline(calls)), json.dumps(calls.scans)],
        )


def of_debt(connection: PgConnection, debt_id: int) -> list[Baseline]:
    """All of a debt, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT taken_at, extract(epoch FROM clock_timestamp() - taken_at), stats_reset, dealloc, calls "
            "FROM migrator_use_baselines WHERE debt_ids @> ARRAY[%s::bigint] ORDER BY baseline_id",
            [debt_id],
        )
        return [_baseline(*row) for row in cursor.fetchall()]


def _baseline(taken_at: datetime, age_s: float, reset: datetime | None, dealloc: int, kept: Any) -> Baseline:
    plain = json.loads(kept) if isinstance(kept, str) else kept
    return Baseline(taken_at, float(age_s), reset, dealloc, plain["calls"], plain["hidden"])
