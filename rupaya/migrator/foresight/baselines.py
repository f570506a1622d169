"""Calls and scans kept in the ledger, from the moment that something comes to be owed: use is what grew since."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.foresight.calls import as_baseline
from rupaya.migrator.foresight.sources import Source


@dataclass(frozen=True)
class Baseline:
    """What the statistics had at one moment."""

    taken_at: datetime
    age_s: float
    stats_reset: datetime | None
    dealloc: int
    calls: dict[str, int]
    hidden: int
    has_inner: bool
    """Whether what functions send was counted as well."""
    scans: dict[str, int]


def exists(connection: PgConnection) -> bool:
    """Whether the ledger is new enough."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('migrator_use_baselines') "
            "AND attname = 'source')"
        )
        return bool(cursor.fetchall()[0][0])


def keep(connection: PgConnection, debt_ids: Iterable[int], sources: Iterable[Source]) -> None:
    """Write down what the statistics have now, for these debts; nothing of a server where they cannot be read."""
    with connection.cursor() as cursor:
        for source in sources:
            calls = source.calls
            if calls.why:
                continue
            kept = [json.dumps(as_baseline(calls)), json.dumps(calls.scans), source.name]
            cursor.execute(
                "INSERT INTO migrator_use_baselines (debt_ids, stats_reset, dealloc, readable, calls, scans, source) "
                "VALUES (%s, %s, %s, true, %s, %s, %s)",
                [list(debt_ids), calls.stats_reset, calls.dealloc, *kept],
            )


def of_debt(connection: PgConnection, debt_id: int, source: str) -> list[Baseline]:
    """All of a debt from one server, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT taken_at, extract(epoch FROM clock_timestamp() - taken_at), stats_reset, dealloc, calls, scans "
            "FROM migrator_use_baselines WHERE debt_ids @> ARRAY[%s::bigint] AND source = %s ORDER BY baseline_id",
            [debt_id, source],
        )
        return [_baseline(*row) for row in cursor.fetchall()]


def _baseline(
    taken_at: datetime, age_s: float, reset: datetime | None, dealloc: int, kept: Any, scans: Any
) -> Baseline:
    plain, scanned = (json.loads(one) if isinstance(one, str) else one for one in (kept, scans))
    return Baseline(
        taken_at, float(age_s), reset, dealloc, plain["calls"], plain["hidden"], plain.get("inner", False), scanned
    )
