"""What PostgreSQL's own catalog says about a table, a line a fact, to be compared with literal text."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

COLUMNS = """
SELECT concat_ws(' ',
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN 'not null' END,
    'default ' || regexp_replace(pg_get_expr(d.adbin, d.adrelid), '::character varying$', '')
)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
# PostgreSQL 18 also names its NOT NULLs: contype 'n'.
CONSTRAINTS = """
SELECT concat_ws(' ',
    conname,
    CASE WHEN contype = 'c' THEN 'CHECK' ELSE pg_get_constraintdef(oid) END,
    CASE WHEN NOT convalidated THEN 'NOT VALID' END
)
FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype IN ('p', 'u', 'f', 'c')
"""
INDEXES = """
SELECT concat_ws(' ',
    c.relname,
    CASE WHEN i.indisunique THEN 'unique' END,
    regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING btree ', ''),
    CASE WHEN NOT i.indisvalid THEN 'INVALID' END
)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%s) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype <> 'f')
"""
TRIGGERS = """
SELECT regexp_replace(pg_get_triggerdef(oid, true), '^CREATE TRIGGER ', '')
FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal
"""


def facts(cursor: Any, table: str) -> list[str]:
    """The table's columns, constraints, further indexes and triggers, each as a line, sorted."""
    lines = []
    for query in (COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS):
        cursor.execute(query, [table])
        lines += [line for (line,) in cursor.fetchall()]
    return sorted(lines)


def lines(text: str) -> list[str]:
    """The lines of an indented literal, sorted; empty ones left out."""
    return sorted(line for line in dedent(text).splitlines() if line)


def dump(cursor: Any) -> list[str]:
    """Everything in the schema `public` that a migration can make, with the order of columns."""
    cursor.execute(
        """
        SELECT concat_ws(' ', c.oid::regclass, c.relkind, pg_get_viewdef(c.oid)) FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S')
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, rank() OVER (PARTITION BY attrelid ORDER BY attnum),
            attname, format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid))
            FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
            LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
                AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_indexdef(indexrelid) || indisvalid
            FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_triggerdef(t.oid)
            FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
            WHERE NOT tgisinternal AND c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1
        """
    )
    return [line for (line,) in cursor.fetchall()]
