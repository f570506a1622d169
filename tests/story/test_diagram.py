"""The diagram: boxes that keep apart, text that fits, and lines that go around."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

import pytest
from django.test import Client

from rupaya.story import diagram, state
from rupaya.story.diagram import Box, Layout, arrange, draw
from rupaya.story.live import ForeignKey, LiveColumn, Shape
from tests.faults.migrator import query

SVG = "{http://www.w3.org/2000/svg}"
CHARACTER_PX = 7.23  # of the monospaced font of 12 px


def shape(name: str, columns: int = 3, foreign: Iterable[str] = ()) -> Shape:
    listed = [LiveColumn("id", "bigint", False, "", True, None)]
    listed += [LiveColumn(column, "bigint", True, "", False, None) for column in foreign]
    listed += [LiveColumn(f"column_{number}", "varchar(255)", True, "", False, None) for number in range(columns)]
    return Shape(name, tuple(listed), frozenset(foreign))


def key(table: str, refers_to: str, column: str = "id") -> ForeignKey:
    return ForeignKey(f"{table}_{column}", table, refers_to, (column,), ("id",), "cascade", True)


def assert_tidy(layout: Layout) -> None:
    for one, other in combinations(layout.boxes, 2):
        apart = (
            one.x + one.width < other.x
            or other.x + other.width < one.x
            or one.y + one.height < other.y
            or other.y + other.height < one.y
        )
        assert apart, (one.shape.name, other.shape.name)
    for box in layout.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= layout.width
        assert box.y + box.height <= layout.height
    for line in layout.lines:
        assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in line.points), line
        for (x1, y1), (x2, y2) in pairwise(line.points):
            assert x1 == x2 or y1 == y2, line.points
            for box in layout.boxes:
                assert not _crosses(box, x1, y1, x2, y2), (line.key, box.shape.name)


def _crosses(box: Box, x1: float, y1: float, x2: float, y2: float) -> bool:
    return (
        max(x1, x2) > box.x + 0.5
        and min(x1, x2) < box.x + box.width - 0.5
        and max(y1, y2) > box.y + 0.5
        and min(y1, y2) < box.y + box.height - 0.5
    )


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ("a", []),
        ("a b", [("a", "b")]),
        ("a", [("a", "a")]),
        ("a b", [("a", "b"), ("b", "a")]),
        ("a b c", [("a", "b"), ("b", "c"), ("c", "a")]),
        ("a b c d", [("b", "a"), ("c", "b"), ("d", "c"), ("d", "a"), ("a", "d")]),
        ("a b c d e", []),
    ],
)
def test_small_schemas_circles_and_all_are_tidy(names: str, keys: list[tuple[str, str]]) -> None:
    layout = arrange([shape(name) for name in names.split()], [key(*pair) for pair in keys])

    assert len(layout.boxes) == len(names.split())
    assert len(layout.lines) == len(keys)
    assert_tidy(layout)


@pytest.mark.parametrize("seed", range(12))
def test_big_schemas_are_tidy(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"table_{number}" + "_long" * chance.randrange(4) for number in range(chance.randrange(10, 80))]
    shapes = [shape(name, chance.randrange(1, 40)) for name in names]
    keys = [key(chance.choice(names), chance.choice(names)) for _ in range(chance.randrange(len(names) * 2))]

    layout = arrange(shapes, keys)

    assert len(layout.boxes) == len(names)
    assert_tidy(layout)
    ET.fromstring(draw(layout, lambda name: f"/{name}/"))  # noqa: S314 - our own drawing


def test_nothing_at_all_is_drawn_as_nothing() -> None:
    assert arrange([], []).boxes == []


def test_a_line_begins_at_the_column_that_refers_and_ends_at_the_other() -> None:
    layout = arrange([shape("child", foreign=["parent_id"]), shape("parent")], [key("child", "parent", "parent_id")])

    boxes = {box.shape.name: box for box in layout.boxes}
    (line,) = layout.lines
    assert line.points[0] == (boxes["child"].x, boxes["child"].row_y("parent_id"))
    assert line.points[-1] == (boxes["parent"].x + boxes["parent"].width, boxes["parent"].row_y("id"))
    assert boxes["parent"].x < boxes["child"].x


@pytest.mark.parametrize("query_string", ["", "?all=1", "?app=transactions", "?tables=accounts,users"])
def test_the_live_schema_is_drawn_with_text_that_fits_its_boxes(viewer: Client, query_string: str) -> None:
    html = viewer.get(f"/admin/schema/diagram/{query_string}").content.decode()

    (found,) = re.findall(r'<svg xmlns="[^"]+" class="story-picture.*?</svg>', html, re.DOTALL)
    drawing = ET.fromstring(found)  # noqa: S314 - our own drawing
    rectangles = []
    for link in drawing.iter(f"{SVG}a"):
        assert viewer.get(link.attrib["href"]).status_code == 200
        rectangle = {name: float(link[0].attrib[name]) for name in ("x", "y", "width", "height")}
        rectangles.append(rectangle)
        ends: dict[str, float] = {}
        for text in link.iter(f"{SVG}text"):
            x, width = float(text.attrib["x"]), CHARACTER_PX * len(text.text or "") * (13 / 12)
            left, right = (x - width, x) if text.attrib.get("text-anchor") == "end" else (x, x + width)
            assert rectangle["x"] < left
            assert right < rectangle["x"] + rectangle["width"]
            assert rectangle["y"] < float(text.attrib["y"]) < rectangle["y"] + rectangle["height"]
            if "story-column" in text.attrib["class"]:
                ends[text.attrib["y"]] = right
            if "story-type" in text.attrib["class"]:
                assert left > ends[text.attrib["y"]]
    for one, other in combinations(rectangles, 2):
        assert (
            one["x"] + one["width"] < other["x"]
            or other["x"] + other["width"] < one["x"]
            or one["y"] + one["height"] < other["y"]
            or other["y"] + other["height"] < one["y"]
        )


def test_only_the_projects_tables_are_shown_unless_others_are_asked_for(viewer: Client) -> None:
    def shown(query_string: str) -> set[str]:
        html = viewer.get(f"/admin/schema/diagram/{query_string}").content.decode()
        return set(re.findall(r'aria-label="Table ([^"]+)"', html))

    assert {"users", "transactions", "users_groups"} <= shown("")
    assert not {name for name in shown("") if name.startswith(("django_", "axes_", "otp_", "migrator_", "auth_"))}
    assert {"users", "django_session", "migrator_runs"} <= shown("?all=1")
    assert shown("?tables=accounts,users,nowhere") == {"accounts", "users"}
    assert "users" not in shown("?app=transactions")
    assert "No tables" in viewer.get("/admin/schema/diagram/?tables=nowhere").content.decode()


def test_a_name_cannot_break_out_of_the_drawing(client: Client, url: str) -> None:
    query(url, 'CREATE TABLE "</svg><script>alert(1)</script>" ("<b>" int)')
    state.forget()

    html = client.get("/admin/schema/diagram/?all=1").content.decode()

    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_colours_are_the_style_sheets(viewer: Client) -> None:
    html = viewer.get("/admin/schema/diagram/").content.decode()

    drawn = html[html.index('class="story-picture') :]
    assert not re.search(r'(fill|stroke|style)="', drawn.partition("</svg>")[0])
    assert diagram.CHARACTER > CHARACTER_PX
