"""Whether an older release may go on beside a newer schema: by what was paid, not by what was applied."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from rupaya.migrator.debts.debt import UNNOTICED
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.ledger.ledger import Applied
from rupaya.migrator.plan.phases import CONTRACT

Key = tuple[str, str]


@dataclass(frozen=True)
class Breaking:
    """A migration that a release does not know and does not survive."""

    key: Key
    release: str
    """The release that applied it."""
    loss: str
    """What older code cannot do any more; empty if nobody knows."""

    def __str__(self) -> str:
        return f"{'.'.join(self.key)} (release {self.release})"


def breaking(
    newer: Collection[Key], connection: Any, in_force: Iterable[Applied], unattested: Collection[Key] = ()
) -> list[Breaking]:
    """Of the migrations that are newer than a release, those that it does not survive: something owed of them was paid,
    they ran whole although they take away what older code uses, or nobody who could say so applied them.

    `connection`: Django's or the driver's own.
    """
    if not newer:
        return []
    found = [
        Breaking(debt.key, debt.release, debt.breaks)
        for debt in DebtStore(connection).paid()
        if debt.key in newer and debt.kind not in UNNOTICED
    ]
    known = {item.key for item in found}
    # No evidence is no evidence of harmlessness.
    found += [Breaking(key, "unknown", "") for key in unattested if key in newer and key not in known]
    return found + [
        Breaking(applied.key, applied.release, "use what a contract migration took away")
        for applied in in_force
        if applied.key in newer and applied.key not in known and applied.phase == CONTRACT
    ]


def refuse_breaking(
    newer: Collection[Key], connection: Any, in_force: Iterable[Applied], unattested: Collection[Key] = ()
) -> None:
    """Refuse to start old code where a newer release has taken away or tightened what it may use.

    Raises:
        HistoryRefused: naming the migrations, and what this code could not do any more.
    """
    if not (found := breaking(newer, connection, in_force, unattested)):
        return
    names = ", ".join(dict.fromkeys(map(str, found)))
    if not any(item.loss for item in found):
        raise HistoryRefused(
            f"This release is older than migrations that somebody applied without the migrator: {names}.",
            "No record says what they took away, if anything; nothing was changed.",
            "Deploy a release that knows these migrations; there, 'manage.py migrate --accept-edited' records that the "
            "database has them.",
        )
    losses = "; ".join(dict.fromkeys(item.loss for item in found if item.loss))
    raise HistoryRefused(
        f"This release is older than a breaking migration: {names}.",
        f"The database no longer has, or no longer accepts, what this code may use. It could not: {losses}; "
        "nothing was changed.",
        "Deploy a release that knows these migrations, or undo them from one that does: 'manage.py rollback'.",
    )
