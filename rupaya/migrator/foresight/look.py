"""One look at the live rows before a plan: what stands in the way of which migration, and what could not be asked."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import psycopg2
from django.conf import settings
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.debts.debt import OPERATION, Debt
from rupaya.migrator.errors import MigrationFailed, counted
from rupaya.migrator.foresight import presumed
from rupaya.migrator.foresight.liverows import Answer, Rows
from rupaya.migrator.foresight.places import Today, today
from rupaya.migrator.foresight.presumed import KnownPresumptions
from rupaya.migrator.foresight.presumption import FOREIGN_KEY, Presumed, Presumption

MAX_LAG_S = 60.0
# A replica that is cut off has replayed all that it received, and would look up to date.
_LAG = """
    SELECT pg_is_in_recovery(), coalesce(CASE
        WHEN NOT EXISTS (SELECT FROM pg_stat_wal_receiver) THEN NULL
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END, 1e9)
"""


@dataclass(frozen=True)
class RowFinding:
    """An answer, and what it means for its migration."""

    migration: str
    answer: Answer
    is_owed: bool = False
    """Whether that part of the migration would be owed, so that it fails when it is paid and not now."""
    may_be_fixed: bool = False
    """Whether a step of the plan changes these rows before it matters."""

    @property
    def stops(self) -> bool:
        """Whether the migration surely fails for it."""
        return self.answer.is_against and not (self.is_owed or self.may_be_fixed)

    def __str__(self) -> str:
        line = f"{self.migration} presumes {self.answer}"
        if not self.answer.is_against:
            return line
        if self.is_owed:
            return f"{line}; that is owed, and 'migrate --contract' will stop there"
        if self.may_be_fixed:
            return f"{line}; the plan itself changes these rows before, so it is looked at again then"
        return f"{line}; it will fail"


@dataclass(frozen=True)
class Look:
    """All that was found."""

    findings: tuple[RowFinding, ...] = ()
    unknown: tuple[str, ...] = ()
    """Migrations of which nobody knows what they presume."""
    source: str = ""
    """Where the rows were asked, if not on the primary."""
    took_s: float = 0.0

    @property
    def stopping(self) -> list[RowFinding]:
        """What surely makes a migration fail."""
        return [finding for finding in self.findings if finding.stops]

    def warnings(self) -> Iterator[str]:
        """What is in the way, what could not be asked, and of which migrations nothing is known."""
        for finding in self.findings:
            if finding.answer.count != 0:
                yield str(finding)
        if self.unknown:
            names = ", ".join(self.unknown)
            yield f"What they presume of rows is not known: {names} ('manage.py presumptions' writes it down)"

    def summary(self) -> str:
        """What was asked and is as presumed; empty if nothing."""
        fine = sum(finding.answer.count == 0 for finding in self.findings)
        where = f" on {self.source}" if self.source else ""
        said = f"{counted(fine, 'presumption')} asked of the live rows{where} ({self.took_s:.1f} s): none in the way"
        return said if fine else ""

    def lines(self) -> Iterator[str]:
        """All that a reader should know."""
        yield from self.warnings()
        if summary := self.summary():
            yield summary


def look(
    connection: BaseDatabaseWrapper,
    known: KnownPresumptions,
    owed: Collection[Debt] = (),
    *,
    budget_s: float,
    here_only: bool = False,
) -> Look:
    """Ask the live rows what the plan presumes of them; nothing is changed, and no lock but the weakest is taken.

    Asked on the replica that `MIGRATOR_REPLICA` names, where it can be trusted; what stands in the way there, the
    primary is asked too. `here_only`: on this connection alone, which may be in a transaction.
    """
    began = time.monotonic()
    there = None if here_only else _replica()
    rows = Rows(connection, budget_s)
    first = Rows(there, budget_s) if there is not None else rows
    findings = []
    for position, (label, step) in enumerate(zip(known.labels, known.steps, strict=True)):
        for presumption in step.presumptions:
            table, target = _today(known.steps, position, presumption)
            if table.is_made:
                continue
            answer = first.ask(presumption, table, target)
            if first is not rows and answer.count != 0:
                answer = rows.ask(presumption, table, target)
            rewritten = [place for place in (table, target) if place and (place.written_before or place.written_here)]
            findings.append(RowFinding(label, answer, _is_owed(label, presumption, owed), bool(rewritten)))
    source = "a replica" if first is not rows else ""
    return Look(tuple(findings), known.unknown, source, time.monotonic() - began)


def look_again(
    connection: BaseDatabaseWrapper, known: KnownPresumptions, label: str, *, budget_s: float
) -> list[RowFinding]:
    """Right before one migration, where the plan had changed rows since: what is in its way now."""
    position = known.labels.index(label)
    only = KnownPresumptions((label,), (known.steps[position],), ())
    return [
        finding
        for finding in look(connection, only, budget_s=budget_s, here_only=True).findings
        if finding.answer.is_against
    ]


def look_at_debts(
    connection: BaseDatabaseWrapper, debts: Iterable[Debt], *, budget_s: float
) -> list[tuple[Debt, Answer]]:
    """What stands in the way of paying debts, as far as their migrations' presumptions are known."""
    rows = Rows(connection, budget_s)
    found = []
    for debt in debts:
        step = presumed.of_migration(debt.app, debt.migration)
        fills = any(part["how"] == "batches" for part in debt.payment)
        for presumption in step.presumptions if step and not fills else ():
            if _is_owed(debt.migration_label, presumption, [debt]):
                # By the names of its own time; a later rename shows as a column that is not there.
                table = Today(presumption.table, {name: name for name in presumption.columns})
                there = Today(presumption.target, {name: name for name in presumption.target_keys})
                found.append((debt, rows.ask(presumption, table, there if presumption.target else None)))
    return found


def refusal(label: str, answers: Sequence[Answer], *, happens: str = "was not begun") -> MigrationFailed:
    """The failure that a migration would have ended in, with the rows."""
    return MigrationFailed(
        f"{label} {happens}, for rows are in its way: " + "; ".join(map(str, answers)),
        "It would surely have failed there. Nothing of it was changed and no table was locked for it.",
        "Fix these rows, or let a migration before it do so, then start 'manage.py migrate --retry-failed'; "
        "'manage.py migrate --dry-run' shows all of them.",
    )


def _today(steps: Sequence[Presumed], position: int, presumption: Presumption) -> tuple[Today, Today | None]:
    table = today(steps, position, presumption.table, presumption.columns)
    if presumption.kind != FOREIGN_KEY:
        return table, None
    return table, today(steps, position, presumption.target, presumption.target_keys)


def _is_owed(label: str, presumption: Presumption, owed: Collection[Debt]) -> bool:
    return any(
        debt.migration_label == label
        and (
            debt.kind == OPERATION
            or debt.object in (presumption.name, *presumption.columns)
            or (bool(presumption.columns) and set(presumption.columns) <= set(debt.columns))
        )
        for debt in owed
    )


def _replica() -> BaseDatabaseWrapper | None:
    """The replica's connection, if there is one and it is not far behind."""
    alias = getattr(settings, "MIGRATOR_REPLICA", "")
    if not alias or alias not in connections.settings:
        return None
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LAG)
            is_replica, lag_s = cursor.fetchone()
    except (Error, psycopg2.Error):
        return None
    return connection if is_replica and float(lag_s) <= MAX_LAG_S else None
