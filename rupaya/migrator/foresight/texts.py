"""Texts of statements as the server's statistics keep them, corrected so that the server can resolve them once more.

They are other people's, and a probe sends them again: what is sent is one statement each, whatever the text was.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

# What a semicolon may stand in without ending a statement. Comments are found apart, because they nest.
_QUOTED = re.compile(
    r"(?<!\w)[eE]'(?:[^'\\]|\\.|'')*(?P<e>')?"
    r"|'(?:[^']|'')*(?P<q>')?"
    r'|"(?:[^"]|"")*(?P<i>")?'
    r"|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$(?:.*?(?P<d>\$(?P=tag)\$)|.*)",
    re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")

# Statements around a query that cannot be prepared; the query inside can.
_NAME = r'(?:(?:"(?:[^"]|"")+"|[\w$]+)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[\w$]+))*)'
_AROUND = re.compile(
    rf"^\s*(?:DECLARE\s+{_NAME}\s+(?:\w+\s+)*?CURSOR\s+(?:WITH(?:OUT)?\s+HOLD\s+)?FOR\s+"
    r"|EXPLAIN\s+(?:\([^)]*\)\s*|ANALYZE\s+|VERBOSE\s+)*"
    rf"|PREPARE\s+{_NAME}\s*(?:\([^)]*\))?\s+AS\s+"
    rf"|CREATE\s+(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED)\s+)*TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*"
    r"(?:\([^)]*\)\s*)?(?:(?:USING|ON\s+COMMIT|TABLESPACE)\s+\w+(?:\s+ROWS)?\s+)*AS\s+)"
    r"(?P<query>\(?\s*(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE|TABLE)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)
_COPY_QUERY = re.compile(r"^\s*COPY\s*\((?P<query>.*)\)\s*TO\b.*$", re.IGNORECASE | re.DOTALL)
_COPY_TABLE = re.compile(
    rf"^\s*COPY\s+(?:BINARY\s+)?(?P<table>{_NAME})\s*(?:\((?P<columns>(?:\"(?:[^\"]|\"\")*\"|[^)\"])*)\))?\s*"
    r"(?:FROM|TO)\b(?:.*?\bWHERE\b(?P<where>.*))?",
    re.IGNORECASE | re.DOTALL,
)
# On PostgreSQL 15 a text has such a statement's own literals.
_WHOLE_TABLE = re.compile(
    rf"^\s*(?:TRUNCATE\s+(?:TABLE\s+)?|LOCK\s+(?:TABLE\s+)?)(?:ONLY\s+)?(?P<tables>{_NAME}(?:\s*\*?\s*,\s*{_NAME})*)",
    re.IGNORECASE,
)
_PREPARABLE = re.compile(r"^\s*\(*\s*(?:SELECT|WITH|VALUES|INSERT|UPDATE|DELETE|MERGE|TABLE)\b", re.IGNORECASE)
_INTO = re.compile(rf"\bINTO\s+(?:(?:TEMP|TEMPORARY|UNLOGGED|TABLE)\s+)*{_NAME}\s+(?=FROM\b|WHERE\b|$)", re.IGNORECASE)
# They define, lock or maintain, and read no column for anybody: what they leave behind, the catalog shows.
_HARMLESS = re.compile(
    r"^\s*(?:ALTER|DROP|COMMENT|GRANT|REVOKE|VACUUM|ANALY[ZS]E|LOCK|TRUNCATE|REINDEX|CLUSTER|SET|RESET|SHOW|BEGIN|START"
    r"|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|DEALLOCATE|DISCARD|CLOSE|FETCH|MOVE|CHECKPOINT|LISTEN|UNLISTEN|NOTIFY"
    r"|REFRESH\s+MATERIALIZED|REASSIGN|SECURITY|IMPORT"
    r"|CREATE\s+(?!(?:(?:GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED)\s+)*TABLE\b|SCHEMA\b))\b",
    re.IGNORECASE,
)
_RIGHTS = re.compile(r"^\s*(?:GRANT|REVOKE)\b", re.IGNORECASE)
_BUILDS_SQL = re.compile(r"^\s*DO\b.*\bEXECUTE\b", re.IGNORECASE | re.DOTALL)
_CODE = re.compile(r"^\s*(?:DO|CALL)\b", re.IGNORECASE)
_PREPARED = re.compile(r"^\s*(?:CREATE\b.*\bAS|EXPLAIN\b[^'\"]*?)\s+EXECUTE\b", re.IGNORECASE | re.DOTALL)
_TYPES = (
    r"interval|date|timetz|timestamptz|time(?:\s+with(?:out)?\s+time\s+zone)?|timestamp(?:\s+with(?:out)?\s+time\s+zone)?"
    r"|uuid|jsonb?|inet|cidr|macaddr|numeric|decimal|integer|int|bigint|smallint|real|float|double\s+precision"
    r"|text|varchar|bool(?:ean)?|bytea|xml|money|point|tsquery|tsvector|regclass"
)
_TYPED = re.compile(
    rf"\b(?P<type>{_TYPES})\s+(?P<parameter>\$\d+)(?P<fields>\s+(?:year|month|day|hour|minute|second)\b"
    r"(?:\s+to\s+(?:month|hour|minute|second)\b)?)?",
    re.IGNORECASE,
)
_EXTRACT = re.compile(r"\bextract\s*\(\s*\$\d+\s+from\b", re.IGNORECASE)
_EXTRACTED = re.compile(r"\bextract\s*\(\s*(\w+)\s+from\b", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$.])\d+(?:\.\d+)?")
MAX_LITERALS = 5
MAX_MIXED = 6
_PARAMETER = re.compile(r"\$\d+")
_GIVEN = re.compile(r"\$\d+\s*::")
_UNICODE_NAME = re.compile(r"\bu&\"", re.IGNORECASE)


def statements_of(text: str) -> tuple[list[str], bool]:
    """The statements of a text, without comments and semicolons; and whether its end is there.

    A semicolon inside quotes becomes a blank, which changes no name but an absurd one, and no meaning that counts.
    """
    found, is_whole, place, start = [""], True, 0, 0
    while place < len(text):
        quoted = _QUOTED.match(text, place)
        if text.startswith("--", place):
            end = text.find("\n", place)
            found[-1] += text[start:place] + " "
            place = start = len(text) if end < 0 else end
        elif text.startswith("/*", place):
            end = _end_of_comment(text, place)
            found[-1] += text[start:place] + " "
            place = start = len(text) if end < 0 else end
            is_whole = is_whole and end >= 0
        elif quoted is not None:
            is_whole = is_whole and any(quoted[group] for group in "eqid")
            found[-1] += text[start:place] + quoted[0].replace(";", " ")
            place = start = quoted.end()
        elif text[place] == ";":
            found[-1] += text[start:place]
            found.append("")
            place = start = place + 1
        else:
            place += 1
    found[-1] += text[start:]
    return [statement.strip() for statement in found if statement.strip()], is_whole


def _end_of_comment(text: str, start: int) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return -1


def may_name(text: str, names: frozenset[str]) -> bool:
    """Whether a statement has any of these names, in small letters, or writes names so that nobody sees it."""
    lowered = text.lower()
    return any(name in lowered for name in names) or bool(_UNICODE_NAME.search(text))


def is_harmless(text: str) -> bool:
    """Whether it is of a kind that reads no column."""
    return bool(_HARMLESS.match(text)) and not _AROUND.match(text)


def is_about_rights(text: str) -> bool:
    """Whether it grants or revokes, as the probe itself does."""
    return bool(_RIGHTS.match(text))


def hides_statements(text: str) -> bool:
    """Whether it executes what is not in its text: of its own making, or prepared before."""
    return bool(_BUILDS_SQL.match(text) or _PREPARED.match(text))


def is_code(text: str) -> bool:
    """Whether it is a block or a call, whose statements are counted each by itself where inner ones are."""
    return bool(_CODE.match(text) or _PREPARED.match(text))


def query_of(text: str, *, of_table: bool = False) -> str:
    """The query that can be prepared and uses what the statement uses; empty where there is none.

    `of_table`: a use of the table itself is asked for, as by TRUNCATE.
    """
    if of_table and (whole := _WHOLE_TABLE.match(text)):
        tables = [name.replace("*", "").strip() for name in _names_in(whole["tables"])]
        return "SELECT count(*) FROM " + ", ".join(f"{name} AS t{number}" for number, name in enumerate(tables))
    if (copied := _COPY_TABLE.match(text)) and not _COPY_QUERY.match(text):
        where = f" WHERE {copied['where']}" if copied["where"] else ""
        return f"SELECT {copied['columns'] or '*'} FROM {copied['table']}{where}"
    found = _AROUND.match(text) or _COPY_QUERY.match(text)
    query = found["query"] if found else text
    if not _PREPARABLE.match(query):
        return ""
    if query.lstrip("( \t\r\n")[:6].upper() in ("SELECT", "WITH"):
        query = _INTO.sub(" ", query)
    query = _TYPED.sub(lambda match: f"{match['parameter']}::{match['type']}", query)
    grouped = _EXTRACTED.search(query)
    return _EXTRACT.sub(f"extract({grouped[1] if grouped else 'epoch'} from", query)


def _names_in(listed: str) -> Iterator[str]:
    yield from (match[0] for match in re.finditer(_NAME, listed))


def versions_of(query: str) -> Iterator[str]:
    """A query, and what else it may have been before its constants became parameters; the likely ones first."""
    yield query
    if not _PARAMETER.search(query):
        return
    tried = {query}
    others = ((with_texts(query), with_nulls(query)), with_literals(query), with_numbers(query))
    for version in itertools.chain.from_iterable(others):
        if version not in tried:
            tried.add(version)
            yield version


def with_texts(query: str) -> str:
    """The same with every parameter a text, where its type is not known."""
    return _PARAMETER.sub(lambda match: f"{match[0]}::text", query)


def with_literals(query: str) -> Iterator[str]:
    """The same with its own literals for parameters: in GROUP BY PostgreSQL leaves them, above it not.

    All of them in their order, from each place on; then one of them for every parameter.
    """
    literals = [match[0] for match in _LITERAL.finditer(query)]
    names = list(dict.fromkeys(_PARAMETER.findall(query)))
    for place in range(len(names) - len(literals) + 1) if literals else ():
        meant = dict(zip(names[place:], literals, strict=False))
        yield _PARAMETER.sub(lambda match, meant=meant: meant.get(match[0], "NULL"), query)  # type: ignore[misc]
    for literal in list(dict.fromkeys(literals))[:MAX_LITERALS]:
        yield _PARAMETER.sub(literal.replace("\\", r"\\"), query)


def with_nulls(query: str) -> str:
    """The same with NULL for every parameter: equal expressions get equal again, which GROUP BY wants."""
    return _PARAMETER.sub("NULL", query)


def with_numbers(query: str) -> Iterator[str]:
    """The same with numbers for parameters whose type is not given, where one is wanted that NULL has not.

    For all of them; then for some of them, NULL for the others, in as many ways as are bearable.
    """
    query = _GIVEN.sub("NULL::", query)
    names = list(dict.fromkeys(_PARAMETER.findall(query)))
    yield _PARAMETER.sub("1", query)
    if len(names) <= MAX_MIXED:
        ways = itertools.product((True, False), repeat=len(names))
        chosen = ({name for name, is_number in zip(names, way, strict=True) if is_number} for way in ways)
    else:
        chosen = (those for name in names for those in ({name}, {*names} - {name}))
    for numbers in itertools.islice(chosen, 2**MAX_MIXED):
        yield _PARAMETER.sub(lambda match, numbers=numbers: "1" if match[0] in numbers else "NULL", query)  # type: ignore[misc]
