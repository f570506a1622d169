"""Which statements were sent, by whom and how often: what `pg_stat_statements` has of this database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.errors import driver_text

_WHERE = """
    SELECT quote_ident(n.nspname), string_to_array(e.extversion, '.')::int[] >= '{1,9}' FROM pg_extension e
    JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""
INSUFFICIENT = "<insufficient privilege>"


@dataclass(frozen=True)
class Seen:
    """One statement of one role."""

    role: str
    key: str
    """By what it is known again: role, statement, and whether it was sent by a client or by a function."""
    text: str
    calls: int


@dataclass(frozen=True)
class Calls:
    """All of them, or why they cannot be had."""

    why: str = ""
    stats_reset: datetime | None = None
    dealloc: int = 0
    """How often statements were forgotten for want of room."""
    seen: tuple[Seen, ...] = ()
    hidden: int = 0
    """Calls of statements whose texts this role may not read."""
    scans: Mapping[str, int] = field(default_factory=dict)
    """How often each table was read, from end to end or by an index."""


def read_calls(connection: PgConnection) -> Calls:
    """What is known now."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_WHERE)
            row = cursor.fetchone()
            if row is None:
                return Calls("the extension pg_stat_statements is not installed in this database")
            schema, has_info = row
            reset, dealloc = None, 0
            if has_info:
                cursor.execute(f"SELECT stats_reset, dealloc FROM {schema}.pg_stat_statements_info")
                reset, dealloc = cursor.fetchall()[0]
            cursor.execute(
                f"SELECT pg_get_userbyid(userid), concat_ws(':', userid, queryid, toplevel), query, calls "
                f"FROM {schema}.pg_stat_statements "
                "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            rows = cursor.fetchall()
            cursor.execute("SELECT relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables")
            scans = dict(cursor.fetchall())
    except psycopg2.Error as error:
        return Calls(f"pg_stat_statements cannot be read: {driver_text(error)}")
    hidden = sum(calls for _role, _key, text, calls in rows if text in (None, INSUFFICIENT))
    seen = [Seen(*row) for row in rows if row[2] not in (None, INSUFFICIENT) and not _is_own(row[2])]
    return Calls("", reset, dealloc, tuple(seen), hidden, scans)


def _is_own(text: str) -> bool:
    """Whether the migrator sent it."""
    return "migrator_" in text


def running(connection: PgConnection) -> list[Seen]:
    """What others are executing now, which is counted only once it has ended; long texts are cut by the server."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(usename, ''), '', query, 1 FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' "
            "AND NOT starts_with(application_name, 'migrate ') AND query <> %s",
            [INSUFFICIENT],
        )
        return [Seen(*row) for row in cursor.fetchall()]


def as_baseline(calls: Calls) -> dict[str, Any]:
    """What is kept of it."""
    return {"calls": {seen.key: seen.calls for seen in calls.seen}, "hidden": calls.hidden}
