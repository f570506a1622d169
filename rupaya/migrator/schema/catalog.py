"""What the schema *is*: PostgreSQL's own catalog, read into plain data that can be stored, hashed and compared.

Nothing in it depends on oids, on the order of rows, on the session's settings or on the server's version; the output of
pg_dump depends on them all. PostgreSQL 18 gives NOT NULL constraints names of their own: they are left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
from django.db import Error

Catalog = dict[str, dict[str, Any]]
"""By category (`CATEGORIES`) and name, all that is known of an object; what belongs to a relation is inside it."""
Names = Mapping[str, frozenset[str]]
"""Names by category. Those in the current schema stand alone; others are qualified."""

CATEGORIES = ("extensions", "types", "functions", "relations")
PARTS = ("constraints", "indexes", "triggers", "policies")
"""What a relation has besides columns, which are in the order of the table."""
RELATION_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "f": "foreign table",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
}
# The migrator's own tables and functions are no part of the schema that migrations build.
OWN_PREFIX = "migrator_"
# Nor is what was put away (`rupaya.migrator.attic`): tables in a schema of this name, columns, their indexes and
# sequences under names that begin with it.
ATTIC = "migrator_attic"

# Constants in defaults and conditions are printed by these.
_PRINTING = {
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "quote_all_identifiers": "off",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "lc_monetary": "C",
}


# A condition on a list of texts is printed in another way once it was restored from a dump: both ways as one.
_LITERAL = r"'(?:[^']|'')*'"
_LIST_OF_VARCHARS = re.compile(rf"ARRAY\[((?:{_LITERAL}::character varying(?:, )?)+)\]::text\[\]")
_VARCHAR_AS_TEXT = re.compile(rf"({_LITERAL})::character varying::text\b")
_ONE_TABLE = re.compile(r'\n +FROM (?P<table>[\w."]+)(?: (?P<alias>[\w"]+))?(?:\n|$)')


# Not current_user::regrole, which would fold the capitals of a role's name.
_THIS_ROLE = "(SELECT oid FROM pg_roles WHERE rolname = current_user)"


def _named(column: str) -> str:
    here = "n.nspname = coalesce(current_schema(), 'public')"
    return f"CASE WHEN {here} THEN {column} ELSE n.nspname || '.' || {column} END"


def _foreign(catalog: str, owner: str) -> str:
    """What is neither the server's nor an extension's; and, if asked, made by this very role."""
    return (
        f"n.nspname NOT IN ('information_schema', '{ATTIC}') AND n.nspname !~ '^pg_'"
        f" AND (NOT %(own)s OR {owner} = {_THIS_ROLE})"
        f" AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = x.oid"
        " AND e.deptype = 'e')"
    )


def _grants(acl: str, kind: str, owner: str) -> str:
    """``{"role": ["SELECT", …]}`` without the owner's own."""
    return f"""
        (SELECT coalesce(json_object_agg(grantee, privileges), '{{}}') FROM (
            SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS grantee,
                   array_agg(a.privilege_type || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
                             ORDER BY a.privilege_type) AS privileges
            FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) a
            WHERE a.grantee <> {owner} GROUP BY 1) granted)"""  # noqa: S608 - constants


_RELATION_NAMES = f"""
    SELECT x.oid, {_named("x.relname")} FROM pg_class x JOIN pg_namespace n ON n.oid = x.relnamespace
    WHERE x.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND NOT x.relispartition
      AND NOT starts_with(x.relname, '{ATTIC}_')
      AND {_foreign("pg_class", "x.relowner")}
"""  # noqa: S608 - constants
_FUNCTION_NAMES = f"""
    SELECT x.oid, {_named("x.proname")} || '(' || pg_get_function_identity_arguments(x.oid) || ')'
    FROM pg_proc x JOIN pg_namespace n ON n.oid = x.pronamespace WHERE {_foreign("pg_proc", "x.proowner")}
"""  # noqa: S608 - constants
# Row types and arrays come with their tables and elements.
_TYPE_NAMES = f"""
    SELECT x.oid, {_named("x.typname")} FROM pg_type x JOIN pg_namespace n ON n.oid = x.typnamespace
    WHERE (x.typtype IN ('e', 'd') OR x.typtype = 'r'
           OR x.typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = x.typrelid) = 'c')
      AND {_foreign("pg_type", "x.typowner")}
"""  # noqa: S608 - constants
_EXTENSION_NAMES = f"""
    SELECT x.oid, x.extname FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
    WHERE x.extname <> 'plpgsql' AND (NOT %(own)s OR x.extowner = {_THIS_ROLE})
"""  # noqa: S608 - constants
_NAMES = {
    "extensions": _EXTENSION_NAMES,
    "types": _TYPE_NAMES,
    "functions": _FUNCTION_NAMES,
    "relations": _RELATION_NAMES,
}

# What hangs on given relations, so that it is read with them: children (but no
# partitions, which jobs make and drop all the time), the sequences of their columns
# (one that lost its owner is known by its name), the functions of their triggers, the types of their columns.
_ATTACHED_RELATIONS = """
    WITH RECURSIVE family AS (
        SELECT unnest(%(relations)s::oid[]) AS oid
        UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON f.oid = i.inhparent
        JOIN pg_class p ON p.oid = i.inhrelid AND NOT p.relispartition
    ), named AS (SELECT c.oid, c.relname, c.relnamespace FROM family f JOIN pg_class c ON c.oid = f.oid
    ), orphans AS MATERIALIZED (  -- first, for they are few, and each is compared with every table
        SELECT s.oid, s.relname, s.relnamespace FROM pg_class s
        WHERE s.relkind = 'S' AND s.relname ~ '_seq[0-9]*$'
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid
                          AND d.deptype IN ('a', 'i'))
    )
    SELECT oid FROM family
    UNION SELECT d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid IN (SELECT oid FROM family) AND d.deptype IN ('a', 'i')
    UNION SELECT d.refobjid FROM pg_attrdef a JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
        JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
        WHERE a.adrelid IN (SELECT oid FROM family) AND d.refclassid = 'pg_class'::regclass
    UNION SELECT s.oid FROM orphans s JOIN named t ON s.relnamespace = t.relnamespace
        WHERE starts_with(s.relname, t.relname || '_')
"""
_ATTACHED_FUNCTIONS = """
    SELECT t.tgfoid FROM pg_trigger t WHERE t.tgrelid = ANY(%(relations)s::oid[]) AND NOT t.tgisinternal
"""
_ATTACHED_TYPES = """
    SELECT CASE WHEN t.typelem <> 0 AND t.typcategory = 'A' THEN t.typelem ELSE t.oid END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY(%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
"""
_ATTACHED_EXTENSIONS = """
    SELECT d.refobjid FROM pg_depend d WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
      AND d.classid = 'pg_type'::regclass AND d.objid = ANY(%(types)s::oid[])
"""

_RELATIONS = f"""
    SELECT c.oid, c.relkind, pg_get_userbyid(c.relowner),
           {_grants("c.relacl", "r", "c.relowner")},
           obj_description(c.oid, 'pg_class'), c.relpersistence = 'u' AND c.relkind <> 'S',
           CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid, true) END,
           CASE WHEN c.relkind = 'v' THEN c.reloptions END,
           CASE WHEN c.relrowsecurity THEN CASE WHEN c.relforcerowsecurity THEN 'forced' ELSE 'enabled' END END,
           CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
           (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
            FROM pg_inherits i WHERE i.inhrelid = c.oid),
           pg_get_expr(c.relpartbound, c.oid, true)
    FROM pg_class c WHERE c.oid = ANY(%(oids)s::oid[])
"""  # noqa: S608 - constants
_COLUMNS = f"""
    SELECT a.attrelid, a.attname, rank() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
           format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid, true),
           a.attidentity, a.attgenerated,
           CASE WHEN a.attcollation <> t.typcollation
                THEN (SELECT l.collname FROM pg_collation l WHERE l.oid = a.attcollation) END,
           CASE WHEN a.attacl IS NULL THEN '{{}}' ELSE {_grants("a.attacl", "c", "c.relowner")} END,
           col_description(a.attrelid, a.attnum)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY(%(oids)s::oid[]) AND c.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT starts_with(a.attname, '{ATTIC}_')
    ORDER BY a.attrelid, a.attnum
"""  # noqa: S608 - constants
# Foreign keys are enforced by triggers of their own, which can be disabled.
_CONSTRAINTS = f"""
    SELECT con.conrelid, con.conname, con.contype, pg_get_constraintdef(con.oid, true),
           NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = con.oid AND t.tgenabled NOT IN ('O', 'A'))
    FROM pg_constraint con WHERE con.conrelid = ANY(%(oids)s::oid[]) AND con.contype IN ('c', 'f', 'p', 'u', 'x')
      AND NOT starts_with(con.conname, '{ATTIC}_')
"""  # noqa: S608 - constants
_INDEXES = f"""
    SELECT i.indrelid, c.relname, i.indisunique, pg_get_indexdef(i.indexrelid, 0, true), i.indisvalid AND i.indisready
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY(%(oids)s::oid[]) AND NOT starts_with(c.relname, '{ATTIC}_') AND NOT EXISTS (
        SELECT FROM pg_constraint con
        WHERE con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x'))
"""  # noqa: S608 - constants
_TRIGGERS = """
    SELECT t.tgrelid, t.tgname, quote_ident(t.tgname), pg_get_triggerdef(t.oid, true), t.tgenabled
    FROM pg_trigger t WHERE t.tgrelid = ANY(%(oids)s::oid[]) AND NOT t.tgisinternal AND t.tgparentid = 0
"""
_POLICIES = """
    SELECT p.polrelid, p.polname, concat_ws(' ',
        CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        'FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        'TO ' || (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r) END, ', ' ORDER BY 1)
                  FROM unnest(p.polroles) r),
        'USING (' || pg_get_expr(p.polqual, p.polrelid, true) || ')',
        'WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid, true) || ')')
    FROM pg_policy p WHERE p.polrelid = ANY(%(oids)s::oid[])
"""
_SEQUENCES = """
    SELECT s.seqrelid, format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
           s.seqcycle, d.refobjid, a.attname
    FROM pg_sequence s
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE s.seqrelid = ANY(%(oids)s::oid[])
"""
_FUNCTIONS = f"""
    SELECT p.oid, pg_get_userbyid(p.proowner), {_grants("p.proacl", "f", "p.proowner")},
           CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function'
                          ELSE 'function' END,
           pg_get_function_arguments(p.oid), coalesce(pg_get_function_result(p.oid), ''), l.lanname,
           CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
           p.proisstrict, p.prosecdef, p.proconfig, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid = ANY(%(oids)s::oid[])
"""  # noqa: S608 - constants
_TYPES = f"""
    SELECT t.oid, t.typtype, pg_get_userbyid(t.typowner), {_grants("t.typacl", "T", "t.typowner")},
           (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
           CASE t.typtype
           WHEN 'd' THEN concat_ws(' ',
               format_type(t.typbasetype, t.typtypmod),
               CASE WHEN t.typnotnull THEN 'NOT NULL' END,
               'DEFAULT ' || t.typdefault,
               (SELECT string_agg(
                    concat_ws(' ', 'CONSTRAINT', quote_ident(c.conname), pg_get_constraintdef(c.oid, true)),
                    ' ' ORDER BY c.conname)
                FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'))
           WHEN 'c' THEN (
               SELECT '(' || string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)),
                                        ', ' ORDER BY a.attnum) || ')'
               FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
           WHEN 'r' THEN (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid)
           END
    FROM pg_type t WHERE t.oid = ANY(%(oids)s::oid[])
"""  # noqa: S608 - constants
# Without the version: it follows the server's packages, not the migrations.
_EXTENSIONS = """
    SELECT e.oid, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.oid = ANY(%(oids)s::oid[])
"""
_TYPE_KINDS = {"e": "enum", "d": "domain", "c": "composite", "r": "range"}
_CONSTRAINT_KINDS = {"c": "check", "f": "foreign key", "p": "primary key", "u": "unique", "x": "exclusion"}
_TRIGGER_STATES = {"O": "enabled", "D": "disabled", "R": "enabled for replicas", "A": "enabled always"}


def names(cursor: Any, *, own: bool = False) -> Names:
    """The names of all that could be a migration's; with `own`, only of what the current role owns."""
    return {
        category: frozenset(name for _oid, name in _fetch(cursor, sql, own=own) if not name.startswith(OWN_PREFIX))
        for category, sql in _NAMES.items()
    }


def views(cursor: Any) -> frozenset[str]:
    return frozenset(name for _oid, name in _fetch(cursor, _RELATION_NAMES + " AND x.relkind IN ('v', 'm')", own=False))


def listed(catalog: Catalog | None) -> Names:
    """The names in a catalog."""
    return {category: frozenset((catalog or {}).get(category, {})) for category in CATEGORIES}


def united(*sets: Names) -> Names:
    """All the names of several sets."""
    return {category: frozenset().union(*(names.get(category, ()) for names in sets)) for category in CATEGORIES}


def without(all_names: Names, some: Names) -> Names:
    """The names of one set that are not in the other."""
    return {category: all_names[category] - some.get(category, frozenset()) for category in CATEGORIES}


def relation_names(relations: Iterable[str]) -> Names:
    """A set of names of relations alone."""
    return {"relations": frozenset(relations)}


def read(cursor: Any, wanted: Names | None = None) -> Catalog:
    """The objects of these names, as far as they exist, and whatever is attached to them; None: all there are.

    Attached is what hangs on a relation and what it cannot do without, no matter who made it: constraints, indexes and
    triggers, child tables, sequences, the functions of triggers, the types of columns.
    """
    with _plain_printing(cursor):
        named = {category: dict(_fetch(cursor, sql, own=False)) for category, sql in _NAMES.items()}
        chosen = {
            category: {
                oid
                for oid, name in found.items()
                if not name.startswith(OWN_PREFIX) and (wanted is None or name in wanted.get(category, ()))
            }
            for category, found in named.items()
        }
        relations = {oid for (oid,) in _fetch(cursor, _ATTACHED_RELATIONS, relations=list(chosen["relations"]))}
        chosen["relations"] |= relations & set(named["relations"])
        on = list(chosen["relations"])
        chosen["functions"] |= {o for (o,) in _fetch(cursor, _ATTACHED_FUNCTIONS, relations=on)} & set(
            named["functions"]
        )
        types = {oid for (oid,) in _fetch(cursor, _ATTACHED_TYPES, relations=on)}
        chosen["types"] |= types & set(named["types"])
        chosen["extensions"] |= {oid for (oid,) in _fetch(cursor, _ATTACHED_EXTENSIONS, types=list(types))}
        described = {
            "extensions": _describe_extensions(cursor, chosen["extensions"]),
            "types": _describe_types(cursor, chosen["types"]),
            "functions": _describe_functions(cursor, chosen["functions"]),
            "relations": _describe_relations(cursor, chosen["relations"], named["relations"]),
        }
    return {
        category: dict(sorted((named[category][oid], facts) for oid, facts in described[category].items()))
        for category in CATEGORIES
    }


def digest(catalog: Catalog) -> str:
    """A SHA-256 of all that is compared: the order of columns is not, because it depends on when each was added."""
    return hashlib.sha256(json.dumps(without_positions(catalog), sort_keys=True).encode()).hexdigest()


def without_positions(value: Any) -> Any:
    """The same without the places of columns, which depend on when each was added."""
    if isinstance(value, dict):
        # A column may well be called that; its facts are no number.
        return {k: without_positions(v) for k, v in value.items() if k != "position" or not isinstance(v, int)}
    return value


def _describe_extensions(cursor: Any, oids: set[int]) -> dict[int, Any]:
    return {oid: {"schema": schema} for oid, schema in _fetch(cursor, _EXTENSIONS, oids=list(oids))}


def _describe_types(cursor: Any, oids: set[int]) -> dict[int, Any]:
    return {
        oid: _known(kind=_TYPE_KINDS.get(kind, kind), owner=owner, grants=grants, labels=labels, definition=definition)
        for oid, kind, owner, grants, labels, definition in _fetch(cursor, _TYPES, oids=list(oids))
    }


def _describe_functions(cursor: Any, oids: set[int]) -> dict[int, Any]:
    described = {}
    for oid, owner, grants, kind, arguments, result, language, volatility, strict, definer, config, body in _fetch(
        cursor, _FUNCTIONS, oids=list(oids)
    ):
        described[oid] = _known(
            kind=kind,
            owner=owner,
            grants=grants,
            arguments=arguments,
            result=result,
            language=language,
            volatility=volatility,
            strict=strict,
            security="definer" if definer else "invoker",
            settings=sorted(config or ()),
            body=body.strip(),
        )
    return described


def _describe_relations(cursor: Any, oids: set[int], relation_names: Mapping[int, str]) -> dict[int, Any]:
    asked = list(oids)
    described: dict[int, dict[str, Any]] = {}
    for oid, kind, owner, grants, comment, unlogged, view, options, security, key, parents, bound in _fetch(
        cursor, _RELATIONS, oids=asked
    ):
        described[oid] = _known(
            kind=RELATION_KINDS[kind],
            owner=owner,
            grants=grants,
            comment=comment,
            unlogged=unlogged or None,
            definition=_as_restored(_unqualified(view.strip().rstrip(";"))) if view else None,
            options=sorted(options) if options else None,
            row_security=security,
            partition_key=key,
            parents=parents,
            partition_bound=bound,
        )
        if kind != "S":
            described[oid]["columns"] = {}
        if kind not in "Sv":
            described[oid] |= {"constraints": {}, "indexes": {}}
        if kind != "S":
            described[oid] |= {"triggers": {}, "policies": {}}
    for oid, name, position, type_, nullable, default, identity, generated, collation, grants, comment in _fetch(
        cursor, _COLUMNS, oids=asked
    ):
        described[oid]["columns"][name] = _known(
            position=position,
            type=type_,
            nullable=nullable,
            default=default if not generated else None,
            generated=f"{default} {'stored' if generated == 's' else 'virtual'}" if generated else None,
            identity={"a": "always", "d": "by default"}.get(identity),
            collation=collation,
            grants=grants or None,
            comment=comment,
        )
    for oid, name, kind, definition, enforced in _fetch(cursor, _CONSTRAINTS, oids=asked):
        described[oid]["constraints"][name] = {
            "kind": _CONSTRAINT_KINDS[kind],
            "definition": _as_restored(definition),
            "enforced": enforced,
        }
    for oid, name, unique, definition, valid in _fetch(cursor, _INDEXES, oids=asked):
        described[oid]["indexes"][name] = {
            "definition": ("unique " if unique else "") + _as_restored(definition.partition(" USING ")[2]),
            "valid": valid,
        }
    for oid, name, quoted, definition, state in _fetch(cursor, _TRIGGERS, oids=asked):
        described[oid]["triggers"][name] = {
            "definition": definition.removeprefix("CREATE ").replace(f"TRIGGER {quoted} ", "", 1),
            "state": _TRIGGER_STATES.get(state, state),
        }
    for oid, name, definition in _fetch(cursor, _POLICIES, oids=asked):
        described[oid]["policies"][name] = {"definition": definition}
    for oid, type_, increment, low, high, start, cache, cycle, table, column in _fetch(cursor, _SEQUENCES, oids=asked):
        described[oid] |= {
            "type": type_,
            "increment": increment,
            "minimum": low,
            "maximum": high,
            "start": start,
            "cache": cache,
            "cycle": cycle,
            "owned_by": f"{relation_names.get(table, table)}.{column}" if table else "none",
        }
    for relation in described.values():
        for part in PARTS:
            if part in relation:
                relation[part] = dict(sorted(relation[part].items()))
    return described


def _as_restored(expression: str) -> str:
    """An expression as it would be printed after a dump and a restore, casts of literals made short."""
    expression = _LIST_OF_VARCHARS.sub(
        lambda match: f"ARRAY[{match[1].replace('::character varying', '::text')}]", expression
    )
    return _VARCHAR_AS_TEXT.sub(r"\1::text", expression)


def _unqualified(view: str) -> str:
    """A view of one table without the table's name before each column, as PostgreSQL 16 and newer print it."""
    source = _ONE_TABLE.search(view)
    if source is None or len(re.findall(r"\b(?:SELECT|JOIN)\b", view)) != 1:
        return view
    name = source["alias"] or source["table"].rpartition(".")[2]
    return re.sub(rf"(?<![\w.\"']){re.escape(name)}\.(?=[\w\"])", "", view)


def _known(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _fetch(cursor: Any, sql: str, **parameters: Any) -> Iterator[tuple[Any, ...]]:
    cursor.execute(sql, parameters)
    return iter(cursor.fetchall())


@contextmanager
def _plain_printing(cursor: Any) -> Iterator[None]:
    """Let the server print constants in one way, whatever the session is set to."""
    cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in _PRINTING))
    before = dict(zip(_PRINTING, cursor.fetchone(), strict=True))
    _set(cursor, _PRINTING)
    try:
        yield
    finally:
        with suppress(psycopg2.Error, Error):  # in a failed transaction nothing can be set, and all will be undone
            _set(cursor, before)


def _set(cursor: Any, settings: Mapping[str, str]) -> None:
    cursor.execute(
        "SELECT " + ", ".join("set_config(%s, %s, false)" for _ in settings),
        [text for pair in settings.items() for text in pair],
    )
