"""The entity-relationship diagram: tables in columns, each to the right of those that it refers to, lines around boxes.

A line leaves a table on the left, at the column that refers, and enters the other one on the right. Between two columns
of tables runs a gutter for vertical stretches, between two tables of a column a gap for horizontal ones. All lines to
one table share their stretches, so that a table to which everything refers has one trunk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.safestring import SafeString

from rupaya.inspection.svg import element, picture, text_at
from rupaya.story.live import ForeignKey, LiveColumn, Shape

# Of a monospaced font of 12 px, whose characters are 7.2 px wide; what is too wide is only a little emptier.
CHARACTER = 7.8
TITLE_CHARACTER = 8.6
MARK_WIDTH = 30
PADDING = 10
HEADER_HEIGHT = 28
ROW_HEIGHT = 20
MARGIN = 24
LANE = 9
GUTTER = 44
GAP = 26
# Columns of tables begin a little lower each, so that lines from neighbours do not lie on each other.
STAGGER = 6
MAX_COLUMN_HEIGHT = 1500
CROWS_FOOT = 10


@dataclass
class Box:
    """A table on the drawing."""

    shape: Shape
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """Wide enough for its longest line."""
        lines = [
            MARK_WIDTH + CHARACTER * (len(column.name) + len(type_text(column)) + 2) for column in self.shape.columns
        ]
        return max([120.0, TITLE_CHARACTER * len(self.shape.name), *lines]) + 2 * PADDING

    @property
    def height(self) -> float:
        """The title and a row a column."""
        return HEADER_HEIGHT + ROW_HEIGHT * len(self.shape.columns) + PADDING / 2

    def row_y(self, name: str) -> float:
        """The middle of a column's row."""
        names = [column.name for column in self.shape.columns]
        position = names.index(name) if name in names else 0
        return self.y + HEADER_HEIGHT + ROW_HEIGHT * (position + 0.5)


@dataclass
class Line:
    """A foreign key on the drawing, and the corners of its line."""

    key: ForeignKey
    points: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Layout:
    """Where everything is."""

    boxes: list[Box]
    lines: list[Line]
    width: float
    height: float


def arrange(shapes: Sequence[Shape], keys: Sequence[ForeignKey]) -> Layout:
    """Place the tables, and find each line its way around them."""
    boxes = {shape.name: Box(shape) for shape in shapes}
    columns = _columns(boxes, keys)
    if not columns:
        return Layout([], [], 2 * MARGIN, 2 * MARGIN)
    place = {box.shape.name: (number, row) for number, column in enumerate(columns) for row, box in enumerate(column)}

    # First with gaps of equal height, to see which way is the shortest; then with as much room as the lines need.
    no_gaps: dict[int, list[list[str]]] = {number: [[] for _ in range(len(c) + 1)] for number, c in enumerate(columns)}
    _stack(columns, no_gaps)
    crossings = {number: _crossings(key, boxes, columns, place) for number, key in enumerate(keys)}
    gaps: dict[int, list[list[str]]] = {number: [[] for _ in range(len(c) + 1)] for number, c in enumerate(columns)}
    gutters: dict[int, list[str]] = defaultdict(list)
    for number, key in enumerate(keys):
        for column, gap in crossings[number]:
            _add(gaps[column][gap], key.refers_to)
        for gutter in _gutters_of(key, crossings[number], place):
            _add(gutters[gutter], key.refers_to)
    _stack(columns, gaps)
    _spread(columns, gutters)
    lines = [
        Line(key, _way(key, crossings[number], boxes, columns, place, gaps, gutters)) for number, key in enumerate(keys)
    ]
    edge = len(columns)
    right = max(box.x + box.width for box in boxes.values()) + GUTTER + LANE * len(gutters[edge])
    bottom = max(_bottom(column, gaps[number]) for number, column in enumerate(columns))
    return Layout(list(boxes.values()), lines, right + MARGIN, bottom + MARGIN)


def draw(layout: Layout, href: Callable[[str], str]) -> SafeString:
    """The drawing as SVG, each table a link to its page."""
    description = (
        f"{len(layout.boxes)} tables and {len(layout.lines)} foreign keys. A line goes from the column that refers, "
        "with a crow's foot, to the table that it refers to. The list of tables below has the same links."
    )
    return picture(
        "diagram",
        "Entity-relationship diagram",
        description,
        layout.width,
        layout.height,
        *(_draw_line(line) for line in layout.lines),
        *(_draw_box(box, href(box.shape.name)) for box in layout.boxes),
    )


def type_text(column: LiveColumn) -> str:
    """A column's type; with a question mark, it may be NULL."""
    return column.type + ("?" if column.is_nullable else "")


def _columns(boxes: dict[str, Box], keys: Iterable[ForeignKey]) -> list[list[Box]]:
    """The tables in columns: what refers to nothing first, then what refers to it, and so on; circles are cut."""
    parents: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        if key.refers_to != key.table:
            parents[key.table].add(key.refers_to)
    connected = parents.keys() | {name for names in parents.values() for name in names}
    depths: dict[str, int] = {}

    def depth(name: str, above: tuple[str, ...]) -> int:
        if name not in depths:
            found = [depth(parent, (*above, name)) for parent in sorted(parents[name]) if parent not in (*above, name)]
            depths[name] = 1 + max(found, default=-1)
        return depths[name]

    layers: dict[int, list[Box]] = defaultdict(list)
    for name in sorted(connected):
        layers[depth(name, ())].append(boxes[name])
    rows: dict[str, float] = {}
    columns: list[list[Box]] = []
    for _depth, layer in sorted(layers.items()):
        # Next to what they refer to; the most referred to first, where that is equal.
        layer.sort(key=lambda box: (_middle(parents[box.shape.name], rows), box.shape.name))
        rows |= {box.shape.name: float(row) for row, box in enumerate(layer)}
        columns += _split(layer)
    for name in sorted(boxes.keys() - connected):
        # Tables that stand alone fill up.
        shortest = min(columns, key=_height, default=None)
        if shortest is None or _height(shortest) + boxes[name].height > MAX_COLUMN_HEIGHT:
            columns.append([boxes[name]])
        else:
            shortest.append(boxes[name])
    return columns


def _middle(names: Iterable[str], rows: dict[str, float]) -> float:
    known = [rows[name] for name in names if name in rows]
    return sum(known) / len(known) if known else 0.0


def _height(column: Sequence[Box]) -> float:
    return sum(box.height + GAP for box in column)


def _split(layer: Sequence[Box]) -> list[list[Box]]:
    """A layer as columns that are not too high, of about the same height."""
    count = max(1, round(_height(layer) / MAX_COLUMN_HEIGHT + 0.35))
    wanted = _height(layer) / count
    columns: list[list[Box]] = [[]]
    for box in layer:
        if columns[-1] and len(columns) < count and _height(columns[-1]) + box.height / 2 > wanted:
            columns.append([])
        columns[-1].append(box)
    return columns


def _stack(columns: Sequence[Sequence[Box]], gaps: dict[int, list[list[str]]]) -> None:
    for number, column in enumerate(columns):
        y = float(MARGIN + number * STAGGER + LANE * len(gaps[number][0]))
        for row, box in enumerate(column):
            box.y = y
            y += box.height + GAP + LANE * len(gaps[number][row + 1])


def _spread(columns: Sequence[Sequence[Box]], gutters: dict[int, list[str]]) -> None:
    x = float(MARGIN)
    for number, column in enumerate(columns):
        if number or gutters[number]:
            x += GUTTER + LANE * len(gutters[number])
        width = max(box.width for box in column)
        for box in column:
            box.x = x
        x += width


def _crossings(
    key: ForeignKey, boxes: dict[str, Box], columns: Sequence[Sequence[Box]], place: dict[str, tuple[int, int]]
) -> list[tuple[int, int]]:
    """The columns that a line has to cross on its way, and the gap by which it does."""
    child, parent = place[key.table][0], place[key.refers_to][0]
    between = range(child - 1, parent, -1) if parent < child else range(child, parent + 1)
    y = boxes[key.table].row_y(key.columns[0])
    target = boxes[key.refers_to].row_y(key.referred[0])
    found = []
    for number in between:
        column = columns[number]
        heights = [column[0].y - GAP / 2, *(box.y + box.height + GAP / 2 for box in column)]
        gap = min(range(len(heights)), key=lambda row: abs(heights[row] - y) + abs(heights[row] - target))
        y = heights[gap]
        found.append((number, gap))
    return found


def _gutters_of(key: ForeignKey, crossings: Sequence[tuple[int, int]], place: dict[str, tuple[int, int]]) -> list[int]:
    """The gutters that a line runs in, in its order; a gutter has the number of the column to its right."""
    child, parent = place[key.table][0], place[key.refers_to][0]
    if parent < child:
        return [child, *(number for number, _gap in crossings)]
    return [child, *(number + 1 for number, _gap in crossings)]


def _way(
    key: ForeignKey,
    crossings: Sequence[tuple[int, int]],
    boxes: dict[str, Box],
    columns: Sequence[Sequence[Box]],
    place: dict[str, tuple[int, int]],
    gaps: dict[int, list[list[str]]],
    gutters: dict[int, list[str]],
) -> list[tuple[float, float]]:
    child, parent = boxes[key.table], boxes[key.refers_to]
    y = child.row_y(key.columns[0])
    points = [(child.x, y)]
    for number, gutter in enumerate(_gutters_of(key, crossings, place)):
        x = _lane_x(columns, gutter, gutters[gutter].index(key.refers_to), len(gutters[gutter]))
        points.append((x, y))
        if number < len(crossings):
            column, gap = crossings[number]
            lane = gaps[column][gap].index(key.refers_to)
            above = (
                MARGIN / 2 + column * STAGGER
                if gap == 0
                else columns[column][gap - 1].y + columns[column][gap - 1].height + GAP / 2
            )
            y = above + LANE * lane
        else:
            y = parent.row_y(key.referred[0])
        points.append((x, y))
    points.append((parent.x + parent.width, y))
    return points


def _lane_x(columns: Sequence[Sequence[Box]], gutter: int, lane: int, lanes: int) -> float:
    if gutter < len(columns):
        return columns[gutter][0].x - GUTTER / 2 - LANE * (lanes - 1 - lane)
    return max(box.x + box.width for box in columns[-1]) + GUTTER / 2 + LANE * lane


def _bottom(column: Sequence[Box], gaps: Sequence[Sequence[str]]) -> float:
    return column[-1].y + column[-1].height + GAP / 2 + LANE * len(gaps[-1])


def _add(lanes: list[str], name: str) -> None:
    if name not in lanes:
        lanes.append(name)


def _draw_line(line: Line) -> SafeString:
    key = line.key
    (x, y), (end_x, end_y) = line.points[0], line.points[-1]
    way = "M" + " L".join(f"{px:.1f} {py:.1f}" for px, py in line.points)
    foot = "".join(f" M{x - CROWS_FOOT:.1f} {y:.1f} L{x:.1f} {y + side:.1f}" for side in (-5, 5))
    one = f" M{end_x + 7:.1f} {end_y - 5:.1f} L{end_x + 7:.1f} {end_y + 5:.1f}"
    said = (
        f"{key.table}.{', '.join(key.columns)} refers to {key.refers_to}.{', '.join(key.referred)} "
        f"(on delete: {key.on_delete})"
    )
    ends = {"data_from": key.table, "data_to": key.refers_to}
    return element("g", element("title", text=said), element("path", d=way + foot + one), class_="story-line", **ends)


def _draw_box(box: Box, href: str) -> SafeString:
    shape = box.shape
    texts = [text_at(box.x + PADDING, box.y + 19, shape.name, "story-box-name")]
    for column in shape.columns:
        y = box.row_y(column.name) + 4
        marks = "PK" if column.is_primary else "FK" if column.name in shape.foreign_columns else ""
        if marks:
            texts.append(text_at(box.x + PADDING, y, marks, f"story-mark story-{marks.lower()}"))
        texts.append(text_at(box.x + PADDING + MARK_WIDTH, y, column.name, "story-column"))
        texts.append(text_at(box.x + box.width - PADDING, y, type_text(column), "story-type", text_anchor="end"))
    frame: dict[str, Any] = {"x": box.x, "y": box.y, "width": box.width, "rx": 4}
    return element(
        "a",
        element("rect", **frame, height=box.height, class_="story-box"),
        element("rect", **frame, height=HEADER_HEIGHT, class_="story-box-head"),
        *texts,
        href=href,
        class_="story-table",
        aria_label=f"Table {shape.name}",
        data_table=shape.name,
    )
