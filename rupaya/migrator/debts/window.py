"""The rollback window: how long what a release owes stays unpaid, so that the release before it can serve again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rupaya.migrator.debts.debt import Debt


@dataclass(frozen=True)
class Window:
    """Of what one run left owed."""

    since: datetime | None
    """When its migrations were complete: the end of the first run from then on that succeeded; None: not yet."""
    until: datetime | None
    """From when on it may be paid; None: not known before it is complete."""

    def is_over(self, now: datetime) -> bool:
        """Whether it may be paid."""
        return self.until is not None and self.until <= now

    def __str__(self) -> str:
        if self.since is None or self.until is None:
            return "not due before its run is complete"
        return (
            f"complete since {self.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC, "
            f"due {self.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )


def windows(connection: Any, debts: Iterable[Debt], after_h: float) -> dict[int, Window]:
    """The window of each run that left one of these debts. `connection`: Django's or the driver's own."""
    runs = sorted({debt.run_id for debt in debts})
    if not runs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run, (SELECT min(finished_at) FROM migrator_runs WHERE run_id >= run AND outcome = 'succeeded') "
            "FROM unnest(%s::bigint[]) run",
            [runs],
        )
        return {
            run: Window(since, since + timedelta(hours=after_h) if since else None) for run, since in cursor.fetchall()
        }


def due(connection: Any, debts: Iterable[Debt], after_h: float) -> list[Debt]:
    """Of these debts, those that may be paid now; without a window, all."""
    debts = list(debts)
    if after_h <= 0:
        return debts
    now = datetime.now(UTC)
    found = windows(connection, debts, after_h)
    return [debt for debt in debts if found[debt.run_id].is_over(now)]
