"""The SQL of a schema before and after, side by side."""

from __future__ import annotations

from typing import Any

from rupaya.migrator.schema.catalog import CATEGORIES
from rupaya.migrator.schema.dump import draw
from rupaya.story.ddl import Row, against_text, counted, sides


def catalog(**tables: Any) -> dict[str, dict[str, Any]]:
    return {category: {} for category in CATEGORIES} | {"relations": tables}


def table(columns: list[str], *, owner: str = "rupaya", **parts: Any) -> dict[str, Any]:
    return {
        "kind": "table",
        "owner": owner,
        "columns": {
            name: {"position": position, "type": "integer", "nullable": True}
            for position, name in enumerate(columns, 1)
        },
        "constraints": {},
        "indexes": {},
        "triggers": {},
        **parts,
    }


def test_a_column_that_is_new_stands_at_its_place_and_the_rest_is_folded() -> None:
    columns = [f"column_{number:02}" for number in range(20)]
    old, new = catalog(wallet=table(columns)), catalog(wallet=table([*columns[:10], "added", *columns[10:]]))

    (side,) = sides(old, new)

    assert (side.kind, side.name, side.how, side.added, side.removed) == ("table", "wallet", "changed", 1, 0)
    assert side.rows[0] == Row("same", "CREATE TABLE wallet (", "CREATE TABLE wallet (")
    assert Row("added", "", "    added integer,") in side.rows
    assert [row.old for row in side.rows if row.kind == "gap"] == [
        "8 lines that are the same",
        "9 lines that are the same",
    ]


def test_what_jsonb_has_put_into_another_order_is_no_difference() -> None:
    one = table(["a", "b"])
    other = {**one, "columns": dict(reversed(list(one["columns"].items())))}
    assert sides(catalog(wallet=one), catalog(wallet={**other, "owner": "somebody"})) == []


def test_tables_that_come_and_go_are_told_as_such() -> None:
    found = sides(catalog(old=table(["a"])), catalog(new=table(["a"])))
    assert counted(found) == {"created": 1, "dropped": 1}
    assert {side.name: side.is_table for side in found} == {"new": True, "old": False}


def test_beside_a_drawn_schema_the_order_of_columns_is_no_difference_and_each_object_that_differs_is_shown() -> None:
    wanted = draw(catalog(gone_on=table(["a", "b"]), wallet=table(["a", "b", "c"]), added=table(["a"])))
    now = catalog(gone_on=table(["b", "a"]), wallet=table(["c", "old", "a"]), spent=table(["a"]))

    found = {side.name: side for side in against_text(now, "-- Drawn.\n\n" + wanted)}

    assert {name: side.how for name, side in found.items()} == {
        "wallet": "changed",
        "added": "created",
        "spent": "dropped",
    }
    assert [(row.kind, row.old.strip(), row.new.strip()) for row in found["wallet"].rows] == [
        ("same", "CREATE TABLE wallet (", "CREATE TABLE wallet ("),
        ("same", "a integer", "a integer"),
        ("added", "", "b integer"),
        ("same", "c integer", "c integer"),
        ("removed", "old integer", ""),
        ("same", ");", ");"),
    ]
