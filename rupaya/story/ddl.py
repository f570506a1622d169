"""What a schema is before and after, side by side as SQL: line for line, object by object, only what differs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from rupaya.migrator.schema.catalog import CATEGORIES, Catalog
from rupaya.migrator.schema.dump import blocks, draw

CONTEXT_LINES = 2
MOST_LINES = 400
"""Of one object; nobody reads more, and a page has a size."""
MOST_OBJECTS = 200


@dataclass(frozen=True)
class Row:
    """A line on both sides: the same, changed, only before or only after; or a gap of lines that are the same."""

    kind: str
    old: str = ""
    new: str = ""


@dataclass(frozen=True)
class Side:
    """One object's SQL, before and after."""

    kind: str
    name: str
    rows: tuple[Row, ...]
    is_new: bool
    is_gone: bool

    @property
    def anchor(self) -> str:
        """Where it is on its page."""
        return f"ddl-{self.kind}-{self.name}".replace(" ", "-")

    @property
    def how(self) -> str:
        """What became of it."""
        return "created" if self.is_new else "dropped" if self.is_gone else "changed"

    @property
    def added(self) -> int:
        """How many lines are new."""
        return sum(row.kind in ("added", "changed") for row in self.rows)

    @property
    def removed(self) -> int:
        """How many lines are gone."""
        return sum(row.kind in ("removed", "changed") for row in self.rows)

    @property
    def is_table(self) -> bool:
        """Whether it has a page of its own."""
        return self.kind in ("table", "partitioned table", "materialized view") and not self.is_gone


def sides(old: Catalog, new: Catalog) -> list[Side]:
    """Each object whose SQL differs; what runs as a table's own sequence stands in the table."""
    found = []
    for category in CATEGORIES:
        before, after = old.get(category, {}), new.get(category, {})
        for name in sorted({*before, *after}):
            if before.get(name) == after.get(name):
                continue
            left, right = (_sql(category, name, catalog) for catalog in (old, new))
            if left == right:
                continue  # owners and grants, which no SQL here says
            facts = (after if name in after else before)[name]
            rows = tuple(_rows(left, right))[:MOST_LINES]
            found.append(Side(_kind(category, facts), name, rows, name not in before, name not in after))
    return found[:MOST_OBJECTS]


_BETWEEN_BLOCKS = re.compile(r"\n\n(?=CREATE |ALTER SEQUENCE )")
_BLOCK = re.compile(r"(?:CREATE|ALTER) (?:OR REPLACE |UNLOGGED )*(MATERIALIZED VIEW|[A-Z]+) ([^\s(;]+)")


def against_text(old: Catalog, new: str) -> list[Side]:
    """Each object whose SQL differs between a catalog and a schema that was drawn before, as `schema.sql` is.

    Columns stand where the text has them: their order is no difference to the code, and databases that were taken over
    have another one.
    """
    catalog = {category: {name: _in_order(facts) for name, facts in old.get(category, {}).items()} for category in old}
    before, after = _by_object(blocks(catalog)), _by_object(_BETWEEN_BLOCKS.split(new.strip()))
    found = []
    for kind, name in sorted({*before, *after}):
        right = after.get((kind, name), [])
        left = _as_in(before.get((kind, name), []), right)
        if left != right:
            rows = tuple(_rows(left, right))[:MOST_LINES]
            found.append(Side(kind, name, rows, not left, not right))
    return found[:MOST_OBJECTS]


def _by_object(drawn: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for block in drawn:
        if match := _BLOCK.match(block):
            # The comma after a column shows where it stands, and no more.
            lines = [re.sub(r",$", "", line) for line in block.strip().splitlines()]
            found.setdefault((match[1].lower(), match[2].strip('"')), []).extend(lines)
    return found


def _as_in(lines: list[str], wanted: list[str]) -> list[str]:
    """The same lines; those of a table's columns that another text has too in its order, the others where they were."""
    if not lines or not lines[0].startswith(("CREATE TABLE", "CREATE UNLOGGED TABLE")):
        return lines
    places = {line: place for place, line in enumerate(wanted)}
    place, ordered = 0, []
    for line in (line for line in lines if line.startswith("    ")):
        place = places.get(line, place)
        ordered.append((place, line))
    ordered.sort(key=lambda one: one[0])
    rest = [line for line in lines[1:] if not line.startswith("    ")]
    return [lines[0], *(line for _place, line in ordered), *rest]


def _sql(category: str, name: str, catalog: Catalog) -> list[str]:
    objects = catalog.get(category, {})
    if name not in objects:
        return []
    alone: Catalog = {every: {} for every in CATEGORIES}
    alone[category] = {name: objects[name]}
    owner = str(objects[name].get("owned_by", "none")).rpartition(".")[0]
    if owner in objects:
        # Whether a sequence is implied by its column is seen beside the column alone.
        alone[category] = {name: objects[name], owner: objects[owner]}
        with_owner = draw(alone)
        alone[category] = {owner: objects[owner]}
        if with_owner == draw(alone):
            return []
        alone[category] = {name: objects[name]}
    return draw({**alone, category: {name: _in_order(objects[name])}}).strip().splitlines()


def _in_order(facts: Mapping[str, Any]) -> dict[str, Any]:
    """As the server has them: jsonb, in which snapshots are kept, keeps no order of its own."""
    found = dict(facts)
    if "columns" in found:
        columns = sorted(found["columns"].items(), key=lambda item: item[1].get("position", 0))
        found["columns"] = dict(columns)
    for part in ("constraints", "indexes", "triggers", "policies"):
        if part in found:
            found[part] = dict(sorted(found[part].items()))
    return found


def _kind(category: str, facts: Mapping[str, Any]) -> str:
    return str(facts.get("kind", "") or category.removesuffix("s"))


def _rows(left: list[str], right: list[str]) -> Iterator[Row]:
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from _same(left[i1:i2], is_first=i1 == 0, is_last=i2 == len(left))
            continue
        old, new = left[i1:i2], right[j1:j2]
        both = min(len(old), len(new))
        for index in range(both):
            yield Row("changed", old[index], new[index])
        for line in old[both:]:
            yield Row("removed", old=line)
        for line in new[both:]:
            yield Row("added", new=line)


def _same(lines: list[str], *, is_first: bool, is_last: bool) -> Iterator[Row]:
    # The first line names the object, and is always shown.
    head = lines[:1] if is_first else lines[:CONTEXT_LINES]
    tail = [] if is_last else lines[max(len(head), len(lines) - CONTEXT_LINES) :]
    hidden = len(lines) - len(head) - len(tail)
    yield from (Row("same", line, line) for line in head)
    if hidden == 1:
        yield Row("same", lines[len(head)], lines[len(head)])
    elif hidden:
        yield Row("gap", f"{hidden} lines that are the same")
    yield from (Row("same", line, line) for line in tail)


def counted(found: Iterable[Side]) -> dict[str, int]:
    """How many objects were created, changed and dropped."""
    counts: dict[str, int] = {}
    for side in found:
        counts[side.how] = counts.get(side.how, 0) + 1
    return counts
