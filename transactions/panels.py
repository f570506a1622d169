"""A person's money on their page: by month, by category, against their budgets, and the newest of it."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from rupaya.inspection import amounts, charts
from rupaya.inspection.amounts import Direction
from rupaya.inspection.panels import Panel, register
from transactions.models import BudgetProgress, MonthlyExpenseSummary, MonthlyIncomeSummary, Transaction

MONTHS = 12
MOST = 8
PERSON = settings.AUTH_USER_MODEL


@register(PERSON, "By month")
def by_month(request: HttpRequest, person: Any) -> Panel | None:
    """Income up, expenses down, in the currency of which there is most."""
    alias = person._state.db
    sums: dict[tuple[str, date], dict[Direction, Decimal]] = defaultdict(dict)
    for model, way in ((MonthlyIncomeSummary, Direction.IN), (MonthlyExpenseSummary, Direction.OUT)):
        if not _may_see(request, model):
            return None
        rows = model._base_manager.using(alias).filter(user=person.pk).order_by()
        for currency, month, total in rows.values_list("currency", "month").annotate(total=Sum("total_amount")):
            sums[currency, month][way] = total
    currency = _main(sums)
    if currency is None:
        return None
    newest = max(month for other, month in sums if other == currency)
    months = _months(newest)
    columns = []
    for month in months:
        came, went = (sums[currency, month].get(way, Decimal(0)) for way in (Direction.IN, Direction.OUT))
        said = f"{amounts.text(came, currency, Direction.IN)}, {amounts.text(went, currency, Direction.OUT)}"
        columns.append(charts.Bar(f"{month:%B %Y}", float(came), said, "in", float(went)))
    first, last = f"{months[0]:%b %Y}", f"{months[-1]:%b %Y}"
    return Panel(
        "By month",
        f"{reverse('admin:transactions_monthlyexpensesummary_changelist')}?q={person.pk}",
        picture=charts.bars(f"By month, {first} to {last}, in {currency}: income up, expenses down", columns),
        first=first,
        last=last,
        lines=tuple(
            (
                ("", f"{month:%B %Y}"),
                *(
                    (
                        "number",
                        amounts.html(sums[currency, month][way], currency, way) if way in sums[currency, month] else "",
                    )
                    for way in (Direction.IN, Direction.OUT)
                ),
            )
            for month in reversed(months[-3:])
        ),
        headings=(("", "Month"), ("number", "Came in"), ("number", "Went out")),
    )


@register(PERSON, "What it went on")
def by_category(request: HttpRequest, person: Any) -> Panel | None:
    """The categories of the last three months that have anything, the biggest first."""
    if not _may_see(request, MonthlyExpenseSummary):
        return None
    rows = MonthlyExpenseSummary._base_manager.using(person._state.db).filter(user=person.pk)
    found = list(rows.order_by().values_list("month", "currency", "category", "category_name", "total_amount"))
    if not found:
        return None
    since = _months(max(month for month, *_ in found))[-3]
    totals: dict[tuple[str, Any, str], Decimal] = defaultdict(Decimal)
    for month, currency, category, name, total in found:
        if month >= since:
            totals[currency, category, name or "without a category"] += total
    biggest = sorted(totals.items(), key=lambda item: -item[1])[:MOST]
    most = float(biggest[0][1])
    lines = []
    for (currency, category, name), total in biggest:
        address = f"{reverse('admin:transactions_transaction_changelist')}?user__id__exact={person.pk}"
        shown = format_html('<a href="{}&category__id__exact={}">{}</a>', address, category, name) if category else name
        figure = amounts.html(total, currency, Direction.OUT)
        lines.append((("", shown), ("bar", charts.length(float(total) / most)), ("number", figure)))
    headings = (("", "Category"), ("bar", "Share"), ("number", "Spent"))
    return Panel("What it went on", lines=tuple(lines), headings=headings, note=f"Since {since:%B %Y}.")


@register(PERSON, "Budgets")
def budgets(request: HttpRequest, person: Any) -> Panel | None:
    """How much of each is spent, against the threshold."""
    if not _may_see(request, BudgetProgress):
        return None
    rows = BudgetProgress._base_manager.using(person._state.db).filter(user=person.pk).select_related("budget")
    found = sorted(rows[:50], key=lambda row: -row.percent_used)[:MOST]
    if not found:
        return None
    lines = tuple(
        (
            ("", row.name or f"{row.budget.get_period_display()} budget"),
            ("bar", charts.share(float(row.percent_used), float(row.budget.alert_threshold))),
            ("number", amounts.html(row.amount, row.currency)),
        )
        for row in found
    )
    address = f"{reverse('admin:transactions_budgetprogress_changelist')}?q={person.pk}"
    return Panel("Budgets", address, lines=lines, headings=(("", "Budget"), ("bar", "Used"), ("number", "Of")))


@register(PERSON, "Last transactions")
def last_transactions(request: HttpRequest, person: Any) -> Panel | None:
    """The newest, each with the way to it."""
    if not _may_see(request, Transaction):
        return None
    rows = Transaction._base_manager.using(person._state.db).filter(user=person.pk).select_related("category")
    owner: Any = admin.site._registry[Transaction]
    lines = []
    for row in rows.order_by("-transaction_date", "-pk")[:MOST]:
        way = owner.money.direction(row)
        address = reverse("admin:transactions_transaction_change", args=(row.pk,))
        lines.append(
            (
                ("", format_html('<a href="{}">{}</a>', address, row.transaction_date)),
                ("", row.merchant or (row.category.name if row.category else row.get_transaction_type_display())),
                ("number", amounts.html(row.amount, row.currency, way)),
            )
        )
    if not lines:
        return None
    address = f"{reverse('admin:transactions_transaction_changelist')}?user__id__exact={person.pk}"
    return Panel(
        "Last transactions",
        address,
        lines=tuple(lines),
        headings=(("", "Day"), ("", "Merchant or category"), ("number", "Amount")),
    )


def _may_see(request: HttpRequest, model: Any) -> bool:
    return bool(admin.site._registry[model].has_view_permission(request))


def _main(sums: dict[tuple[str, date], dict[Direction, Decimal]]) -> str | None:
    """The currency of which there is most; sums of two mean nothing together."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for (currency, _), ways in sums.items():
        totals[currency] += sum(ways.values(), Decimal(0))
    return max(totals, key=lambda currency: totals[currency], default=None)


def _months(newest: date) -> list[date]:
    """So many months up to that one, by their first days."""
    last = newest.year * 12 + newest.month - 1
    return [date(number // 12, number % 12 + 1, 1) for number in range(last - MONTHS + 1, last + 1)]
