"""SQL that asks the rows of a table whether a presumption holds, whatever the table and its columns are called today.

A derived table gives the columns the names that they will have, so that conditions and expressions can stay as the
catalog has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.extensions import QuotedString

from rupaya.migrator.foresight.presumption import (
    CHECK,
    EMPTY,
    EXPRESSION,
    FOREIGN_KEY,
    INDEX_SIZE,
    LONGEST_KEY_BYTES,
    MATCH_FULL,
    NOT_NULL,
    TYPE,
    UNIQUE,
    Presumption,
)

INPUT_IS_VALID_SINCE = 160000
_LENGTH = re.compile(r"(character varying|character|bit varying|bit)\((\d+)\)((?:\[\])*)")
KEYS_SHOWN = 5


@dataclass(frozen=True)
class Place:
    """A table as it is today: its name, its columns by the names that they will have, and its primary key."""

    table: str
    columns: Mapping[str, str]
    key: tuple[str, ...] = ()
    """Columns of the primary key, as they are called today; empty: it has none, and rows are named by place."""


@dataclass(frozen=True)
class Question:
    """How many rows are against a presumption, and which."""

    count: str
    """One row: the number of offending rows. An error of class 22 or 23 means: at least one."""
    keys: str
    """Some of them, each as a text, at most `KEYS_SHOWN`; empty: they are found by `cast`."""
    cast: Cast | None = None


@dataclass(frozen=True)
class Cast:
    """A conversion that fails for a value that it does not take, and does not say for which row."""

    expression: str
    alias: str
    place: Place

    def of_rows(self, condition: str) -> str:
        """Convert the rows of today's table that a condition is true of; 0, if all can be."""
        # Not a constant over a subquery, of which the planner would leave out what nobody reads.
        return f"SELECT count({self.expression}) * 0 FROM {_source(self.alias, self.place, condition)}"

    def places(self, page: int) -> str:
        """Each row of a page: its place, and its key as a text."""
        within = self.on_pages(page, page + 1)
        return f"SELECT ctid::text, {_key(self.place)} FROM {_table(self.place)} WHERE {within}"

    @staticmethod
    def on_pages(first: int, end: int) -> str:
        """The condition for rows from one page up to another; a range is read without an index."""
        return f"ctid >= '({first},0)' AND ctid < '({end},0)'"

    @property
    def relation(self) -> str:
        """The table, quoted."""
        return _table(self.place)


def question(presumption: Presumption, place: Place, target: Place | None, *, server_version: int) -> Question | None:
    """The question; None where there is no bounded one."""
    source = _source(presumption.table, place)
    if presumption.kind == NOT_NULL:
        return _of_rows(source, f"{_quoted(presumption.name)} IS NULL")
    if presumption.kind == CHECK:
        return _of_rows(source, f"({presumption.condition}) IS FALSE")
    if presumption.kind == EMPTY:
        return _of_rows(source, "true")
    if presumption.kind == UNIQUE:
        return _of_doubles(presumption, source)
    if presumption.kind == FOREIGN_KEY and target is not None:
        return _of_rows(source, _is_orphan(presumption, target))
    if presumption.kind == INDEX_SIZE:
        too_long = " OR ".join(f"pg_column_size({_quoted(key)}) > {LONGEST_KEY_BYTES}" for key in presumption.keys)
        where = f" AND ({presumption.condition})" if presumption.condition else ""
        return _of_rows(source, f"({too_long}){where}")
    if presumption.kind == EXPRESSION:
        cast = Cast(f"CASE WHEN {presumption.using} THEN {presumption.condition} END", presumption.table, place)
        return Question(cast.of_rows("true"), "", cast)
    if presumption.kind == TYPE:
        return _of_values(presumption, source, place, server_version)
    return None


def _source(alias: str, place: Place, condition: str = "") -> str:
    """The table, its columns renamed, under the name that it will have."""
    columns = [f"{_quoted(today)} AS {_quoted(name)}" for name, today in place.columns.items()]
    columns.append(f"{_key(place)} AS migrator_key")
    where = f" WHERE {condition}" if condition else ""
    return f"(SELECT {', '.join(columns)} FROM {_table(place)}{where}) AS {_quoted(alias.rpartition('.')[2])}"


def _key(place: Place) -> str:
    """A row's primary key as a text: ``7``, or ``(7, a)``; without one, the row's place."""
    if not place.key:
        return "'at ' || ctid::text"
    parts = [f"coalesce({_quoted(column)}::text, 'NULL')" for column in place.key]
    return parts[0] if len(parts) == 1 else "'(' || " + " || ', ' || ".join(parts) + " || ')'"


def _table(place: Place) -> str:
    return ".".join(_quoted(part) for part in place.table.split("."))


def _of_rows(source: str, condition: str) -> Question:
    return Question(
        f"SELECT count(*) FROM {source} WHERE {condition}",
        f"SELECT migrator_key FROM {source} WHERE {condition} LIMIT {KEYS_SHOWN}",
    )


def _of_doubles(presumption: Presumption, source: str) -> Question:
    keys = [f"({key})" for key in presumption.keys]
    conditions = [f"({presumption.condition})"] if presumption.condition else []
    if presumption.nulls_distinct:
        conditions += [f"{key} IS NOT NULL" for key in keys]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    group = f"FROM {source}{where} GROUP BY {', '.join(keys)} HAVING count(*) > 1"
    return Question(
        f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n {group}) AS doubles",
        f"SELECT string_agg(migrator_key, ' = ') FROM (SELECT (array_agg(migrator_key))[1:3] AS those {group} "
        f"LIMIT {KEYS_SHOWN}) AS doubles, unnest(those) AS migrator_key GROUP BY those",
    )


def _is_orphan(presumption: Presumption, target: Place) -> str:
    """MATCH SIMPLE: a NULL in any of the columns refers to nothing."""
    name = _quoted(presumption.table.rpartition(".")[2])
    pairs = [
        f"referred.{_quoted(target.columns[there])} = {name}.{_quoted(here)}"
        for here, there in zip(presumption.keys, presumption.target_keys, strict=True)
    ]
    there = [f"{name}.{_quoted(here)} IS NOT NULL" for here in presumption.keys]
    if presumption.condition == MATCH_FULL:  # all of the columns, or none
        row = ", ".join(f"{name}.{_quoted(here)}" for here in presumption.keys)
        referred = " AND ".join(pairs)
        return (
            f"num_nonnulls({row}) > 0 AND (num_nulls({row}) > 0 "
            f"OR NOT EXISTS (SELECT FROM {_table(target)} AS referred WHERE {referred}))"
        )
    exists = f"NOT EXISTS (SELECT FROM {_table(target)} AS referred WHERE {' AND '.join(pairs)})"
    return " AND ".join([*there, exists])


def _of_values(presumption: Presumption, source: str, place: Place, server_version: int) -> Question:
    column = _quoted(presumption.name)
    kind, length, is_array = _length_of(presumption.new_type)
    if length and not presumption.using:
        # An explicit cast would cut a value silently; without one, trailing blanks are all that may go.
        each = "v" if is_array else column
        too_long = {
            "bit": f"length({each}) <> {length}",
            "bit varying": f"length({each}) > {length}",
        }.get(kind, f"length(rtrim({each}::text)) > {length}")
        return _of_rows(source, f"EXISTS (SELECT FROM unnest({column}) v WHERE {too_long})" if is_array else too_long)
    is_plain_cast = not presumption.using or _is_cast_of(presumption.using, column, presumption)
    new_type = QuotedString(presumption.new_type).getquoted().decode()
    if presumption.is_text and is_plain_cast and not length and server_version >= INPUT_IS_VALID_SINCE:
        return _of_rows(source, f"NOT pg_input_is_valid({column}::text, {new_type})")
    if presumption.is_text and not presumption.using:
        # As if it were typed in: an explicit cast to a domain over varchar(3) would cut it, too.
        row = f"json_to_record(json_build_object('v', {column}::text)) AS typed_in (v {presumption.new_type})"
        cast = Cast(f"(SELECT v FROM {row})", presumption.table, place)
        return Question(cast.of_rows("true"), "", cast)
    expression = f"({presumption.using or column})::{presumption.new_type}"
    cast = Cast(expression, presumption.table, place)
    return Question(cast.of_rows("true"), "", cast)


def _length_of(new_type: str) -> tuple[str, int, bool]:
    """Its name, how long its values may be (0: as long as they like), and whether it is an array of such."""
    found = _LENGTH.fullmatch(new_type)
    return (found[1], int(found[2]), bool(found[3])) if found else (new_type, 0, False)


def _is_cast_of(using: str, column: str, presumption: Presumption) -> bool:
    """Whether USING says no more than a plain cast would."""
    text = using.replace(" ", "").lower()
    names = (column.lower(), presumption.name.lower())
    return any(text in (f"{name}::{presumption.new_type}".replace(" ", ""), name) for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
