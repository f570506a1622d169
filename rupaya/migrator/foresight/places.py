"""What the tables of a plan are called today: names go back through the renames of the plan's earlier steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rupaya.migrator.foresight.presumption import EVERY_TABLE, Presumed
from rupaya.migrator.foresight.questions import Place

_TABLE = """
    SELECT ARRAY(SELECT attname::text FROM pg_attribute
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
           ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (number, place)
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
                 WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.place)
    FROM pg_class c
    WHERE c.oid = to_regclass(array_to_string(ARRAY(SELECT quote_ident(p) FROM unnest(%s::text[]) p), '.'))
      AND c.relkind IN ('r', 'p')
"""


@dataclass
class Today:
    """A table before the plan, by today's names."""

    table: str
    columns: dict[str, str] = field(default_factory=dict)
    """Names today, by the names that a step of the plan uses."""
    is_made: bool = False
    """Whether the plan itself makes the table, so that it has no rows yet."""
    added: list[str] = field(default_factory=list)
    """Columns that the plan itself adds."""
    written_before: bool = False
    """Whether an earlier step of the plan changes its rows."""
    written_here: bool = False
    """Whether the step itself does."""


def today(steps: Sequence[Presumed], position: int, table: str, columns: Iterable[str]) -> Today:
    """The table that the step at this position calls so, and these of its columns."""
    found = Today(table)
    names = {name: name for name in columns}
    for place in range(position, -1, -1):
        step = steps[place]
        before = step.renamed_tables.get(table, table)
        if {EVERY_TABLE, table, before}.intersection(step.writes):
            if place == position:
                found.written_here = True
            else:
                found.written_before = True
        if table in step.made:
            found.is_made = True
            return found
        added, renamed = step.added.get(table, []), step.renamed_columns.get(table, {})
        for name, current in list(names.items()):
            if current in added:
                found.added.append(name)
                del names[name]
            else:
                names[name] = renamed.get(current, current)
        table = before
    found.table, found.columns = table, names
    return found


def place_of(cursor: Any, table: Today) -> Place | str:
    """The table as it is there, or why it cannot be asked."""
    cursor.execute(_TABLE, [table.table.split(".")])
    row = cursor.fetchone()
    if row is None:
        return f"there is no table {table.table}"
    columns, key = row
    if missing := [name for name in table.columns.values() if name not in columns]:
        return f"{table.table} has no column {', '.join(missing)}"
    return Place(table.table, table.columns, tuple(key))
