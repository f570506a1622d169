"""SQL as text: on one line, without people's data, and which of it is Django's and the migrator's own."""

from __future__ import annotations

import re

MAX_CHARACTERS = 400

# Escapes, dollar quotes, and literals that were cut off and so have no end: `pg_stat_activity` keeps 1,024 bytes.
_LITERALS = re.compile(
    r"[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|\$(\w*)\$.*?(?:\$\1\$|\Z)|\b\d+(?:\.\d+)?\b", re.DOTALL
)
# Django's and the migrator's own, which are in every migration and say nothing of it. Never a script: what comes after
# would be hidden.
_AROUND = re.compile(
    r"(?!.*;\s*\S)\s*(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO|SHOW\s"
    r"|(SET|RESET)\s+(SESSION\s+|LOCAL\s+)?(lock|statement)_timeout\b"
    r"|SELECT\b.*(\b(FROM|JOIN)\s+(pg_|information_schema)|\bset_config\())",
    re.IGNORECASE | re.DOTALL,
)
_OWN_TABLES = ('"django_migrations"', "migrator_")


def mask_literals(sql: str) -> str:
    """A statement with its literals replaced: other people's data does not belong in a log."""
    return _LITERALS.sub("?", sql)


def one_line(sql: str) -> str:
    """A statement on one line, shortened."""
    line = " ".join(sql.split())
    return line if len(line) <= MAX_CHARACTERS else line[:MAX_CHARACTERS] + " ..."


def is_bookkeeping(sql: str) -> bool:
    """Whether a statement is Django's or the migrator's own and not the migration's."""
    return bool(_AROUND.match(sql)) or any(name in sql for name in _OWN_TABLES)


def as_stored(name: str) -> str:
    """A name as the server has it, which cuts what is longer than 63 bytes (NAMEDATALEN - 1), and whole characters."""
    return name.encode()[:63].decode(errors="ignore")
