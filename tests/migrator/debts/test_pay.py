"""Paying: nobody waits for it, it may be killed at any step and begun again, and it says so where it cannot be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psycopg2
import pytest
from django.db import DatabaseError, migrations, models
from django.db.migrations.operations.base import Operation

from rupaya.environment import BASE_DIR
from rupaya.migrator.debts import leftovers
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.pay import Limits, Payer
from rupaya.migrator.errors import sqlstate
from rupaya.migrator.schema.diff import differences
from tests.faults.migrator import query, wait_for
from tests.migrator.debts.shop import Shop, char, migration

BUNDLE: list[Operation] = [
    migrations.AddField("item", "flag", models.BooleanField(default=False)),
    migrations.AlterUniqueTogether("item", set()),
    migrations.RemoveField("item", "name"),
    migrations.DeleteModel("Legacy"),
    migrations.AlterField("item", "colour", char(20, default="red")),
    migrations.AddConstraint("item", models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c")),
    migrations.AddConstraint("item", models.UniqueConstraint(fields=["amount"], name="item_u")),
    migrations.AlterField("item", "code", char(20, unique=True)),
    migrations.AlterField("item", "big", models.IntegerField()),
    migrations.RemoveIndex("item", "item_price"),
]


def parts_of(shop: Shop) -> list[tuple[int, int]]:
    return [(debt.id or 0, number) for debt in shop.owed() for number in range(len(debt.payment))]


@pytest.mark.slow
def test_killed_after_any_part_it_goes_on_from_there(shop: Shop) -> None:
    step = migration("0002_change", *BUNDLE)
    shop.stock(step)
    stock = shop.schema()
    shop.start()
    shop.apply(step)
    new = shop.state
    every = parts_of(shop)
    assert len(every) > 15

    for debt_id, number in every:
        arguments = [sys.executable, "-m", "tests.migrator.debts.paying", str(debt_id), str(number)]
        ended = subprocess.run(
            arguments, cwd=BASE_DIR, env=os.environ | {"DATABASE_URL": shop.url}, capture_output=True, check=False
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        shop.work(new)
    shop.pay()

    assert differences(stock, shop.schema()) == []
    states = shop.sql("SELECT state, settled_run_id IS NOT NULL FROM migrator_debts GROUP BY 1, 2")
    assert states == [("paid", True)]


def test_what_is_paid_already_is_not_paid_again(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.RemoveField("item", "colour")))
    (debt,) = shop.owed()

    assert shop.payer().pay(debt)
    assert not shop.payer().pay(debt)


def test_a_table_that_is_locked_is_not_waited_for_and_paying_is_tried_again(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.RemoveField("item", "colour")))
    (debt,) = shop.owed()
    reader = psycopg2.connect(shop.url)
    with reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM shop_item")

    began = time.monotonic()
    with pytest.raises(DatabaseError) as locked:
        Payer(shop.connection, Limits(200, 5_000), run_id=2).pay(debt)
    assert sqlstate(locked.value) == "55P03"
    assert time.monotonic() - began < 1.5
    reader.close()

    assert [owed.id for owed in shop.owed()] == [debt.id]
    assert shop.sql("SHOW lock_timeout") == [("0",)]
    assert shop.payer().pay(debt)


def test_a_transaction_that_does_not_end_is_not_waited_for_without_end(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.AlterField("item", "code", char(20, unique=True))))
    (debt,) = shop.owed()
    writer = psycopg2.connect(shop.url)
    with writer.cursor() as cursor:
        cursor.execute("UPDATE shop_item SET colour = 'red'")

    with pytest.raises(DatabaseError) as locked:
        Payer(shop.connection, Limits(200, 5_000, 300), run_id=2).pay(debt)

    assert sqlstate(locked.value) == "55P03"
    writer.close()
    assert [owed.id for owed in shop.owed()] == [debt.id]
    shop.work(shop.old)
    assert shop.payer().pay(debt)


def test_rows_that_break_what_is_owed_leave_it_owed_and_hinder_nobody(shop: Shop) -> None:
    step = migration("0002_change", migrations.AlterField("item", "text", models.TextField(unique=True)))
    shop.apply(step)
    shop.sql(
        "INSERT INTO shop_item (name, code, sku, text, price, amount, big, span, maker_id) "
        "SELECT n::text, '', n::text, 'same', 1, n, 1, 'empty', max(m.id) FROM generate_series(1, 2) n, shop_maker m "
        "GROUP BY n"
    )
    (debt,) = shop.owed()

    with pytest.raises(DatabaseError) as broken:
        shop.payer().pay(debt)
    assert sqlstate(broken.value) == "23505"

    assert [owed.id for owed in shop.owed()] == [debt.id]
    assert shop.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    shop.work(shop.old)
    shop.sql("UPDATE shop_item SET text = id::text")
    assert shop.payer().pay(debt)


RULES = {
    "a CHECK": migrations.AddConstraint(
        "item", models.CheckConstraint(condition=~models.Q(colour="red"), name="item_not_red")
    ),
    "NOT NULL": migrations.AlterField("item", "colour", char(20)),
    "a foreign key": migrations.AlterField(
        "item", "loose", models.ForeignKey("shop.Maker", models.CASCADE, null=True, related_name="+")
    ),
    "unique": migrations.AlterField("item", "name", char(50, unique=True)),
}
BREAKING = {
    "a CHECK": "colour = 'red'",
    "NOT NULL": "colour = NULL",
    "a foreign key": "loose_id = 99999",
    "unique": "name = 'same'",
}


@pytest.mark.parametrize("rule", RULES)
def test_rows_that_break_a_rule_can_be_changed_after_it_could_not_be_paid(shop: Shop, rule: str) -> None:
    shop.apply(migration("0002_change", RULES[rule]))
    shop.work(shop.old)
    shop.sql(f"UPDATE shop_item SET {BREAKING[rule]}")
    before = shop.schema()
    (debt,) = shop.owed()

    with pytest.raises(DatabaseError):
        shop.payer().pay(debt)

    assert differences(before, shop.schema()) == []
    shop.sql(f"UPDATE shop_item SET code = 'changed', {BREAKING[rule]}")


@pytest.mark.parametrize("rule", RULES)
def test_what_a_payment_that_was_cut_off_made_goes_with_the_debt(shop: Shop, rule: str) -> None:
    before, step = shop.schema(), migration("0002_change", RULES[rule])
    shop.apply(step)
    (debt,) = shop.owed()
    for part in debt.payment[: -1 if rule == "a CHECK" else 1]:
        shop.sql(part["sql"][0])  # as one that is killed there
    assert leftovers.unproved(shop.connection, debt).keys() == ({debt.payment[0].get("constraint")} - {None})
    assert differences(before, shop.schema()) != []

    shop.unapply(step, shop.old)

    assert differences(before, shop.schema()) == []
    shop.work(shop.old)


def test_what_a_payment_that_was_cut_off_made_is_not_in_the_way_of_another_rule_of_its_name(shop: Shop) -> None:
    def rule(colour: str) -> models.CheckConstraint:
        return models.CheckConstraint(condition=~models.Q(colour=colour), name="item_not")

    shop.stock(migration("0002_first", migrations.AddConstraint("item", rule("red"))))
    before, between = shop.schema(), shop.state
    other = migration(
        "0003_other",
        migrations.RemoveConstraint("item", "item_not"),
        migrations.AddConstraint("item", rule("green")),
    )
    shop.apply(other)
    (debt,) = shop.owed()
    shop.sql(debt.payment[0]["sql"][0])
    last = migration("0004_last", migrations.RemoveConstraint("item", "item_not"))
    after_other = shop.state
    shop.apply(last)
    assert shop.sql("SELECT conname::text FROM pg_constraint WHERE conname = 'item_not'") == []
    shop.unapply(last, after_other)
    shop.sql(debt.payment[0]["sql"][0])

    shop.unapply(other, between)

    assert differences(before, shop.schema()) == []


def test_values_that_do_not_fit_are_never_cut(shop: Shop) -> None:
    shop.apply(migration("0002_change", migrations.AlterField("item", "text", char(5))))
    shop.sql("UPDATE shop_item SET text = 'longer than that'")
    (debt,) = shop.owed()

    with pytest.raises(DatabaseError) as broken:
        shop.payer().pay(debt)

    assert sqlstate(broken.value) == "22001"
    assert shop.sql("SELECT DISTINCT text FROM shop_item") == [("longer than that",)]


def test_rows_without_a_value_are_filled_in_batches(shop: Shop) -> None:
    shop.sql("ALTER TABLE shop_item DROP CONSTRAINT shop_item_sku_key")
    shop.sql(
        "INSERT INTO shop_item (name, code, sku, text, price, amount, big, span, maker_id) "
        "SELECT n::text, n::text, n::text, '', 1, n, 1, int4range(n, n + 1), min(m.id) "
        "FROM generate_series(1000, 6000) n, shop_maker m GROUP BY n"
    )
    shop.apply(migration("0002_change", migrations.AlterField("item", "colour", char(20, default="it's 5%"))))
    (debt,) = shop.owed()

    shop.payer().pay(debt)

    assert shop.sql("SELECT count(*) FROM shop_item WHERE colour = 'it''s 5%'")[0][0] >= 5_001
    assert shop.sql("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'migrator_owed%'") == [(0,)]


def test_traffic_goes_on_while_everything_is_applied_and_paid(shop: Shop) -> None:
    shop.sql(
        "INSERT INTO shop_item (name, code, sku, text, price, amount, big, span, maker_id) "
        "SELECT n::text, n::text, n::text, '', 1, n, 1, int4range(n, n + 1), min(m.id) "
        "FROM generate_series(1000, 21000) n, shop_maker m GROUP BY n"
    )
    stop = threading.Event()
    slowest, failures, statements = [0.0], [], [0]
    new_statement = (
        "INSERT INTO shop_item (code, sku, text, price, amount, big, span, maker_id, flag, colour) "
        "SELECT 'n' || nextval('counter'), 'n' || currval('counter'), '', 1, currval('counter'), 1, 'empty', "
        "min(id), true, 'blue' FROM shop_maker"
    )
    old_statement = (
        "INSERT INTO shop_item (name, code, sku, text, price, amount, big, span, maker_id) "
        "SELECT 'o', 'o' || nextval('counter'), 'o' || currval('counter'), '', 1, currval('counter'), 1, 'empty', "
        "min(id) FROM shop_maker"
    )
    shop.sql("CREATE SEQUENCE counter START 100000")
    sent: list[list[str]] = [[old_statement, "SELECT count(*) FROM shop_legacy", "SELECT name FROM shop_item LIMIT 5"]]

    taken: dict[int, list[str]] = {}

    def traffic() -> None:
        connection: Any = psycopg2.connect(shop.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not stop.is_set():
                taken[threading.get_ident()] = sent[0]
                for sql in taken[threading.get_ident()]:
                    began = time.monotonic()
                    try:
                        cursor.execute(sql)
                    except psycopg2.Error as error:
                        failures.append(f"{sql}: {error}")
                        stop.set()
                    slowest[0] = max(slowest[0], time.monotonic() - began)
                    statements[0] += 1
        connection.close()

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        shop.apply(migration("0002_change", *BUNDLE))
        seen = statements[0]
        sent[0] = [*sent[0], new_statement, "SELECT flag FROM shop_item LIMIT 5"]
        wait_for(lambda: statements[0] > seen + 50 or failures, "both codes' statements")
        sent[0] = [new_statement, "SELECT flag FROM shop_item LIMIT 5"]
        wait_for(lambda: all(each is sent[0] for each in taken.values()) or failures, "the end of old code")
        for debt in shop.owed():
            _pay_with_retries(shop, debt)
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert failures == []
    assert shop.owed() == []
    assert slowest[0] < 1.5
    assert query(shop.url, "SELECT count(*) > 20000 FROM shop_item") == [(True,)]


def _pay_with_retries(shop: Shop, debt: Debt) -> None:
    for _ in range(50):
        try:
            Payer(shop.connection, Limits(500, 5_000), run_id=2).pay(debt)
        except DatabaseError as error:
            if sqlstate(error) not in ("55P03", "40P01"):
                raise
        else:
            return
    raise AssertionError(f"{debt} could not be paid")


def test_what_new_code_wrote_does_not_keep_a_removal_from_being_unapplied(shop: Shop) -> None:
    step = migration("0002_change", migrations.RemoveField("item", "maker"), migrations.DeleteModel("Legacy"))
    shop.apply(step)
    shop.work(shop.state)  # rows without a maker, and legacies whose maker is gone
    shop.sql("UPDATE shop_legacy SET maker_id = 4711")

    shop.unapply(step, shop.old)

    assert shop.owed() == []
    assert [warning.partition(":")[0].partition(" (")[0] for warning in shop.owing.warnings] == ["shop.0002_change"] * 2
    assert "Legacy" in shop.owing.warnings[0]
    assert "SET NOT NULL" in shop.owing.warnings[1]
