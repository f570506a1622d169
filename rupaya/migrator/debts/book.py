"""What is owed while migrations run: read once a migration, kept in memory, written down unless it is a forecast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.fresh import Fresh


@dataclass
class Book:
    """The open debts, and what a migration does to them."""

    owed: list[Debt]
    fresh: Fresh = field(default_factory=Fresh)
    store: DebtStore | None = None
    """Where changes are written; None: a forecast, which writes nothing."""
    run_id: int = 0
    fingerprint: str = ""
    """Of the migration: what it is, whatever its text looks like."""
    release: str = ""
    cancelled: list[Debt] = field(default_factory=list)
    """What is cancelled by a migration that is in force; of a backwards run, only its own."""
    pay_first: list[Debt] = field(default_factory=list)
    """Of a forecast: what must be paid before the migration may run."""
    warnings: list[str] = field(default_factory=list)

    def owe(self, debt: Debt) -> None:
        """Write a debt down; not a second time, after an attempt that was cut off and is not atomic."""
        if any(debt.identity == other.identity for other in self.owed):
            return
        debt.run_id, debt.release = self.run_id, self.release
        if self.store is not None:
            self.store.add(debt)
        self.owed.append(debt)

    def cancel(self, debts: Iterable[Debt], by: str = "") -> None:
        """Strike debts out, because of a migration (``shop.0003_more``) or, without, because theirs is unapplied."""
        debts = list(debts)
        if not debts:
            return
        if self.store is not None:
            self.store.settle(debts, "cancelled", self.run_id, by)
        for debt in debts:
            self.owed.remove(debt)
            debt.state, debt.settled_by = "cancelled", by
            self.cancelled.append(debt)

    def paid(self, debts: Iterable[Debt]) -> None:
        """Strike out what a migration had to pay by itself, because it needs the name."""
        debts = list(debts)
        if self.store is not None:
            self.store.settle(debts, "paid", self.run_id)
        for debt in debts:
            self.owed.remove(debt)
            debt.state = "paid"

    def reopen(self, debts: Iterable[Debt]) -> None:
        """Owe debts again that were cancelled."""
        debts = list(debts)
        if not debts:
            return
        if self.store is not None:
            self.store.reopen(debts)
        for debt in debts:
            if debt in self.cancelled:
                self.cancelled.remove(debt)
            debt.state, debt.settled_by = "owed", ""
            self.owed.append(debt)

    def warn(self, sentence: str) -> None:
        """Warn those who run or plan the migration; of the same thing once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def of(self, *kinds: str, table: str, object: str = "", column: str = "") -> list[Debt]:  # noqa: A002 - its name
        """What is owed of these kinds (none: of any), of this table, object and column."""
        return [debt for debt in self.owed if _matches(debt, kinds, table, object, column)]

    def cancelled_of(self, by: str, *kinds: str, table: str, object: str = "", column: str = "") -> list[Debt]:  # noqa: A002 - its name
        """What `by` cancelled, of these kinds, table, object and column."""
        return [
            debt for debt in self.cancelled if debt.settled_by == by and _matches(debt, kinds, table, object, column)
        ]


def _matches(debt: Debt, kinds: tuple[str, ...], table: str, name: str, column: str) -> bool:
    return (
        debt.table == table
        and (not kinds or debt.kind in kinds)
        and name in ("", debt.object)
        and (not column or column in debt.columns)
    )
