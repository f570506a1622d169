"""A catalog as SQL for people to read, the same on every server: what a pull request shows of a migration's effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.schema.diff import short_type

# What PostgreSQL wants quoted although it looks like a name.
_RESERVED = frozenset(
    "all analyse analyze and any array as asc asymmetric authorization between both case cast check collate collation"
    " column concurrently constraint create cross current_catalog current_date current_role current_schema current_time"
    " current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze"
    " from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like"
    " limit localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary"
    " references returning right select session_user similar some symmetric system_user table tablesample then to"
    " trailing true union unique user using variadic verbose when where window with".split()
)
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z")
_FIRST_OF_ITS_TYPE = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}


def draw(catalog: Catalog) -> str:
    """The whole catalog as SQL that builds it, without owners and grants: those are each environment's own."""
    return "\n\n".join(blocks(catalog)) + "\n"


def blocks(catalog: Catalog) -> list[str]:
    """The same, an object with all that belongs to it a block."""
    relations = catalog["relations"]
    tables = {name: facts for name, facts in relations.items() if "columns" in facts and "view" not in facts["kind"]}
    views = {name: facts for name, facts in relations.items() if "view" in facts["kind"]}
    sequences = {
        name: facts
        for name, facts in relations.items()
        if facts["kind"] == "sequence" and not _is_implied(facts, tables)
    }
    return [
        *(
            f"CREATE EXTENSION {quoted(name)} SCHEMA {quoted(e['schema'])};"
            for name, e in catalog["extensions"].items()
        ),
        *(_type(name, facts) for name, facts in catalog["types"].items()),
        *(_function(name, facts) for name, facts in catalog["functions"].items()),
        *(_sequence(name, facts) for name, facts in sequences.items()),
        *(_table(name, tables[name]) for name in _in_order(tables, _foreign_keys)),
        *(
            f"ALTER SEQUENCE {quoted(name)} OWNED BY {quoted(facts['owned_by'])};"
            for name, facts in sequences.items()
            if facts["owned_by"] != "none"
        ),
        *(_view(name, views[name]) for name in _in_order(views, lambda facts: facts["definition"])),
    ]


def quoted(name: str) -> str:
    """A name, qualified or not, as SQL has it."""
    return ".".join(
        part if _PLAIN.match(part) and part not in _RESERVED else '"' + part.replace('"', '""') + '"'
        for part in name.split(".")
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _in_order(objects: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> list[str]:
    """By name, but each after those that its text mentions."""
    graph = {
        name: sorted(other for other in objects if other != name and re.search(rf"\b{re.escape(other)}\b", text(facts)))
        for name, facts in objects.items()
    }
    try:
        sorter = TopologicalSorter(graph)
        sorter.prepare()
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered += ready
            sorter.done(*ready)
    except CycleError:
        return sorted(objects)
    return ordered


def _foreign_keys(table: dict[str, Any]) -> str:
    keys = [c["definition"] for c in table["constraints"].values() if c["kind"] == "foreign key"]
    return " ".join([*keys, table.get("parents", "")])


def _is_implied(sequence: dict[str, Any], tables: dict[str, Any]) -> bool:
    """Whether it is an identity column's, and nothing about it is unusual."""
    table, _, column = sequence["owned_by"].rpartition(".")
    identity = tables.get(table, {}).get("columns", {}).get(column, {}).get("identity")
    return identity is not None and _sequence_options(sequence) == ""


def _sequence_options(facts: dict[str, Any]) -> str:
    usual = {
        "increment": 1,
        "minimum": 1,
        "maximum": _FIRST_OF_ITS_TYPE.get(facts["type"]),
        "start": 1,
        "cache": 1,
        "cycle": False,
    }
    words = {"increment": "INCREMENT", "minimum": "MINVALUE", "maximum": "MAXVALUE", "start": "START", "cache": "CACHE"}
    options = [f"{word} {facts[fact]}" for fact, word in words.items() if facts[fact] != usual[fact]]
    return " ".join([*options, *(["CYCLE"] if facts["cycle"] else [])])


def _sequence(name: str, facts: dict[str, Any]) -> str:
    options = _sequence_options(facts)
    return f"CREATE SEQUENCE {quoted(name)} AS {facts['type']}{' ' + options if options else ''};"


def _type(name: str, facts: dict[str, Any]) -> str:
    match facts["kind"]:
        case "enum":
            return f"CREATE TYPE {quoted(name)} AS ENUM ({', '.join(map(_text, facts['labels']))});"
        case "domain":
            return f"CREATE DOMAIN {quoted(name)} AS {facts['definition']};"
        case "range":
            return f"CREATE TYPE {quoted(name)} AS RANGE (SUBTYPE = {facts['definition']});"
        case _:
            return f"CREATE TYPE {quoted(name)} AS {facts['definition']};"


def _function(name: str, facts: dict[str, Any]) -> str:
    traits = [
        f"LANGUAGE {facts['language']}",
        *([facts["volatility"]] if facts["volatility"] != "VOLATILE" else []),
        *(["STRICT"] if facts["strict"] else []),
        *(["SECURITY DEFINER"] if facts["security"] == "definer" else []),
        *(f"SET {setting.replace('=', ' TO ', 1)}" for setting in facts["settings"]),
    ]
    kind = "PROCEDURE" if facts["kind"] == "procedure" else "FUNCTION"
    returns = f" RETURNS {facts['result']}" if facts["result"] else ""
    plain = name.partition("(")[0]
    body = facts["body"]
    quote = "$$" if "$$" not in body else "$body$"
    tail = body if body.startswith(("BEGIN ATOMIC", "RETURN ")) else f"AS {quote}\n{body}\n{quote}"
    return f"CREATE {kind} {quoted(plain)}({facts['arguments']}){returns}\n    {' '.join(traits)} {tail};"


def _table(name: str, facts: dict[str, Any]) -> str:
    lines = [f"    {quoted(column)} {_column(c)}" for column, c in facts["columns"].items()]
    lines += [
        f"    CONSTRAINT {quoted(constraint)} {c['definition']}" for constraint, c in facts["constraints"].items()
    ]
    unlogged = "UNLOGGED " if facts.get("unlogged") else ""
    tail = f" INHERITS ({facts['parents']})" if "parents" in facts and "partition_bound" not in facts else ""
    if "partition_bound" in facts:
        tail = f" -- a partition of {facts['parents']} {facts['partition_bound']}"
    if "partition_key" in facts:
        tail += f" PARTITION BY {facts['partition_key']}"
    statements = [f"CREATE {unlogged}TABLE {quoted(name)} (\n" + ",\n".join(lines) + f"\n){tail};"]
    statements += _comments(name, facts)
    return "\n".join([*statements, *_attached(name, facts)])


def _column(facts: dict[str, Any]) -> str:
    words = [short_type(facts["type"])]
    if "collation" in facts:
        words.append(f'COLLATE "{facts["collation"]}"')
    if "identity" in facts:
        words.append(f"GENERATED {facts['identity'].upper()} AS IDENTITY")
    elif "generated" in facts:
        expression, _, how = facts["generated"].rpartition(" ")
        words.append(f"GENERATED ALWAYS AS ({expression}) {how.upper()}")
    elif "default" in facts:
        words.append(f"DEFAULT {facts['default']}")
    if not facts["nullable"]:
        words.append("NOT NULL")
    return " ".join(words)


def _comments(name: str, facts: dict[str, Any]) -> Iterator[str]:
    kind = facts["kind"].removeprefix("partitioned ").upper()
    if "comment" in facts:
        yield f"COMMENT ON {kind} {quoted(name)} IS {_text(facts['comment'])};"
    for column, its in facts["columns"].items():
        if "comment" in its:
            yield f"COMMENT ON COLUMN {quoted(name)}.{quoted(column)} IS {_text(its['comment'])};"


def _attached(name: str, facts: dict[str, Any]) -> Iterator[str]:
    for index, its in facts.get("indexes", {}).items():
        definition = its["definition"].removeprefix("unique ")
        unique = "UNIQUE " if definition != its["definition"] else ""
        note = "" if its["valid"] else " -- INVALID"
        yield f"CREATE {unique}INDEX {quoted(index)} ON {quoted(name)} USING {definition};{note}"
    for trigger, its in facts.get("triggers", {}).items():
        constraint = "CONSTRAINT " if its["definition"].startswith("CONSTRAINT ") else ""
        definition = its["definition"].removeprefix("CONSTRAINT ")
        yield f"CREATE {constraint}TRIGGER {quoted(trigger)} {definition};"
        if its["state"] != "enabled":
            word = {"disabled": "DISABLE", "enabled for replicas": "ENABLE REPLICA", "enabled always": "ENABLE ALWAYS"}
            yield f"ALTER TABLE {quoted(name)} {word[its['state']]} TRIGGER {quoted(trigger)};"
    if "row_security" in facts:
        yield f"ALTER TABLE {quoted(name)} ENABLE ROW LEVEL SECURITY;"
        if facts["row_security"] == "forced":
            yield f"ALTER TABLE {quoted(name)} FORCE ROW LEVEL SECURITY;"
    for policy, its in facts.get("policies", {}).items():
        yield f"CREATE POLICY {quoted(policy)} ON {quoted(name)} AS {its['definition']};"


def _view(name: str, facts: dict[str, Any]) -> str:
    options = f" WITH ({', '.join(facts['options'])})" if "options" in facts else ""
    create = f"CREATE {facts['kind'].upper()} {quoted(name)}{options} AS\n{facts['definition']};"
    return "\n".join([create, *_comments(name, facts), *_attached(name, facts)])
