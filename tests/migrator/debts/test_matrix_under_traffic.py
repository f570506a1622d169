"""Each row of the table of debts, alone and in bundles, while both releases' code is at work: the proof of debts.

Before, after `migrate`, after it was unapplied and applied again, after `migrate --contract`, and after unapplying
that: no statement fails, none waits for long, and no row is another one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from rupaya.migrator.debts.owing import Owing
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, char, migration
from tests.migrator.debts.test_matrix import CASES, Case, change
from tests.migrator.debts.traffic import Traffic, patiently

ROWS = 5_000
# For `make test`; all of them, and bundles, are `make debts-test`.
SAMPLE = ("a unique field", "everything of one release")


def of_one(operation: Operation) -> set[str]:
    """What an operation is about, so that two of a bundle are not about the same."""
    names = [getattr(operation, name, None) for name in ("name", "old_name", "new_name")]
    inner = getattr(operation, "constraint", None) or getattr(operation, "index", None)
    condition = re.findall(r"'(\w+?)(?:__\w+)?'", repr(getattr(inner, "condition", "")))
    expressions = re.findall(r"F\((\w+)\)", repr(getattr(inner, "expressions", "")))
    fields = [*getattr(inner, "fields", ()), getattr(inner, "name", None), *condition, *expressions]
    together = [name for group in getattr(operation, "unique_together", ()) for name in group]
    whole = ["unique_together"] if hasattr(operation, "unique_together") else []
    return {str(name) for name in (*names, *fields, *together, *whole) if name}


def bundled(cases: Sequence[Case]) -> list[Case]:
    """All of them, as many at once as are not about the same."""
    bundles: list[tuple[Case, set[str]]] = []
    for case in cases:
        about = set().union(*(of_one(operation) for operation in case.operations))
        for place, (bundle, taken) in enumerate(bundles):
            if taken.isdisjoint(about) and len(bundle.operations) < 12:
                both = Case(f"{bundle.name}; {case.name}", [*bundle.operations, *case.operations], [])
                bundles[place] = both, taken | about
                break
        else:
            bundles.append((case, about))
    return [bundle for bundle, _taken in bundles]


ALONE = [pytest.param(case, id=case.name, marks=() if case.name in SAMPLE else pytest.mark.debts) for case in CASES]
ATOMIC = [case for case in CASES if case.atomic and len(case.operations) == 1 and "model less" not in case.name]
BUNDLES = [
    pytest.param(case, id=f"bundle {number}", marks=pytest.mark.debts) for number, case in enumerate(bundled(ATOMIC))
]


@pytest.mark.parametrize("case", [*ALONE, *BUNDLES])
def test_both_codes_go_on_at_every_point(case: Case, shop: Shop) -> None:
    step, traffic = change(case), Traffic(shop)
    fill(shop)
    before = rows(shop)

    with traffic.of(old=shop.old):
        patiently(shop, lambda: shop.apply(step))
    assert rows(shop, like=before) == before
    with traffic.of(old=shop.old, new=shop.state):
        pass
    with traffic.of(old=shop.old):
        patiently(shop, lambda: shop.unapply(step, shop.old))
    assert shop.owed() == []
    assert rows(shop, like=before) == before
    with traffic.of(old=shop.old):
        patiently(shop, lambda: shop.apply(step))
    with traffic.of(old=shop.old, new=shop.state):
        pass
    with traffic.of(new=shop.state):
        for debt in shop.owed():
            patiently(shop, lambda debt=debt: shop.payer_within_a_lock_timeout().pay(debt))  # type: ignore[misc]
    assert shop.owed() == []
    assert rows(shop, like=before) == before
    shop.empty()  # Django's own way back knows no values for what was removed
    patiently(shop, lambda: shop.unapply(step, shop.old))
    with traffic.of(old=shop.old):
        pass


def fill(shop: Shop) -> None:
    """Rows that have to be read, and would be written anew."""
    shop.sql(
        "INSERT INTO shop_item (name, code, sku, text, price, amount, big, span, colour, maker_id) "
        "SELECT 'n' || n, 'n' || n, 'n' || n, '', 1, 1000000 + n, 1, int4range(-n * 10, -n * 10 + 5), 'c' || n, "
        f"min(m.id) FROM generate_series(1, {ROWS}) n, shop_maker m GROUP BY n"
    )
    shop.sql("ANALYZE")


def rows(shop: Shop, like: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """What is in some of the rows, each as far as it has the columns that one had before."""
    there = {
        name
        for (name,) in shop.sql(
            "SELECT attname FROM pg_attribute "
            "WHERE attrelid = 'shop_item'::regclass AND attnum > 0 AND NOT attisdropped"
        )
    }
    known = list(like[0]) if like else sorted(there)
    names = ", ".join(f'"{name}"' if name in there else f"NULL AS {name}" for name in known)
    found = shop.sql(f"SELECT {names} FROM shop_item ORDER BY id LIMIT {ROWS}")
    return [
        {
            name: (like[number][name] if like and name not in there else _plain(value))
            for name, value in zip(known, row, strict=True)
        }
        for number, row in enumerate(found)
    ]


def _plain(value: Any) -> Any:
    return value.normalize() if isinstance(value, Decimal) else value


RELEASES = (
    [
        migrations.AddField("item", "flag", models.BooleanField(default=False)),
        migrations.RemoveField("item", "colour"),
        migrations.AlterField("item", "code", char(20, unique=True)),
        migrations.AlterField("item", "big", models.IntegerField()),
        migrations.RemoveIndex("item", "item_price"),
    ],
    [
        migrations.AlterField("item", "flag", models.BooleanField(default=True)),
        migrations.AlterField("item", "code", char(15, unique=True)),
        migrations.AlterField("item", "big", models.SmallIntegerField()),
        migrations.AlterField("item", "status", char(10, default="new")),
        migrations.RemoveField("item", "tags"),
        migrations.AddConstraint("item", models.CheckConstraint(condition=models.Q(amount__gt=-1), name="item_c")),
    ],
    [
        migrations.RemoveField("item", "flag"),
        migrations.RemoveConstraint("item", "item_c"),
        migrations.DeleteModel("Legacy"),
        migrations.AlterField("item", "code", char(10)),
        migrations.AddField("item", "motto", char(20, default="none")),
    ],
)


@pytest.mark.slow
def test_three_releases_one_after_another_are_each_served_beside_the_last_with_nothing_paid(shop: Shop) -> None:
    steps = [migration(f"000{number}_release", *operations) for number, operations in enumerate(RELEASES, 2)]
    for step in steps:
        shop.stock(step)
    stock = shop.schema()
    shop.start()
    fill(shop)
    traffic, before, states = Traffic(shop), rows(shop), [shop.old]

    for step in steps:
        assert shop.forecast(step).pay_first == {}
        shop.owing = Owing(shop.connection, run_id=1, release=step.name)  # a run of its own, to which nothing is fresh
        with traffic.of(old=states[-1]):
            patiently(shop, lambda step=step: shop.apply(step))  # type: ignore[misc]
        states.append(shop.state)
        # Nothing was paid: the first release could still be rolled back to.
        with traffic.of(oldest=states[0], old=states[-2], new=states[-1]):
            pass
        assert rows(shop, like=before) == before
    assert {debt.migration for debt in shop.owed()} == {"0002_release", "0003_release", "0004_release"}

    with traffic.of(new=shop.state):
        for debt in shop.owed():
            patiently(shop, lambda debt=debt: shop.payer_within_a_lock_timeout().pay(debt))  # type: ignore[misc]

    assert differences(stock, shop.schema()) == []
    assert rows(shop, like=before) == before
