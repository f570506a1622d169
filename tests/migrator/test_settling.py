"""What a run may pay, take back and begin, by what is in use, in the attic and in the rows: rules in this process."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.migrations.migration import Migration

from rupaya.migrator.attic.item import COLUMN as COLUMN_ITEM
from rupaya.migrator.attic.item import DEBT, ROLLBACK, Item, Origin
from rupaya.migrator.debts.debt import COLUMN, DEFAULT, INDEX, NOT_NULL, TABLE, UNIQUE, Debt
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.foresight.liverows import Answer
from rupaya.migrator.foresight.look import Look, RowFinding
from rupaya.migrator.foresight.presumption import Presumption
from rupaya.migrator.foresight.use import Use
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.reopening import _can, _item_of
from rupaya.migrator.run.rowsahead import RowsAhead
from rupaya.migrator.run.stillused import apart_by_use, refuse_used
from rupaya.migrator.run.tidying import age


def debt(kind: str, name: str = "colour", number: int | None = None, **details: Any) -> Debt:
    return Debt("shop", "0002_remove", "0", f"Remove {name}", kind, "shop_item", name, [], "", details, id=number)


def item(name: str = "colour", *, reason: str = DEBT, migration: str = "0002_remove", table: str = "shop_item") -> Item:
    return Item(COLUMN_ITEM, table, name, Origin("shop", migration, reason, "v2", 1))


@pytest.mark.parametrize(
    ("owed", "kept", "can"),
    [
        (debt(COLUMN), True, True),
        (debt(COLUMN), False, False),
        (debt(TABLE), True, True),
        (debt(TABLE), False, False),
        (debt(COLUMN, default_then="now()"), True, False),
        (debt(NOT_NULL), False, True),
        (debt(DEFAULT, keep="ALTER TABLE"), False, True),
        (debt(DEFAULT), False, False),
        (debt(UNIQUE), False, False),
    ],
)
def test_what_was_paid_can_be_taken_back_where_it_is_known_how_it_was(owed: Debt, kept: bool, can: bool) -> None:
    assert _can(owed, item() if kept else None) is can


def test_what_was_put_away_last_for_a_debt_is_what_comes_back() -> None:
    first, last = item(), item()
    others = [item("size"), item(reason=ROLLBACK), item(migration="0003_more"), item(table="shop_note")]

    assert _item_of(debt(COLUMN), [first, last, *others]) is last
    assert _item_of(debt(COLUMN), others) is None


# This server counts no calls, so nobody can say whether what goes is in use.


def kept_reasons(context: RunContext) -> list[tuple[Any, ...]]:
    with context.ledger.connection.cursor() as cursor:
        cursor.execute("SELECT debt_id, reason, evidence ->> 0 FROM migrator_paid_in_use")
        return list(cursor.fetchall())


def test_what_may_be_in_use_is_apart_unless_told_otherwise(context: RunContext, said: io.StringIO) -> None:
    with context.ledger.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks, "
            "release, run_id) VALUES ('shop', '0002_remove', '0', '', 'column', 'shop_item', 'colour', '[]', '', 'v2', "
            "1) RETURNING debt_id"
        )
        ((number,),) = cursor.fetchall()
    column, index = debt(COLUMN, number=number), debt(INDEX, "by_colour", number=99)
    assert apart_by_use(context, [index], reason="") == ([index], [])

    def apart(on_use: str, reason: str = "") -> tuple[list[Debt], list[str], str]:
        said.truncate(said.seek(0))
        context.conf = replace(context.conf, on_use=on_use)
        paid, used = apart_by_use(context, [index, column], reason=reason)
        return paid, [use.answer for use in used], said.getvalue().partition(": ")[2].partition(": ")[2]

    paid, used, told = apart("refuse")
    assert (paid, used) == ([index], ["cannot say"])
    assert told.startswith("cannot say: ")
    assert apart("warn") == ([index, column], [], "")
    assert kept_reasons(context) == []
    assert apart("warn", "the job is off")[:2] == ([index, column], [])
    assert apart("refuse", "the job is off")[:2] == ([index, column], [])
    assert kept_reasons(context) == [(number, "the job is off", "cannot say")]


def test_what_is_not_paid_for_its_use_is_refused_at_the_end() -> None:
    refuse_used([])
    with pytest.raises(HistoryRefused, match="in use: nightly"):
        refuse_used([Use(debt(COLUMN), "in use", ("nightly",))])


def ahead(context: RunContext, *findings: RowFinding) -> RowsAhead:
    found = RowsAhead(context.connection, [], [], budget_s=1)
    found.found = Look(findings=findings)
    return found


def finding(migration: str, count: int | None, took_s: float = 0.0, **said: bool) -> RowFinding:
    presumed = Presumption("not null", "shop_item", "colour", ("colour",))
    return RowFinding(migration, Answer(presumed, count, took_s=took_s), **said)


def test_what_stops_a_migration_and_how_long_it_may_take_is_its_own(context: RunContext) -> None:
    rows = ahead(
        context,
        finding("shop.0002_pay", 0, 0.75),
        finding("shop.0002_pay", None, 0.5),
        finding("shop.0003_more", 2, 0.9),
        finding("shop.0004_later", 3, may_be_fixed=True),
        finding("shop.0004_later", 3, is_owed=True),
    )
    second, third, fourth = (Migration(name, "shop") for name in ("0002_pay", "0003_more", "0004_later"))

    assert (rows.took_s(second), rows.took_s(third), rows.took_s(fourth)) == (1.2, None, None)
    failure = rows.failure(third)
    assert failure is not None
    assert failure.happened.startswith("shop.0003_more was not begun, for rows are in its way")
    assert rows.failure(second) is None
    assert rows.failure(fourth) is None


@pytest.mark.parametrize(
    ("text", "hours"), [("30d", 720), ("1d", 24), (" 12 h ", 12), ("0h", 0), ("12", None), ("d", None), ("1d2h", None)]
)
def test_an_age_is_days_or_hours(text: str, hours: int | None) -> None:
    if hours is None:
        with pytest.raises(ValueError, match="is no age: write 30d for days or 12h for hours"):
            age(text)
    else:
        assert age(text) == timedelta(hours=hours)
