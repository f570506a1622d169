"""Texts of statements as `pg_stat_statements` keeps them, corrected so that the server can resolve them once more."""

from __future__ import annotations

import re

# Statements around a query that cannot be prepared; the query inside can.
_AROUND = re.compile(
    r"^\s*(?:DECLARE\s+\S+\s+(?:\w+\s+)*?CURSOR\s+(?:WITH(?:OUT)?\s+HOLD\s+)?FOR\s+"
    r"|EXPLAIN\s+(?:\([^)]*\)\s*|ANALYZE\s+|VERBOSE\s+)*"
    r"|PREPARE\s+\S+?\s*(?:\([^)]*\))?\s+AS\s+"
    r"|CREATE\s+(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED)\s+)*TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?\S+\s+AS\s+)"
    r"(?P<query>\(?\s*(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE|TABLE)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)
_COPY_QUERY = re.compile(r"^\s*COPY\s*\((?P<query>.*)\)\s*TO\b.*$", re.IGNORECASE | re.DOTALL)
_COPY_TABLE = re.compile(
    r'^\s*COPY\s+(?:BINARY\s+)?(?P<table>(?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?)\s*(?:\((?P<columns>[^)]*)\))?\s*(?:FROM|TO)\b',
    re.IGNORECASE,
)
_PREPARABLE = re.compile(r"^\s*\(*\s*(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE|TABLE)\b", re.IGNORECASE)
# They define, lock or maintain, and read no column for anybody: what they leave behind, the catalog shows.
_HARMLESS = re.compile(
    r"^\s*(?:ALTER|DROP|COMMENT|GRANT|REVOKE|VACUUM|ANALY[ZS]E|LOCK|REINDEX|CLUSTER|SET|RESET|SHOW|BEGIN|START|COMMIT|END"
    r"|ROLLBACK|ABORT|SAVEPOINT|RELEASE|DEALLOCATE|DISCARD|CLOSE|FETCH|MOVE|CHECKPOINT|LISTEN|UNLISTEN|NOTIFY"
    r"|REFRESH\s+MATERIALIZED|REASSIGN|SECURITY|IMPORT"
    r"|CREATE\s+(?!(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED)\s+)*TABLE\b))\b",
    re.IGNORECASE,
)
_TYPED = re.compile(r"\b(interval|date|time|timestamp|timestamptz)\s+(\$\d+)", re.IGNORECASE)
_EXTRACT = re.compile(r"\bextract\s*\(\s*\$\d+\s+from\b", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$.])\d+(?:\.\d+)?")
MAX_LITERALS = 5
_PARAMETER = re.compile(r"\$\d+")
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def without_comments(text: str) -> str:
    """The text without comments, which may name anything."""
    return _COMMENTS.sub(" ", text).strip().rstrip(";")


def is_harmless(text: str) -> bool:
    """Whether it is of a kind that reads no column."""
    return bool(_HARMLESS.match(text)) and not _AROUND.match(text)


def query_of(text: str) -> str:
    """The query that can be prepared, corrected; empty where there is none."""
    found = _AROUND.match(text) or _COPY_QUERY.match(text)
    query = found["query"] if found else text
    if not _PREPARABLE.match(query):
        return ""
    query = _TYPED.sub(lambda match: f"{match[2]}::{match[1]}", query)
    return _EXTRACT.sub("extract(epoch from", query)


def copied(text: str) -> tuple[str, list[str]] | None:
    """Of COPY of a table: which, and the columns that it names (none: all of them)."""
    found = _COPY_TABLE.match(text)
    if found is None:
        return None
    columns = [column.strip().strip('"') for column in (found["columns"] or "").split(",") if column.strip()]
    return found["table"].replace('"', "").rpartition(".")[2], columns


def with_texts(query: str) -> str:
    """The same with every parameter a text, for where its type cannot be told."""
    return _PARAMETER.sub(lambda match: f"{match[0]}::text", query)


def with_literals(query: str) -> list[str]:
    """The same with one of its own literals for every parameter: in GROUP BY PostgreSQL leaves them, above it not."""
    found = dict.fromkeys(match[0] for match in _LITERAL.finditer(query))
    return [_PARAMETER.sub(literal.replace("\\", r"\\"), query) for literal in list(found)[:MAX_LITERALS]]


def with_nulls(query: str) -> str:
    """The same with NULL for every parameter: equal expressions get equal again, which GROUP BY wants."""
    return _PARAMETER.sub("NULL", query)
