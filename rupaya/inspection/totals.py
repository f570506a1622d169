"""What the rows of a list add up to, where that is known at once."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import QuerySet, Sum
from django.utils.safestring import SafeString
from psycopg2.errors import QueryCanceled

from rupaya.inspection import amounts
from rupaya.inspection.amounts import Direction
from rupaya.inspection.columns import Money
from rupaya.inspection.counting import Count

MANY = 20_000
STATEMENT_TIMEOUT_MS = 200


def totals(rows: QuerySet[Any], count: Count, field: str, money: Money) -> list[SafeString | str] | None:
    """The sums by direction and currency; None where there are too many rows to add up within 200 ms."""
    if count.number > MANY:
        return None
    by = [name for name in (money.direction_field, money.currency_field) if name]
    try:
        # Within the page's transaction: its own limit is put back.
        with transaction.atomic(using=rows.db), connections[rows.db].cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout')")
            (before,) = cursor.fetchone()
            _limit(cursor, str(STATEMENT_TIMEOUT_MS))
            found = list(rows.order_by().select_related(None).values(*by).annotate(total=Sum(field)))
            _limit(cursor, before)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            return None
        raise
    sums = []
    for row in sorted(found, key=lambda row: [str(row[name]) for name in by]):
        direction = money.directions.get(row.get(money.direction_field, ""), Direction.NONE)
        sums.append(amounts.html(row["total"], row[money.currency_field], direction))
    return sums


def _limit(cursor: Any, timeout: str) -> None:
    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [timeout])
