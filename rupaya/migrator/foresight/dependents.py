"""What in the database itself uses a table or a column: by what the catalog records, and by the texts of functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.foresight.relations import RELATION, Target

_SELF = f"""
    SELECT c.oid, coalesce(a.attnum, 0) FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid
    AND a.attname = %(column)s AND NOT a.attisdropped WHERE c.oid = {RELATION}
"""
# Those that would fail, or go, with it; what belongs to it alone, such as its index, goes with it and is nobody's.
_RECORDED = """
    SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::oid
      AND d.classid = ANY(ARRAY['pg_policy', 'pg_trigger', 'pg_publication_rel']::regclass[])
      AND NOT EXISTS (  -- which keep two columns in step until one of them goes
          SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE d.classid = 'pg_trigger'::regclass
          AND t.oid = d.objid AND starts_with(t.tgname, 'migrator_') AND starts_with(p.proname, 'migrator_'))
      AND CASE WHEN %(number)s = 0 THEN d.deptype <> 'a' AND NOT EXISTS (
                   SELECT FROM pg_trigger t WHERE d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
                   AND (t.tgrelid = %(oid)s::oid OR t.tgisinternal))
               ELSE d.refobjsubid = %(number)s END
"""
_SENT = """
    SELECT 'publication ' || pubname || ' sends it to its subscribers' FROM pg_publication_tables
    WHERE (schemaname, tablename) = (SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n
                                     ON n.oid = c.relnamespace WHERE c.oid = %(oid)s::oid)
      AND EXISTS (SELECT FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database())
"""
_GENERATED = """
    SELECT 'generated column ' || a.attname FROM pg_attrdef f
    JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
    WHERE f.adrelid = %(oid)s::oid AND f.adnum <> %(number)s AND EXISTS (
        SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = f.adrelid
        AND d.refobjsubid = %(number)s AND %(number)s <> 0
        AND ((d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid)
             OR (d.classid = 'pg_class'::regclass AND (d.objid, d.objsubid) = (f.adrelid, f.adnum))))
"""
_FOREIGN_KEYS = """
    SELECT 'foreign key ' || c.conname || ' of ' || c.conrelid::regclass FROM pg_constraint c
    WHERE c.contype = 'f' AND c.confrelid = %(oid)s::oid AND c.conrelid <> c.confrelid
      AND (%(number)s = 0 OR %(number)s = ANY (c.confkey))
"""
_SUBSCRIPTIONS = """
    SELECT 'subscription ' || coalesce((SELECT subname FROM pg_subscription s WHERE s.oid = r.srsubid), r.srsubid::text)
    FROM pg_subscription_rel r WHERE r.srrelid = %(oid)s::oid
"""
# What is read only by those who use it. A foreign key's own queries read its table, and an index on its columns.
_TELLING = """
    SELECT c.relname FROM pg_class c WHERE c.oid = %(oid)s::oid AND %(number)s = 0
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND c.oid IN (k.conrelid, k.confrelid))
    UNION ALL
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = %(oid)s::oid AND i.indnkeyatts = 1 AND i.indkey[0] = %(number)s AND %(number)s <> 0
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND (
          (k.conrelid = i.indrelid AND %(number)s = ANY (k.conkey))
          OR (k.confrelid = i.indrelid AND %(number)s = ANY (k.confkey))))
"""
# Bodies are texts to the server; what it has parsed, it records.
_FUNCTIONS = """
    SELECT p.oid::regprocedure::text, p.prosrc, l.lanname,
           EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid AND t.tgrelid = %(oid)s::oid),
           EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                   AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s::oid
                   AND (%(number)s = 0 OR d.refobjsubid IN (0, %(number)s))),
           EXISTS (SELECT FROM pg_depend d JOIN pg_class c ON c.reltype = d.refobjid OR c.reltype = (
                       SELECT typelem FROM pg_type WHERE pg_type.oid = d.refobjid)
                   WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_type'::regclass
                   AND c.oid = %(oid)s::oid)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT (starts_with(p.proname, 'migrator_') AND p.prorettype = 'trigger'::regtype)
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid
                      AND e.deptype = 'e')
    ORDER BY 1
"""
NEAR = 300
"""As many characters around a name are looked at."""
_KEYWORDS = frozenset(
    "as on using where set values select table default join left right inner outer cross full natural group order limit"
    " offset having union except intersect for returning loop overriding window with tablesample when".split()
)
_SELF_MADE = re.compile(r"\bexecute\b(?!\s+(?:function|procedure)\b)", re.IGNORECASE)
_STAR = re.compile(r"(?<!count\()\*(?=\s*(?:[,;)]|from\b|into\b|where\b|$))", re.IGNORECASE)
_SAYS_WHICH = r"(?:\b(?:from|join|update|only|using|table))\s+(?:\w+\.)?"


class Dependents:
    """What was found of one target."""

    def __init__(self, connection: PgConnection, target: Target) -> None:
        self.target = target
        self.uses: list[str] = []
        """What surely would fail, or go, with it."""
        self.unseen: list[str] = []
        """Who gets it from here, and may use it where nobody sees it."""
        self.telling: list[str] = []
        """The table, or indexes of the column: if they are read, it is used."""
        self.doubtful: list[str] = []
        """Functions whose texts do not show whether they use it; what they send is counted only with track = all."""
        with connection.cursor() as cursor:
            cursor.execute(_SELF, {"column": target.column, "name": target.table})
            row = cursor.fetchone()
            if row is None:
                return
            asked = {"oid": row[0], "number": row[1]}
            for sql in (_RECORDED, _GENERATED, _FOREIGN_KEYS, _SUBSCRIPTIONS):
                cursor.execute(sql, asked)
                self.uses += [name for (name,) in cursor.fetchall()]
            cursor.execute(_SENT, asked)
            self.unseen = [line for (line,) in cursor.fetchall()]
            cursor.execute(_TELLING, asked)
            self.telling = [name for (name,) in cursor.fetchall()]
            cursor.execute(_FUNCTIONS, asked)
            for name, *facts in cursor.fetchall():
                self._look_at(name, *facts)

    def _look_at(
        self, name: str, body: str, language: str, is_trigger: bool, is_recorded: bool, has_row_type: bool
    ) -> None:
        table, column = self.target.table.rpartition(".")[2], self.target.column
        names_table, names_column = _has_word(body, table), not column or _has_word(body, column)
        if is_recorded or (names_column and (names_table or (is_trigger and bool(column)))):
            self.uses.append(f"function {name}")
        elif has_row_type or (names_table and takes_whole_rows(body, table)):
            self.doubtful.append(f"function {name} has whole rows of {table}")
        elif executes_texts_of_its_own(body, language):
            self.doubtful.append(f"function {name} executes texts of its own making")


def executes_texts_of_its_own(body: str, language: str) -> bool:
    """Whether a function may send statements that are not in its text."""
    return bool(_SELF_MADE.search(body)) or language not in ("sql", "plpgsql", "internal", "c")


def takes_whole_rows(body: str, table: str) -> bool:
    """Whether a function's text may have rows of a table with whatever columns they have; on the careful side."""
    if re.search(r"%\s*rowtype\b", body, re.IGNORECASE) or _STAR.search(body):
        return True
    for name in {table.lower(), *_aliases(body, table)}:
        for found in re.finditer(rf'(?<!\w)"?{re.escape(name)}"?(?!\w)', body, re.IGNORECASE):
            before, after = body[max(0, found.start() - NEAR) : found.start()], body[found.end() : found.end() + NEAR]
            if not _is_harmless_at(before, after, table, is_table=name == table.lower()):
                return True
    return False


def _aliases(body: str, table: str) -> Iterator[str]:
    pattern = rf'(?<!\w)"?{re.escape(table)}"?\s+(?:as\s+)?"?(\w+)"?'
    for found in re.finditer(pattern, body, re.IGNORECASE):
        if found[1].lower() not in _KEYWORDS:
            yield found[1].lower()


def _is_harmless_at(before: str, after: str, table: str, *, is_table: bool) -> bool:
    """Whether the name between is part of ``name.column``, or of where a statement says which table it is about."""
    if after.lstrip().startswith("."):
        return True
    if re.search(r"\binto\s+(?:only\s+)?(?:\w+\.)?$", before, re.IGNORECASE):
        return after.lstrip().lower().startswith(("(", "default"))
    between = "" if is_table else rf'"?{re.escape(table)}"?\s+(?:as\s+)?'
    return bool(re.search(_SAYS_WHICH + between + "$", before, re.IGNORECASE))


def _has_word(body: str, word: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", body, re.IGNORECASE))
