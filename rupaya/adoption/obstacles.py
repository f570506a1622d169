"""What an adoption would stumble over half way: found before the first change, and named with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption import published
from rupaya.adoption.baseline import ALL, CREATED, UPDATED_AT_FUNCTION, baseline
from rupaya.adoption.original import TABLES, Key
from rupaya.adoption.privileges import is_missing
from rupaya.adoption.repairs import QUARANTINE, QUARANTINE_COLUMNS
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.schema.diff import INTEGERS
from rupaya.migrator.schema.dump import quoted

_COMPARED = ("kind", "definition", "columns", "constraints", "indexes", "triggers", "policies", "row_security")
# Of a function that is to be replaced: what CREATE OR REPLACE cannot change.
_FIXED = ("kind", "arguments", "result")
_AWAY = "CREATE SCHEMA IF NOT EXISTS kept; ALTER {kind} {name} SET SCHEMA kept (renaming it leaves its indexes' names)"

_NOT_OWNED = """
    SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class c
    WHERE c.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND c.relname = ANY(%s) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1
"""
# The contract's own trigger lets rows that are repaired keep the time of their last change; these do not.
_TRIGGERS = """
    SELECT c.relname, quote_ident(t.tgname) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND c.relname = ANY(%s)
      AND NOT t.tgisinternal AND t.tgtype & 2 > 0 AND t.tgtype & 16 > 0
      AND p.prosrc ILIKE '%%new.updated_at%%' AND p.proname <> 'set_updated_at' ORDER BY 1, 2
"""


_SEQUENCES = """
    SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND c.relname = ANY(%s)
      AND c.relkind = 'r' AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL
"""
# The copy that a plan is tried on has this schema alone.
_VIEWS_ELSEWHERE = """
    SELECT DISTINCT v.oid::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.refobjid = to_regclass(%s) AND a.attname = %s
      AND v.relnamespace <> coalesce(current_schema(), 'public')::regnamespace ORDER BY 1
"""
_RULES = """
    SELECT c.relname, quote_ident(r.rulename) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace = coalesce(current_schema(), 'public')::regnamespace AND c.relname = ANY(%s)
      AND c.relkind NOT IN ('v', 'm') ORDER BY 1, 2
"""
# What has a name: a relation, or a type of its own.
_COLUMNS_OF = """
    SELECT CASE WHEN c.oid IS NULL THEN 'type' ELSE CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
            WHEN 'i' THEN 'index' WHEN 'c' THEN 'type' ELSE 'table' END END,
        coalesce((SELECT json_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{}'::json)
    FROM unnest(ARRAY[%s]) name LEFT JOIN pg_class c ON c.oid = to_regclass(name)
    WHERE c.oid IS NOT NULL OR to_regtype(name) IS NOT NULL
"""
# What refers to one of these columns, or what one of them refers to, on and on: they change together or not at all.
_REFERENCES = """
    WITH RECURSIVE refers (t, c, to_t, to_c) AS (
        SELECT f.conrelid, its.attname, f.confrelid, key.attname FROM pg_constraint f
        JOIN pg_attribute its ON its.attrelid = f.conrelid AND its.attnum = f.conkey[1]
        JOIN pg_attribute key ON key.attrelid = f.confrelid AND key.attnum = f.confkey[1]
        WHERE f.contype = 'f' AND cardinality(f.conkey) = 1
    ), wanted (t, c) AS (
        SELECT to_regclass(split_part(place, '.', 1))::oid, split_part(place, '.', 2)::name COLLATE "C"
        FROM unnest(%s::text[]) place
      UNION
        SELECT CASE WHEN (r.t, r.c) = (w.t, w.c) THEN r.to_t ELSE r.t END,
               CASE WHEN (r.t, r.c) = (w.t, w.c) THEN r.to_c ELSE r.c END
        FROM wanted w JOIN refers r ON (w.t, w.c) IN ((r.t, r.c), (r.to_t, r.to_c))
    )
    SELECT wanted.t::regclass::text, quote_ident(wanted.c), a.attidentity <> '',
        pg_get_serial_sequence(wanted.t::regclass::text, wanted.c),
        ARRAY(SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', f.conrelid::regclass, f.conname)
              FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = wanted.t AND f.conkey = ARRAY[a.attnum]),
        ARRAY(SELECT format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', f.conrelid::regclass, f.conname,
                            pg_get_constraintdef(f.oid))
              FROM pg_constraint f WHERE f.contype = 'f' AND f.conrelid = wanted.t AND f.conkey = ARRAY[a.attnum])
    FROM wanted JOIN pg_attribute a ON a.attrelid = wanted.t AND a.attname = wanted.c ORDER BY 1, 2
"""
# Of version 4, as the original's own are: its API refuses others.
_UUID_OF_NUMBER = "('00000000-0000-4000-8000-' || lpad(to_hex({column}), 12, '0'))::uuid"
_CHILDREN = """
    SELECT i.inhparent::regclass::text, i.inhrelid::regclass::text FROM pg_inherits i
    WHERE i.inhparent = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) name) ORDER BY 1, 2
"""


def obstacles(connection: BaseDatabaseWrapper, live: Catalog, applied: set[Key], serves: str = "") -> list[str]:
    """Each of them in one line; empty if it can be carried out. `serves` is the role that does, if another."""
    with connection.cursor() as cursor:
        return [
            *_of_creation(cursor, live, applied),
            *_of_django(cursor, applied),
            *_of_kinds(cursor, live),
            *_of_function(live),
            *_of_types(connection, live),
            *_of_numbered_keys(cursor, live),
            *_of_views_elsewhere(cursor, live),
            *published.of_types(cursor, _other_types(live)),
            *published.of_rows(connection),
            *_of_quarantine(cursor),
            *_of_sequences(cursor),
            *_of_role(cursor, serves),
            *_of_ownership(cursor),
            *_of_triggers(cursor),
        ]


def _of_creation(cursor: Any, live: Catalog, applied: set[Key]) -> Iterator[str]:
    there = live["relations"]
    for key, names in CREATED.items():
        if key in applied:
            continue
        for name in names:
            wanted = baseline()["relations"][name]
            if name in there:
                if differing := [part for part in _COMPARED if _alike(there[name], part) != _alike(wanted, part)]:
                    yield (
                        f"{there[name]['kind']} {name} is there in another shape than the contract's "
                        f"({', '.join(differing)} differ): {_away(there[name], name)}, or drop it if nobody needs it"
                    )
                continue
            cursor.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = coalesce(current_schema(), 'public')::regnamespace "
                "AND relname = ANY(%s) ORDER BY 1",
                [[*wanted.get("indexes", {}), *wanted.get("constraints", {})]],
            )
            for (taken,) in cursor.fetchall():
                yield f"the name {taken}, which {name} needs, is taken: rename what has it"


def _away(facts: dict[str, Any], name: str) -> str:
    return _AWAY.format(kind=str(facts["kind"]).upper().removeprefix("PARTITIONED "), name=name)


def _alike(relation: dict[str, Any], part: str) -> Any:
    """A part without what differs from one environment to the next; nothing of it is as good as an empty one."""
    its = relation.get(part)
    if not isinstance(its, dict):
        return its
    ignored = ("position", "owner", "grants")
    return {name: {fact: value for fact, value in facts.items() if fact not in ignored} for name, facts in its.items()}


def _of_kinds(cursor: Any, live: Catalog) -> Iterator[str]:
    for table in TABLES:
        facts = live["relations"].get(table)
        if facts is None:
            continue
        if facts["kind"] != "table":
            yield f"{table} is a {facts['kind']} and must be a table: {_away(facts, table)}"
        if security := facts.get("row_security"):
            yield (
                f"row security is {security} on {table}, and its policies would hide rows from this service: "
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            )
        if facts.get("unlogged"):
            yield f"{table} is unlogged, and lost if the server crashes: ALTER TABLE {table} SET LOGGED"
        wanted = baseline()["relations"][table]["columns"]
        for column, its in facts.get("columns", {}).items():
            if column not in wanted and _is_required(its):
                yield (
                    f"{table}.{column}, which the contract does not have, is NOT NULL without a default, and rows that "
                    f"this service writes would be refused: ALTER TABLE {table} ALTER {quoted(column)} DROP NOT NULL, "
                    "or give it a default"
                )
            for fact in ("identity", "generated", "collation"):
                if column in wanted and its.get(fact) != wanted[column].get(fact):
                    yield (
                        f"{table}.{column} has {fact} {its.get(fact) or 'none'} and must have "
                        f"{wanted[column].get(fact) or 'none'}: give it the original's own shape with ALTER TABLE"
                    )
    cursor.execute(_RULES, [list(ALL)])
    for table, rule in cursor.fetchall():
        yield f"rule {rule} on {table} rewrites what is written to it: DROP RULE {rule} ON {table}"
    cursor.execute(_CHILDREN, [list(ALL)])
    for table, child in cursor.fetchall():
        yield (
            f"{child} inherits from {table}, and its rows would keep to no unique rule: "
            f"ALTER TABLE {child} NO INHERIT {table}"
        )


def _is_required(column: dict[str, Any]) -> bool:
    return not column["nullable"] and not any(column.get(fact) for fact in ("default", "identity", "generated"))


def _of_function(live: Catalog) -> Iterator[str]:
    facts, wanted = live["functions"].get(UPDATED_AT_FUNCTION), baseline()["functions"][UPDATED_AT_FUNCTION]
    if facts is not None and any(facts.get(fact) != wanted[fact] for fact in _FIXED):
        yield (
            f"{facts['kind']} {UPDATED_AT_FUNCTION} is there and is no trigger function: "
            f"ALTER {facts['kind'].upper()} {UPDATED_AT_FUNCTION} RENAME TO another"
        )


def _of_sequences(cursor: Any) -> Iterator[str]:
    cursor.execute(_SEQUENCES, [list(ALL)])
    for table, column, sequence in cursor.fetchall():
        cursor.execute(
            f"SELECT max({column}) >= last_value + is_called::int FROM {table}, {sequence} "
            "GROUP BY last_value, is_called"
        )
        row = cursor.fetchone()
        if row and row[0]:
            yield (
                f"sequence {sequence} is behind {table}.{column}, and the next row would have a key that is taken: "
                f"SELECT setval('{sequence}', (SELECT max({column}) FROM {table}))"
            )


def _of_role(cursor: Any, serves: str) -> Iterator[str]:
    if serves and is_missing(cursor, serves):
        yield f"the role {serves} of DATABASE_URL, which is to serve, is not there: CREATE ROLE it, or correct the URL"


def _of_django(cursor: Any, applied: set[Key]) -> Iterator[str]:
    begun = {app for app, _name in applied}
    names = {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and model._meta.app_label not in begun and model._meta.db_table not in ALL
    }
    cursor.execute(
        "SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(quote_ident(name)) IS NOT NULL "
        "AND name NOT LIKE 'migrator%%' ORDER BY 1",
        [sorted(names)],
    )
    for (name,) in cursor.fetchall():
        way = _AWAY.format(kind="TABLE", name=name)
        yield f"table {name}, which Django's migrations make, is somebody else's: {way}"


def _of_quarantine(cursor: Any) -> Iterator[str]:
    cursor.execute(_COLUMNS_OF, [QUARANTINE])
    kind, columns = cursor.fetchone() or ("", {})
    if kind and (kind != "table" or not QUARANTINE_COLUMNS.items() <= columns.items()):
        way = _AWAY.format(kind=kind.upper(), name=QUARANTINE)
        yield f"{kind} {QUARANTINE}, where adopt keeps rows as they were, is somebody else's: {way}"


def _of_types(connection: BaseDatabaseWrapper, live: Catalog) -> Iterator[str]:
    for place, old, new in _other_types(live):
        if not _is_numbered(old, new) and not _is_castable(connection, old, new):
            yield (
                f"{place} is {old} and must be {new}, which no value of it can become: this is not as the original's "
                "last release has it; restore or rebuild that table with the original's own Knex, and copy its rows"
            )


def _of_numbered_keys(cursor: Any, live: Catalog) -> Iterator[str]:
    places = [place for place, old, new in _other_types(live) if _is_numbered(old, new)]
    if not places:
        return
    cursor.execute(_REFERENCES, [places])
    before, changes, after = [], [], []
    for table, column, is_identity, sequence, drops, adds in cursor.fetchall():
        before += drops
        without = "DROP IDENTITY" if is_identity else "DROP DEFAULT"
        using = _UUID_OF_NUMBER.format(column=column)
        changes.append(f"ALTER TABLE {table} ALTER {column} {without}")
        changes.append(f"ALTER TABLE {table} ALTER {column} TYPE uuid USING {using}")
        if sequence and not is_identity:
            changes.append(f"DROP SEQUENCE {sequence}")
        after += adds
    way = "; ".join(["BEGIN", *before, *changes, *after, "COMMIT"])
    yield (
        f"{', '.join(places)} {'is a number' if len(places) == 1 else 'are numbers'} and must be uuid: make of each "
        f"number the uuid that ends in it, wherever it stands, with the original switched off: {way};"
    )


def _other_types(live: Catalog) -> Iterator[tuple[str, str, str]]:
    """Columns of the original's tables that have another type than its last release gives them, and which."""
    for table in TABLES:
        wanted = baseline()["relations"][table]["columns"]
        for column, facts in live["relations"].get(table, {}).get("columns", {}).items():
            if column in wanted and facts["type"] != wanted[column]["type"]:
                yield f"{table}.{column}", str(facts["type"]), str(wanted[column]["type"])


def _is_numbered(old: str, new: str) -> bool:
    return old in INTEGERS and new == "uuid"


def _of_views_elsewhere(cursor: Any, live: Catalog) -> Iterator[str]:
    for place, _old, new in _other_types(live):
        cursor.execute(_VIEWS_ELSEWHERE, place.split("."))
        for (view,) in cursor.fetchall():
            yield (
                f"view {view} uses {place}, whose type changes to {new}: "
                f"drop it, and make it again afterwards: DROP VIEW {view}"
            )


def _is_castable(connection: BaseDatabaseWrapper, old: str, new: str) -> bool:
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(f"SELECT CAST(CAST(NULL AS {old}) AS {new})")
    except Error:
        return False
    return True


def _of_ownership(cursor: Any) -> Iterator[str]:
    cursor.execute(_NOT_OWNED, [list(ALL)])
    for name, owner in cursor.fetchall():
        yield (
            f"{name} belongs to {owner}, and this role may not alter it: adopt as {owner}, or make this role its owner"
        )
    cursor.execute(
        "SELECT current_user, current_schema(), has_schema_privilege(coalesce(current_schema(), 'public'), 'CREATE')"
    )
    role, schema, may_create = cursor.fetchone()
    if not may_create:
        yield f'role {role} may not create in schema {schema}: GRANT CREATE ON SCHEMA {schema} TO "{role}"'
    cursor.execute(
        "SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE oid = to_regprocedure(%s) "
        "AND NOT pg_has_role(proowner, 'USAGE')",
        [UPDATED_AT_FUNCTION],
    )
    for (owner,) in cursor.fetchall():
        yield f"function {UPDATED_AT_FUNCTION} belongs to {owner}, and this role may not replace it: adopt as {owner}"


def _of_triggers(cursor: Any) -> Iterator[str]:
    cursor.execute(_TRIGGERS, [list(TABLES)])
    for table, trigger in cursor.fetchall():
        yield (
            f"trigger {trigger} on {table} would overwrite updated_at of every row that is fixed, and adopt makes its "
            f"own: DROP TRIGGER {trigger} ON {table}"
        )
