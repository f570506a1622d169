"""What of a migration's own SQL is known to be harmless; a list of what is safe, and everything else is not on it.

Locks, rewrites and scans are measured and are no concern here: a form is listed if what it does to old code, to data
and to the transaction around it is known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import sqlparse

_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[\w$]+))?'
_IF_EXISTS = r"(?:IF (?:NOT )?EXISTS )?"
_ARGUMENTS = r"(?: ?\((?:[^()]|\([^()]*\))*\))?"
_RULE = r"(?:CONSTRAINT|CHECK|UNIQUE|PRIMARY KEY|FOREIGN KEY|EXCLUDE)\b"

# Forms that old code survives; what they do to a table is measured.
_EXPAND = [
    r"CREATE (?:UNLOGGED )?TABLE ",
    r"CREATE (?:OR REPLACE )?(?:RECURSIVE )?VIEW ",
    r"CREATE MATERIALIZED VIEW ",
    r"CREATE INDEX ",
    r"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER ",
    r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE|AGGREGATE) ",
    r"CREATE (?:TYPE|DOMAIN|SCHEMA|SEQUENCE|EXTENSION|COLLATION|STATISTICS|TEXT SEARCH|OPERATOR|CAST) ",
    rf"ALTER TYPE {_NAME} ADD VALUE ",
    rf"ALTER INDEX {_IF_EXISTS}{_NAME} (?:RENAME TO|SET|RESET|ALTER COLUMN|ATTACH PARTITION) ?",
    rf"ALTER SEQUENCE {_IF_EXISTS}{_NAME} (?:OWNED BY|INCREMENT|MAXVALUE|NO |CACHE|AS )",
    # What the planner reckons with; what a function may do, or as whom, is another matter.
    rf"ALTER (?:FUNCTION|ROUTINE) {_NAME}{_ARGUMENTS}(?: (?:COST|ROWS) [\d.]+)+(?: RESTRICT)? ?$",
    rf"ALTER STATISTICS {_IF_EXISTS}{_NAME} SET STATISTICS ",
    # Updates fail of a table that has no replica identity, or is published by other columns: old code's are tried. FOR
    # ALL TABLES and IN SCHEMA are also about those that nobody has made yet.
    rf"CREATE PUBLICATION {_NAME} (?:FOR TABLE |WITH \(|$)(?!.*\bTABLES IN SCHEMA\b)",
    rf"ALTER PUBLICATION {_NAME} ADD TABLE (?!.*\bTABLES IN SCHEMA\b)",
    r"DROP INDEX ",
    r"COMMENT ON ",
    r"ANALYZE\b",
    r"GRANT ",
    r"ALTER DEFAULT PRIVILEGES .*\bGRANT ",
    r"(?:INSERT|UPDATE|DELETE|MERGE|SELECT|WITH|VALUES)\b(?!.*\bFOR (?:NO KEY )?(?:UPDATE|SHARE)\b)",
    r"REINDEX (?:\([^)]*\) )?(?:TABLE|INDEX|SCHEMA|DATABASE) CONCURRENTLY ",
    r"REINDEX \(\s*CONCURRENTLY",
    r"REFRESH MATERIALIZED VIEW CONCURRENTLY ",
    r"VACUUM (?!FULL\b|\([^)]*\bFULL\b)",
    r"SET (?:SESSION |LOCAL )?(?:lock_timeout|statement_timeout|search_path|maintenance_work_mem|work_mem|timezone)\b",
    r"SET CONSTRAINTS ",
    r"RESET \w+",
    r"(?:DECLARE|FETCH|CLOSE|NOTIFY)\b",
    r"SHOW ",
]
_EXPAND_ACTIONS = [
    rf"ADD (?!{_RULE})",
    r"VALIDATE CONSTRAINT ",
    r"DROP CONSTRAINT ",
    r"RENAME CONSTRAINT ",
    rf"ALTER (?:COLUMN )?{_NAME} (?:SET DEFAULT|DROP DEFAULT|DROP NOT NULL|SET STATISTICS|SET STORAGE)\b",
    rf"ALTER (?:COLUMN )?{_NAME} (?:SET COMPRESSION|SET \(|RESET \(|ADD GENERATED|SET DATA TYPE|TYPE)",
    r"SET \(",
    r"RESET \(",
    r"RENAME (?:COLUMN )?",  # found by what it does: whatever is renamed had a name that code may use
    r"SET SCHEMA ",
    r"ATTACH PARTITION ",
    r"ALTER CONSTRAINT ",
    r"(?:CLUSTER ON|SET WITHOUT CLUSTER)\b",  # which index a later CLUSTER goes by; it moves nothing
    r"REPLICA IDENTITY (?:FULL|DEFAULT|USING INDEX )",
]
# Forms that old code may not survive, for when there is none left. What is given up for ever is not among them.
_CONTRACT = [
    r"DROP (?:TABLE|VIEW|MATERIALIZED VIEW|SEQUENCE|TYPE|DOMAIN|FUNCTION|PROCEDURE|AGGREGATE|SCHEMA|EXTENSION) ",
    r"DROP (?:TRIGGER|RULE|POLICY|COLLATION|STATISTICS) ",
    r"CREATE POLICY ",
    r"REVOKE ",
    r"ALTER VIEW ",
    r"CREATE UNIQUE INDEX ",
    r"ALTER DOMAIN ",
]
_CONTRACT_ACTIONS = [
    r"DROP (?!CONSTRAINT)",
    r"(?:ENABLE|DISABLE|NO FORCE|FORCE) (?:TRIGGER|ROW LEVEL SECURITY)\b",
    r"OWNER TO ",
    r"DETACH PARTITION ",
    rf"ADD {_RULE}",
    rf"ALTER (?:COLUMN )?{_NAME} SET NOT NULL\b",
]

_ANY_CASE = re.IGNORECASE | re.DOTALL
_PARTS = re.compile(r"""(")?((?(1)(?:[^"]|"")+|[\w$]+))""")
_ALTER_TABLE = re.compile(rf"ALTER (?:TABLE|MATERIALIZED VIEW) {_IF_EXISTS}(?:ONLY )?({_NAME})\s*\*? (.*)$", _ANY_CASE)
_UNIQUE_INDEX = re.compile(
    rf"CREATE UNIQUE INDEX (?:CONCURRENTLY )?(?:{_IF_EXISTS}{_NAME} )?ON (?:ONLY )?({_NAME})", _ANY_CASE
)
_CHANGES_DATA = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|COPY)\b|WITH\b.*\b(INSERT INTO|UPDATE|DELETE FROM)\b", _ANY_CASE
)
# The server's own tables: what that does is known to nobody, and no lock or rewrite shows it.
_CHANGES_CATALOG = re.compile(
    r'\b(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO)\s+(?:ONLY\s+)?(?:"?pg_catalog"?\s*\.\s*)?"?pg_', re.IGNORECASE
)
_BODY = re.compile(r"\$(\w*)\$(.*?)\$\1\$|'((?:[^']|'')*)'", re.DOTALL)
_WORDS_BEFORE = re.compile(
    r"(?:BEGIN|DECLARE|ELSE|LOOP|THEN|IF\b.*?\bTHEN|ELSIF\b.*?\bTHEN|WHEN\b.*?\bTHEN|FOR\b.*?\bLOOP|WHILE\b.*?\bLOOP"
    r"|EXCEPTION|DO|<<\w+>>)\s+",
    _ANY_CASE,
)
_CONTROL = re.compile(
    r"(END( IF| LOOP| CASE)?|NULL|RETURN|RAISE\b.*|PERFORM\b.*|GET DIAGNOSTICS.*|\w+\s*:=.*|EXIT.*"
    r"|\w+ [\w\[\]().% ]+|)$",
    _ANY_CASE,
)
_EXECUTE = re.compile(r"EXECUTE\s+('(?:[^']|'')*'|\$(\w*)\$.*?\$\2\$)\s*$", re.IGNORECASE | re.DOTALL)
_VERBS = re.compile(
    r"(ALTER|DROP|CREATE|TRUNCATE|LOCK|UPDATE|DELETE|INSERT|GRANT|REVOKE|EXECUTE|CLUSTER|REINDEX|VACUUM|COPY|CALL|SET|REFRESH|MERGE|SELECT|WITH)\b",
    re.IGNORECASE,
)


def _any(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_SAFE, _SAFE_ACTION = _any(_EXPAND), _any(_EXPAND_ACTIONS)
_LATE, _LATE_ACTION = _any([*_EXPAND, *_CONTRACT]), _any([*_EXPAND_ACTIONS, *_CONTRACT_ACTIONS])


def statements_of(script: str) -> list[str]:
    """The statements of a script, each on one line and without comments."""
    found = (
        " ".join(str(sqlparse.format(text, strip_comments=True)).split()).rstrip("; ")
        for text in sqlparse.split(script)
    )
    return [text for text in found if text]


def unlisted(script: str, *, no_old_code: bool, fresh: Collection[str] = ()) -> list[str]:
    """The statements of a script that are not known to be harmless; with `no_old_code` more are.

    `fresh`: tables that no old code knows, as PostgreSQL writes their names.
    """
    new = set(map(_bare, fresh))
    return [text for text in statements_of(script) if not _is_listed(text, no_old_code, new)]


def needs_contract(statement: str) -> bool:
    """Whether a statement that is not listed would be if no old code were left."""
    return _is_listed(statement, no_old_code=True)


def changes_data(script: str) -> bool:
    """Whether any statement writes rows."""
    return any(_CHANGES_DATA.match(text) for text in statements_of(script))


def _is_listed(statement: str, no_old_code: bool, fresh: Collection[str] = ()) -> bool:
    if changed := _ALTER_TABLE.match(statement):
        action = _LATE_ACTION if no_old_code or _bare(changed[1]) in fresh else _SAFE_ACTION
        return all(action.match(part) for part in _apart(changed[2], ","))
    if re.match(r"DO\b", statement, re.IGNORECASE):
        return all(_is_listed(inner, no_old_code, fresh) for inner in _inside(statement))
    if _CHANGES_CATALOG.search(statement):
        return False
    if (index := _UNIQUE_INDEX.match(statement)) and _bare(index[1]) in fresh:
        return True
    return bool((_LATE if no_old_code else _SAFE).match(statement + " "))


def _bare(name: str) -> str:
    """A table's name however it is written: without quotes that it does not need, and without the usual schema."""
    parts = [part.replace('""', '"') if quoted else part.lower() for quoted, part in _PARTS.findall(name) if part]
    return ".".join(parts[1:] if parts[:1] == ["public"] else parts)


def _inside(statement: str) -> Iterator[str]:
    """What the body of a DO block may execute; a text that is put together only when it runs is given as it stands."""
    body = _BODY.search(statement)
    if body is None:
        yield statement
        return
    for part in _apart(body[2] if body[2] is not None else body[3].replace("''", "'"), ";"):
        text = part
        while before := _WORDS_BEFORE.match(text):
            text = text[before.end() :]
        if executed := _EXECUTE.match(text):
            quoted = executed[1]
            yield from statements_of(
                quoted[1:-1].replace("''", "'") if quoted[0] == "'" else quoted.split("$", 2)[2].rsplit("$", 2)[0]
            )
        elif _VERBS.match(text) or not _CONTROL.match(text):
            yield text


def _apart(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that are outside quotes and brackets."""
    parts, depth, quote, current = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == separator and depth == 0:
            parts.append(current.strip())
            current = ""
            continue
        current += character
    return [part for part in [*parts, current.strip()] if part]
