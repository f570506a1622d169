"""Which debts a text of SQL speaks of: by names alone, so rather one too many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rupaya.migrator.debts.debt import TABLE, Debt

_WORD = re.compile(r"\w+")


def mentioned(statements: Sequence[str], debts: Iterable[Debt]) -> list[Debt]:
    """Debts whose table is named in the statements, together with the column, constraint or index."""
    words = {word.lower() for statement in statements for word in _WORD.findall(statement)}
    if not words:
        return []
    return [
        debt
        for debt in debts
        if debt.table.lower() in words
        and (debt.kind == TABLE or any(name.lower() in words for name in (debt.object, *debt.columns)))
    ]
