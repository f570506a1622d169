"""What is removed is put away and comes back with its rows; what is made and rolled back is not lost either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.db import migrations, models, transaction

from rupaya.environment import BASE_DIR
from rupaya.migrator.attic.account import account
from rupaya.migrator.attic.item import PAID, SCHEMA, UNAPPLIED, Item
from rupaya.migrator.attic.putting import PuttingAway
from rupaya.migrator.attic.returning import Returning
from rupaya.migrator.attic.store import Store
from rupaya.migrator.errors import MigrationFailed
from rupaya.migrator.schema.diff import differences
from tests.migrator.debts.shop import Shop, char, migration


def kept(shop: Shop) -> list[str]:
    return [item.label for item in Store(shop.connection).kept()]


def rows(shop: Shop, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    return shop.sql(f"SELECT {columns} FROM {table} ORDER BY id")


REMOVE_NAME = migrations.RemoveField("item", "name")


def without_name() -> migrations.Migration:
    return migration("0002_remove", migrations.AlterUniqueTogether("item", set()), REMOVE_NAME)


@pytest.mark.parametrize(("column", "meanwhile"), [("name", None), ("status", "new")])
def test_a_removed_column_is_put_away_and_comes_back_with_its_values(
    shop: Shop, column: str, meanwhile: str | None
) -> None:
    """Rows that were written meanwhile get what code that knows it would have written, where anybody knows that."""
    before, schema, state = dict(rows(shop, "shop_item", f"id, {column}")), shop.schema(), shop.state
    step = migration(
        "0002_remove", migrations.AlterUniqueTogether("item", set()), migrations.RemoveField("item", column)
    )
    shop.apply(step)
    shop.pay()
    assert kept(shop) == [f"shop_item.{column}"]
    assert column not in shop.schema()["relations"]["shop_item"]["columns"]
    shop.work(shop.state)
    assert len(rows(shop, "shop_item")) > len(before)

    (item,) = Store(shop.connection).kept()
    assert f"{len(before)} rows" in account(shop.connection, item)
    assert bool(Returning(shop.connection, run_id=3).prepare(item)) == (meanwhile is not None)
    shop.unapply(step, state)

    after = dict(rows(shop, "shop_item", f"id, {column}"))
    assert {key: after[key] for key in before if key in after} == {k: v for k, v in before.items() if k in after}
    assert {value for key, value in after.items() if key not in before} == {meanwhile}
    assert kept(shop) == []
    if meanwhile is None:
        assert any("SET NOT NULL" in warning for warning in shop.owing.warnings)
        shop.sql("UPDATE shop_item SET name = 'n' || id WHERE name IS NULL")
        shop.sql("ALTER TABLE shop_item ALTER name SET NOT NULL")
    assert differences(shop.schema(), schema) == []
    shop.work(shop.old)


def test_a_removed_table_is_put_away_with_all_that_hangs_on_it_and_comes_back(shop: Shop) -> None:
    before, schema, state = rows(shop, "shop_legacy"), shop.schema(), shop.state
    step = migration("0002_delete", migrations.DeleteModel("Legacy"))
    shop.apply(step)
    shop.pay()
    assert kept(shop) == ["shop_legacy_tags", "shop_legacy"]
    assert shop.sql(f"SELECT count(*) FROM pg_tables WHERE schemaname = '{SCHEMA}'") == [(2,)]
    shop.work(shop.state)
    shop.sql("CREATE TABLE shop_legacy (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")  # no name is in the way
    shop.sql("DROP TABLE shop_legacy")

    shop.unapply(step, state)

    assert rows(shop, "shop_legacy") == before
    assert differences(shop.schema(), schema) == []
    shop.work(shop.old)


ADD = migration("0002_add", migrations.AddField("item", "mood", char(20, default="calm")), migrations.CreateModel(
    "Note", [("id", models.BigAutoField(primary_key=True)), ("item", models.ForeignKey("shop.Item", models.CASCADE))],
))  # fmt: skip


def test_what_people_wrote_into_a_column_that_is_rolled_back_comes_back_when_it_is_applied_again(shop: Shop) -> None:
    state = shop.state
    shop.apply(ADD)
    new = shop.state
    shop.sql("UPDATE shop_item SET mood = 'merry ' || id")
    shop.sql("INSERT INTO shop_note (item_id) SELECT id FROM shop_item")
    written, noted, schema = rows(shop, "shop_item", "id, mood"), rows(shop, "shop_note"), shop.schema()

    shop.unapply(ADD, state)
    assert sorted(kept(shop)) == ["shop_item.mood", "shop_note"]
    shop.work(shop.old)
    shop.apply(ADD)

    now = dict(rows(shop, "shop_item", "id, mood"))
    assert {key: now[key] for key, _value in written if key in now} == {k: v for k, v in written if k in now}
    assert {value for key, value in now.items() if key not in dict(written)} <= {"calm"}
    assert rows(shop, "shop_note") == [row for row in noted if row[1] in now] or rows(shop, "shop_note") == noted
    assert kept(shop) == []
    assert differences(shop.schema(), schema) == []
    shop.work(new)
    shop.work(shop.old)


def test_one_that_was_edited_meanwhile_is_made_anew_and_the_old_one_stays(shop: Shop) -> None:
    state = shop.state
    shop.apply(ADD)
    shop.unapply(ADD, state)
    shop.apply(migration("0002_add", migrations.AddField("item", "mood", models.IntegerField(default=1))))
    assert "shop_item.mood" in kept(shop)
    assert {value for (value,) in shop.sql("SELECT mood FROM shop_item")} == {1}


def test_put_away_brought_back_and_put_away_again(shop: Shop) -> None:
    before, state = rows(shop, "shop_item", "id, name"), shop.state
    step = without_name()
    for _round in range(3):
        shop.apply(step)
        shop.pay()
        shop.unapply(step, state)
    assert rows(shop, "shop_item", "id, name") == before
    assert kept(shop) == []


def test_forget_drops_for_good(shop: Shop) -> None:
    shop.apply(migration("0002_remove", migrations.AlterUniqueTogether("item", set()), REMOVE_NAME, forget=True))
    shop.pay()
    assert kept(shop) == []
    assert shop.sql("SELECT count(*) FROM pg_attribute WHERE attname LIKE 'migrator_attic%'") == [(0,)]


def put_away(shop: Shop, table: str, column: str = "") -> None:
    item = Item(table, column, "shop", "0002_x", PAID)
    putting = PuttingAway(shop.connection, run_id=1, release="new")
    with transaction.atomic(using=shop.connection.alias):
        putting.column(item) if column else putting.table(item)


@pytest.mark.parametrize(
    ("sql", "table", "column", "named"),
    [
        ("CREATE VIEW seen AS SELECT id, colour FROM shop_item", "shop_item", "colour", "seen"),
        ("CREATE VIEW seen AS SELECT * FROM shop_legacy", "shop_legacy", "", "seen"),
        (
            "ALTER TABLE shop_item ADD n int GENERATED ALWAYS AS (amount + 1) STORED",
            "shop_item",
            "amount",
            "depends on",
        ),
        ("ALTER TABLE shop_item ADD n int GENERATED ALWAYS AS IDENTITY", "shop_item", "n", "identity"),
        ("SELECT 1", "shop_item", "id", "primary key"),
        ("CREATE TABLE p (id int, d date) PARTITION BY RANGE (d)", "p", "", "partitioned"),
        ("CREATE PUBLICATION told FOR TABLE shop_item (id, colour)", "shop_item", "colour", "publication told"),
    ],
)
def test_what_cannot_be_put_away_is_refused_with_the_reason(
    shop: Shop, sql: str, table: str, column: str, named: str
) -> None:
    shop.sql(sql)
    before = shop.schema()
    with pytest.raises(MigrationFailed, match=named):
        put_away(shop, table, column)
    assert shop.schema() == before
    assert kept(shop) == []
    shop.sql("DROP PUBLICATION IF EXISTS told")


def test_constraints_that_would_refuse_living_rows_go_and_come_back(shop: Shop) -> None:
    shop.sql("ALTER TABLE shop_item ADD CONSTRAINT one CHECK (num_nonnulls(colour, text) = 2 OR colour IS NULL)")
    shop.sql("CREATE UNIQUE INDEX strict ON shop_item (colour, sku) NULLS NOT DISTINCT")
    shop.sql("ALTER TABLE shop_maker ADD CONSTRAINT maker_name UNIQUE (name, id)")
    schema = shop.schema()
    put_away(shop, "shop_item", "colour")
    assert "one" not in str(shop.schema()["relations"]["shop_item"]["constraints"])
    (item,) = Store(shop.connection).kept()
    with transaction.atomic(using=shop.connection.alias):
        assert Returning(shop.connection, run_id=None).bring_back(item) == []
    assert differences(shop.schema(), schema) == []


def test_the_command_lists_restores_and_purges(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    put_away(shop, "shop_item", "colour")
    put_away(shop, "shop_legacy_tags")
    from django.db import connections

    default = connections["default"]
    connections["default"] = shop.connection  # the command works on the default database
    try:
        call_command("attic")
        assert "shop_item.colour" in capsys.readouterr().out
        call_command("attic", "restore", "shop_item.colour")
        assert "colour" in shop.schema()["relations"]["shop_item"]["columns"]
        call_command("attic", "purge", "--older-than", "30d")
        assert "Nothing in the attic is that old" in capsys.readouterr().out
        call_command("attic", "purge", "--older-than", "0d")
    finally:
        connections["default"] = default
    assert "gone for good" in capsys.readouterr().out
    assert kept(shop) == []
    assert shop.sql("SELECT state FROM migrator_attic ORDER BY attic_id") == [("returned",), ("purged",)]


def test_killed_after_any_statement_all_is_as_before_or_done(shop: Shop, database_url: str) -> None:
    """A table with foreign keys both ways, and a column."""
    shop.apply(migration("0002_remove", migrations.DeleteModel("Legacy"), migrations.RemoveField("item", "colour")))
    environ = os.environ | {"DATABASE_URL": database_url}
    step, survived = 0, False
    while not survived:
        step += 7
        command = [sys.executable, "-m", "tests.migrator.attic.killed", str(step)]
        ended = subprocess.run(command, cwd=BASE_DIR, env=environ, capture_output=True, check=False)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr.decode()
        survived = ended.returncode == 0
        there = {table for (table,) in shop.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        owed = {debt.object for debt in shop.owed()}
        assert {name for name in ("shop_legacy", "shop_legacy_tags") if name in there} == owed - {"colour"}
        assert set(kept(shop)) & owed == set()
        assert len(kept(shop)) + len(owed) == 3
        shop.work(shop.state)
    assert sorted(kept(shop)) == ["shop_item.colour", "shop_legacy", "shop_legacy_tags"]


def test_reasons_are_told_apart(shop: Shop) -> None:
    state = shop.state
    shop.apply(ADD)
    shop.unapply(ADD, state)
    assert {item.reason for item in Store(shop.connection).kept()} == {UNAPPLIED}


def test_within_the_window_nothing_is_due(shop: Shop) -> None:
    shop.apply(without_name())
    assert shop.store.due((), after_h=24) == []
    shop.sql("UPDATE migrator_debts SET owed_at = now() - interval '25 hours'")
    assert [debt.object for debt in shop.store.due((), after_h=24)] == ["name"]
