"""Whether an older release may go on beside a newer schema: by what was paid, not by what was applied."""

from __future__ import annotations

from collections.abc import Iterable

from rupaya.migrator.debts.debt import INDEX, VALIDATION, Debt
from rupaya.migrator.errors import HistoryRefused

Key = tuple[str, str]

_UNNOTICED = (INDEX, VALIDATION)
"""Kinds that no statement fails of."""


def breaking(unknown: Iterable[Key], paid: Iterable[Debt], contracted: Iterable[Key] = ()) -> list[tuple[Key, str]]:
    """Of the migrations that a release does not know, those that it does not survive, and what it cannot do any more.

    `paid`: `Store.paid`, debts of migrations in the history. `contracted`: migrations in force that an earlier version
    of the migrator carried out whole, as contract.
    """
    unknown = set(unknown)
    found = [(debt.key, debt.breaks) for debt in paid if debt.key in unknown and debt.kind not in _UNNOTICED]
    known = {key for key, _breaks in found}
    found += [(key, "what a contract migration took away") for key in contracted if key in unknown and key not in known]
    return found


def refuse_breaking(unknown: Iterable[Key], paid: Iterable[Debt], contracted: Iterable[Key] = ()) -> None:
    """Refuse to start where a debt was paid of a migration that this release does not know.

    Raises:
        HistoryRefused: naming the migrations, and what this code could not do any more.
    """
    found = breaking(unknown, paid, contracted)
    if not found:
        return
    names = ", ".join(dict.fromkeys(f"{app}.{name}" for (app, name), _breaks in found))
    losses = "; ".join(dict.fromkeys(breaks for _key, breaks in found))
    raise HistoryRefused(
        f"The database has migrations that this release does not know, and what was owed of them is paid: {names}.",
        f"This code could not: {losses}. Nothing was changed.",
        "Deploy a release that has these migrations, or unapply them with the release that brought them.",
    )
