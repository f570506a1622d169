"""What makes the original's tables equal to the contract's, as changes that traffic hardly notices.

Derived from the difference between the live catalog and the frozen picture, never from a memory of what was done: after
a kill the next run finds what is left, and each change may be carried out again from its beginning. What is built
beside something of the same name has a name of its own until both are swapped in one short transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rupaya.adoption.baseline import UPDATED_AT_FUNCTION, baseline
from rupaya.adoption.original import TABLES
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.schema.diff import short_type
from rupaya.migrator.schema.dump import quoted

ADOPT = "adopt"
FINISH = "finish"
# Set in the session that finishes: rows that it repairs keep the time of their last change.
KEEP_UPDATED_AT = "rupaya.keep_updated_at"
TEMPORARY = "_adopting"
NAME_MAX_BYTES = 63

BRIDGE_BODY = f"""
BEGIN
    IF current_setting('{KEEP_UPDATED_AT}', true) = 'on' THEN
        RETURN NEW;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
"""
_VARCHAR = re.compile(r"character varying(?:\((\d+)\))?\Z")
_NOT_VALID = " NOT VALID"
_LEFT = {
    "columns": "column",
    "constraints": "constraint",
    "indexes": "index",
    "triggers": "trigger",
    "policies": "policy",
}
_KINDS = {"columns": "column", "constraints": "constraint", "indexes": "index", "triggers": "trigger"}


@dataclass(frozen=True)
class Part:
    """Statements that belong together: in one short transaction, or each for itself and however long it takes."""

    statements: tuple[str, ...]
    is_short: bool = True


@dataclass(frozen=True)
class Change:
    """One thing that becomes as the contract has it."""

    stage: str
    """`ADOPT`: the original does not mind it. `FINISH`: it might."""
    table: str
    name: str
    says: str
    parts: tuple[Part, ...]
    fills: tuple[tuple[str, str], ...] = ()
    """Columns whose nulls are filled first, and with what."""
    retypes: str = ""
    """The column that gets another type, which the server refuses while a view uses it."""


@dataclass(frozen=True)
class LeftOver:
    """Something on a table that the contract does not have."""

    kind: str
    name: str
    table: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} on {self.table}"

    @property
    def drop(self) -> str:
        """SQL that drops it; empty for a column, whose values are nobody's to drop."""
        name = quoted(self.name)
        return {
            "constraint": f"ALTER TABLE {self.table} DROP CONSTRAINT {name}",
            "index": f"DROP INDEX {name}",
            "trigger": f"DROP TRIGGER {name} ON {self.table}",
            "policy": f"DROP POLICY {name} ON {self.table}",
        }.get(self.kind, "")


def changes(live: Catalog) -> list[Change]:
    """All that is left to do, in the order in which to do it."""
    found = list(_of_function(live))
    for table in TABLES:
        # What is no table cannot be altered to be one: an obstacle.
        if live["relations"].get(table, {}).get("kind") == "table":
            found += _of_table(table, live["relations"][table], baseline()["relations"][table])
    order = {ADOPT: 0, FINISH: 1}
    found.sort(key=lambda change: (order[change.stage], change.name == "set_updated_at.final"))
    return found


def without_later(live: Catalog, before: Catalog) -> Catalog:
    """The live tables as if what changed since `before`, a picture from between the two steps, were as it should be.

    It is the work of migrations that are newer than the frozen picture, and would be undone otherwise.
    """
    relations = dict(live["relations"])
    for table in set(TABLES) & relations.keys() & before["relations"].keys():
        there, then, wanted = relations[table], before["relations"][table], baseline()["relations"][table]
        parts = {part: _without_later(there[part], then[part], wanted[part]) for part in _KINDS}
        relations[table] = {**there, **parts}
    return {**live, "relations": relations}


def _without_later(there: dict[str, Any], then: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name in [*there, *(then.keys() - there.keys())]:
        now, old, its = _facts(there.get(name)), _facts(then.get(name)), wanted.get(name)
        if now == old:
            kept[name] = there[name]
        elif its is not None:
            # Of a column that became wider, say, it may still be for the adoption to forbid nulls.
            same = {fact: value for fact, value in (now or {}).items() if (old or {}).get(fact) == value}
            kept[name] = {**its, **same} if now and old and "type" in its else its
    return kept


def left_over(live: Catalog) -> list[LeftOver]:
    """What is there besides, and the contract does not have."""
    found = []
    for table in TABLES:
        facts, wanted = live["relations"].get(table, {}), baseline()["relations"][table]
        for part, kind in _LEFT.items():
            its: dict[str, Any] = facts.get(part, {})
            is_named = part in ("indexes", "constraints")
            replaced = {*wanted["indexes"], *wanted["constraints"]} if is_named else set()
            renamed = _renamed(facts, wanted, part) if is_named else {}
            besides = set(its) - set(wanted.get(part, {})) - replaced - set(renamed.values())
            found += [
                LeftOver(kind, name, table, its[name]) for name in sorted(besides) if not name.endswith(TEMPORARY)
            ]
    return found


def matching(table: str, live: Catalog) -> int:
    """How many columns, constraints, indexes and triggers are as they should be."""
    facts, wanted = live["relations"][table], baseline()["relations"][table]
    return sum(_alike(facts[part].get(name), its) for part in _KINDS for name, its in wanted[part].items())


def _alike(facts: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    return _facts(facts) == wanted


def _facts(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    """Those that do not differ from one environment to the next."""
    ignored = ("position", "owner", "grants")
    return None if facts is None else {name: its for name, its in facts.items() if name not in ignored}


def _of_function(live: Catalog) -> Iterator[Change]:
    """Bridging while both systems run: a session that repairs rows can ask for their `updated_at` to stay."""
    facts, wanted = live["functions"].get(UPDATED_AT_FUNCTION), baseline()["functions"][UPDATED_AT_FUNCTION]
    bridge = {**wanted, "body": BRIDGE_BODY.strip()}
    if _facts(facts) not in (bridge, wanted):
        says = "function set_updated_at() added" if facts is None else "function set_updated_at() given another text"
        yield Change(ADOPT, "users", "set_updated_at.added", says, (Part((_function(BRIDGE_BODY),)),))
    if _facts(facts) != wanted:
        says = "function set_updated_at() given its final text"
        yield Change(FINISH, "users", "set_updated_at.final", says, (Part((_function(f"\n{wanted['body']}\n"),)),))


def _function(body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"


def _of_table(table: str, facts: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Change]:
    for column, its in wanted["columns"].items():
        yield from _of_column(table, column, facts["columns"].get(column), its)
    renamed = {part: _renamed(facts, wanted, part) for part in ("constraints", "indexes")}
    for part, names in renamed.items():
        for name, old in names.items():
            statement = (
                f"ALTER INDEX {quoted(old)} RENAME TO {name}"
                if part == "indexes"
                else f"ALTER TABLE {table} RENAME CONSTRAINT {quoted(old)} TO {name}"
            )
            kind = "index" if part == "indexes" else "constraint"
            yield Change(ADOPT, table, f"{name}.renamed", f"{kind} {old} renamed to {name}", (Part((statement,)),))
    for name, its in wanted["indexes"].items():
        if name not in renamed["indexes"] and not _alike(facts["indexes"].get(name), its):
            yield _index(table, name, its["definition"], facts)
    for name, its in wanted["triggers"].items():
        if not _alike(facts["triggers"].get(name), its):
            again = (f"DROP TRIGGER {name} ON {table}",) if name in facts["triggers"] else ()
            statement = f"CREATE TRIGGER {name} {its['definition']}"
            yield Change(ADOPT, table, f"{name}.added", f"trigger {name} added", (Part((*again, statement)),))
    for name, its in wanted["constraints"].items():
        if name not in renamed["constraints"] and not _alike(facts["constraints"].get(name), its):
            yield _constraint(table, name, its, facts)
    if not_null := _not_null(table, facts, wanted):
        yield not_null


def _renamed(facts: dict[str, Any], wanted: dict[str, Any], part: str) -> dict[str, str]:
    """Names that are missing, and under which name the same thing is there."""
    names = {}
    spare = {name: its for name, its in facts.get(part, {}).items() if name not in wanted[part]}
    for name, its in wanted[part].items():
        if name in facts.get(part, {}):
            continue
        old = next((old for old, there in spare.items() if _alike(there, its) and not old.endswith(TEMPORARY)), None)
        if old is not None:
            names[name] = old
            del spare[old]
    return names


def _of_column(table: str, column: str, facts: dict[str, Any] | None, wanted: dict[str, Any]) -> Iterator[Change]:
    type_, default = short_type(wanted["type"]), wanted.get("default")
    if facts is None:
        definition = type_ + (f" DEFAULT {default}" if default else "")
        if default and not wanted["nullable"]:
            definition += " NOT NULL"
        statement = f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {definition}"
        says = f"column {column} added: {definition}"
        yield Change(ADOPT, table, f"{column}.added", says, (Part((statement,)),))
        return
    waits = False
    if facts["type"] != wanted["type"]:
        statement = f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_}"
        widens = _width(facts["type"]) is not None and (_width(facts["type"]) or 0) < (_width(wanted["type"]) or 0)
        says = f"column {column} changes from {short_type(facts['type'])} to {type_}"
        if widens:
            yield Change(ADOPT, table, f"{column}.widened", says, (Part((statement,)),))
        else:
            says += "; the table is rewritten and locked meanwhile"
            waits = facts.get("default") != default and _family(facts["type"]) != _family(wanted["type"])
            if waits:  # a default of the one type does not fit the other
                alter = f"ALTER COLUMN {column}"
                statement = f"ALTER TABLE {table} {alter} DROP DEFAULT, {alter} TYPE {type_}"
                statement += f", {alter} SET DEFAULT {default}" if default else ""
                says += f"; its default becomes {short_type(default) if default else 'none'}"
            part = Part((statement,), is_short=False)
            yield Change(FINISH, table, f"{column}.retyped", says, (part,), retypes=column)
    if default and facts.get("default") != default and not waits:
        says = f"default of {column} set to {short_type(default)}"
        statement = f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}"
        yield Change(ADOPT, table, f"{column}.default", says, (Part((statement,)),))
    elif facts.get("default") and not default and not waits:
        says = f"default of {column} removed: {short_type(facts['default'])}"
        statement = f"ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"
        yield Change(FINISH, table, f"{column}.default", says, (Part((statement,)),))
    if wanted["nullable"] and not facts["nullable"]:
        statement = f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
        yield Change(ADOPT, table, f"{column}.nullable", f"column {column} may be null", (Part((statement,)),))


def _family(type_: str) -> str:
    """Types of one family take each other's defaults."""
    name = type_.partition("(")[0]
    return "text" if name in ("text", "character", "character varying") else name


def _width(type_: str) -> int | None:
    match = _VARCHAR.match(type_)
    return int(match[1]) if match and match[1] else None


def temporary(name: str) -> str:
    """What something is called while it is built."""
    return name.encode()[: NAME_MAX_BYTES - len(TEMPORARY)].decode(errors="ignore") + TEMPORARY


def _index(table: str, name: str, definition: str, facts: dict[str, Any]) -> Change:
    """Built concurrently beside what has its name, be it an index or a constraint, and swapped with it."""
    unique = "UNIQUE " if definition.startswith("unique ") else ""
    using = definition.removeprefix("unique ")
    building = temporary(name)
    swap = []
    if name in facts["constraints"]:
        swap.append(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
    elif name in facts["indexes"]:
        swap.append(f"DROP INDEX IF EXISTS {name}")
    swap.append(f"ALTER INDEX {building} RENAME TO {name}")
    instead = f" in place of {facts['constraints'][name]['definition']}" if name in facts["constraints"] else ""
    says = f"{'unique ' if unique else ''}index {name} built concurrently: {using}{instead}"
    parts = (
        Part((f"DROP INDEX CONCURRENTLY IF EXISTS {building}",), is_short=False),
        Part((f"CREATE {unique}INDEX CONCURRENTLY {building} ON {table} USING {using}",), is_short=False),
        Part(tuple(swap)),
    )
    return Change(FINISH if unique or instead else ADOPT, table, f"{name}.built", says, parts)


def _constraint(table: str, name: str, wanted: dict[str, Any], facts: dict[str, Any]) -> Change:
    definition, building = wanted["definition"], temporary(name)
    there = facts["constraints"].get(name)
    drop = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {{}}"
    instead = f" in place of {there['definition']}" if there else ""
    says = f"constraint {name}: {definition}{instead}"
    if wanted["kind"] in ("unique", "primary key"):
        kind, columns = wanted["kind"].upper(), definition[len(wanted["kind"]) + 1 :]
        parts = (
            Part((f"DROP INDEX CONCURRENTLY IF EXISTS {building}",), is_short=False),
            Part((f"CREATE UNIQUE INDEX CONCURRENTLY {building} ON {table} {columns}",), is_short=False),
            Part((drop.format(name), f"ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {building}")),
        )
        # The tables that `adopt` makes refer to primary keys.
        stage = ADOPT if wanted["kind"] == "primary key" else FINISH
        return Change(stage, table, f"{name}.added", says, parts)
    if there and there["definition"] == definition + _NOT_VALID:
        validate = Part((f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}",), is_short=False)
        return Change(FINISH, table, f"{name}.validated", f"constraint {name} validated", (validate,))
    parts = (
        Part((drop.format(building), f"ALTER TABLE {table} ADD CONSTRAINT {building} {definition}{_NOT_VALID}")),
        Part((f"ALTER TABLE {table} VALIDATE CONSTRAINT {building}",), is_short=False),
        Part((drop.format(name), f"ALTER TABLE {table} RENAME CONSTRAINT {building} TO {name}")),
    )
    return Change(FINISH, table, f"{name}.added", says, parts)


def tightened(facts: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Columns that may be null and must not; those that are missing with a default are added as they should be."""
    return [
        column
        for column, its in wanted["columns"].items()
        if not its["nullable"]
        and (facts["columns"][column]["nullable"] if column in facts["columns"] else not its.get("default"))
    ]


def _not_null(table: str, facts: dict[str, Any], wanted: dict[str, Any]) -> Change | None:
    """By way of a CHECK that is validated without a lock: SET NOT NULL then need not look at the rows."""
    columns = tightened(facts, wanted)
    if not columns:
        return None
    building = temporary(f"{table}_not_null")
    condition = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    drop = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {building}"
    parts = (
        Part((drop, f"ALTER TABLE {table} ADD CONSTRAINT {building} CHECK ({condition}){_NOT_VALID}")),
        Part((f"ALTER TABLE {table} VALIDATE CONSTRAINT {building}",), is_short=False),
        Part(
            (
                f"ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {column} SET NOT NULL" for column in columns),
                drop,
            )
        ),
    )
    fills = tuple((c, fill(table, c, wanted)) for c in columns if wanted["columns"][c].get("default"))
    says = "NOT NULL: " + ", ".join(columns)
    return Change(FINISH, table, "not_null", says, parts, fills)


def fill(table: str, column: str, wanted: dict[str, Any]) -> str:
    """What a null becomes: the column's default; for a time, the nearest that the row knows."""
    default = str(wanted["columns"][column]["default"])
    match column:
        case "created_at" if table == "transactions":
            return "coalesce(updated_at, transaction_date::timestamptz, now())"
        case "created_at" if "updated_at" in wanted["columns"]:
            return "coalesce(updated_at, now())"
        case "updated_at":
            return "coalesce(created_at, now())"
        case "is_system":
            return "user_id IS NULL"
        case _:
            return default
