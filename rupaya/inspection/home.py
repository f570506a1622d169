"""The home page's figures about rows: what came in day by day, kept for a while and never waited for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.contrib import admin
from django.db import OperationalError, connections, models, transaction
from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from psycopg2.errors import QueryCanceled

from rupaya.inspection import amounts, charts, replica
from rupaya.inspection.amounts import Direction
from rupaya.inspection.kept import Kept, NotReadYet

DAYS = 30
KEPT_S = 300.0
SHOWN_S = 3600.0
"""So long figures of before are shown while they are read anew."""
WAITED_FOR_S = 0.1
# A figure that takes longer is not shown: the page is for everybody, at any time.
STATEMENT_TIMEOUT_MS = 400


@dataclass(frozen=True)
class PerDay:
    """What of a model's rows is told by day: how many, or how much of money; an index must begin with `field`."""

    title: str
    field: str
    money_field: str = ""
    many_field: str = ""
    """Of which each row tells a number to be added up; without it, rows are counted."""
    where: tuple[tuple[str, object], ...] = ()
    empty: str = "There are none yet."


@dataclass(frozen=True)
class Card:
    """A figure with its picture."""

    title: str
    address: str
    figures: tuple[tuple[str, SafeString | str], ...] = ()
    picture: SafeString | str = ""
    first: str = ""
    last: str = ""
    note: str = ""


Day = tuple[date, int, dict[tuple[Direction, str], Decimal]]

_kept: Kept[list[Day]] = Kept(fresh_s=KEPT_S, shown_s=SHOWN_S)


def cards(request: HttpRequest) -> list[Card]:
    """Those of the models that this person may see, in the order of the navigation."""
    told = [
        (model, owner, per_day)
        for model, owner in admin.site._registry.items()
        if (per_day := getattr(owner, "per_day", None)) is not None and owner.has_view_permission(request)
    ]
    alias = replica.source(request).alias
    until = time.monotonic() + WAITED_FOR_S
    for model, owner, per_day in told:
        rows = model._base_manager.using(alias).filter(**dict(per_day.where))
        read = partial(_money if per_day.money_field else _count, rows, owner, per_day)
        _kept.begin(_key(alias, model), alias, read)
    return [_card(_key(alias, model), model, per_day, until) for model, _owner, per_day in told]


def forget() -> None:
    """Read anew whatever is asked for next."""
    _kept.forget()


def _key(alias: str, model: type[models.Model]) -> tuple[str, str]:
    return str(connections[alias].settings_dict["NAME"]), model._meta.label


def _card(key: tuple[str, str], model: type[models.Model], per_day: PerDay, until: float) -> Card:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    try:
        days = _kept.get(key, until)
    except NotReadYet:
        return Card(per_day.title, address, note="They are being added up: reload the page in a moment.")
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return Card(per_day.title, address, note="There are too many to add up for this page; the list has them.")
    if not days:
        return Card(per_day.title, address, note=per_day.empty)
    return Card(per_day.title, address, *_drawn(per_day, days))


def _bounded(rows: QuerySet[Any], per_day: PerDay) -> tuple[QuerySet[Any], date] | None:
    """The rows of the last days up to the newest, of which no later than today."""
    field = rows.model._meta.get_field(per_day.field)
    is_moment = isinstance(field, models.DateTimeField)
    now = datetime.now(UTC)
    newest = rows.filter(**{f"{per_day.field}__lte": now if is_moment else now.date()}).order_by(f"-{per_day.field}")
    found = newest.values_list(per_day.field, flat=True).first()
    if found is None:
        return None
    last = found.astimezone(UTC).date() if is_moment else found
    first = last - timedelta(days=DAYS - 1)
    edge: Any = datetime(first.year, first.month, first.day, tzinfo=UTC) if is_moment else first
    end: Any = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1) if is_moment else last
    within = {f"{per_day.field}__gte": edge, f"{per_day.field}__{'lt' if is_moment else 'lte'}": end}
    return rows.filter(**within).order_by(), last


def _count(rows: QuerySet[Any], owner: Any, per_day: PerDay) -> list[Day]:
    with _limited(rows.db):
        bounded = _bounded(rows, per_day)
        if bounded is None:
            return []
        within, last = bounded
        many = Sum(per_day.many_field) if per_day.many_field else Count("*")
        counts = dict(within.annotate(day=TruncDate(per_day.field)).values_list("day").annotate(many=many))
    return [(day, counts.get(day, 0), {}) for day in _days(last)]


def _money(rows: QuerySet[Any], owner: Any, per_day: PerDay) -> list[Day]:
    money = owner.money
    with _limited(rows.db):
        bounded = _bounded(rows, per_day)
        if bounded is None:
            return []
        within, last = bounded
        found = list(
            within.values_list(per_day.field, money.direction_field, money.currency_field).annotate(
                many=Count("*"), total=Sum(per_day.money_field)
            )
        )
    days: dict[date, Day] = {day: (day, 0, {}) for day in _days(last)}
    for day, kind, currency, many, total in found:
        _, before, sums = days[day]
        key = (money.directions.get(kind, Direction.NONE), currency)
        days[day] = (day, before + many, {**sums, key: sums.get(key, Decimal(0)) + total})
    return list(days.values())


def _days(last: date) -> list[date]:
    return [last - timedelta(days=back) for back in reversed(range(DAYS))]


@contextmanager
def _limited(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_TIMEOUT_MS)])
        yield


def _drawn(per_day: PerDay, days: list[Day]) -> tuple[Any, ...]:
    first, last = f"{days[0][0]:%d %b %Y}", f"{days[-1][0]:%d %b %Y}"
    many = sum(count for _, count, _ in days)
    if not per_day.money_field:
        columns = [charts.Bar(f"{day:%d %b}", count, f"{count:,}") for day, count, _ in days]
        described = f"{per_day.title} by day, {first} to {last}: {many:,} in all"
        return ((f"in {DAYS} days", f"{many:,}"),), charts.bars(described, columns), first, last
    totals: dict[str, Decimal] = {}
    for _, _, sums in days:
        for (_, currency), total in sums.items():
            totals[currency] = totals.get(currency, Decimal(0)) + total
    # One currency's, for sums of two mean nothing.
    currency = max(totals, key=lambda name: totals[name], default="")
    sides = {
        way: [sums.get((way, currency), Decimal(0)) for _, _, sums in days] for way in (Direction.IN, Direction.OUT)
    }
    columns = [
        charts.Bar(
            f"{day:%d %b}",
            float(came),
            f"{amounts.text(came, currency, Direction.IN)}, {amounts.text(went, currency, Direction.OUT)}",
            "in",
            float(went),
        )
        for (day, _, _), came, went in zip(days, sides[Direction.IN], sides[Direction.OUT], strict=True)
    ]
    figures = [
        (word, amounts.html(sum(sides[way], Decimal(0)), currency, way))
        for word, way in (("came in", Direction.IN), ("went out", Direction.OUT))
    ]
    others = ", ".join(sorted(set(totals) - {currency}))
    note = f"Only {currency}; there is also {others}." if others else ""
    described = f"{capfirst(per_day.title)} by day, {first} to {last}, in {currency}: income up, expenses down"
    figures.append(("transactions", f"{many:,}"))
    return tuple(figures), charts.bars(described, columns), first, last, note
