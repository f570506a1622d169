"""Which statements were sent, by whom and how often: what `pg_stat_statements` has of this database."""

from __future__ import annotations

import re
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


# What a role set for itself governs over what the server has; a session's own value is nobody else's.
_SETTINGS = """
    SELECT 'the server', name || '=' || reset_val FROM pg_settings WHERE name ~ '^pg_stat_statements[.]track'
    UNION ALL
    SELECT CASE WHEN setrole = 0 THEN 'this database' ELSE 'role ' || pg_get_userbyid(setrole) END, unnest(setconfig)
    FROM pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_SCANS = """
    SELECT relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables
    UNION ALL SELECT indexrelname, idx_scan FROM pg_stat_user_indexes
"""
_TRACK, _TRACK_UTILITY = "pg_stat_statements.track", "pg_stat_statements.track_utility"
_ACTIVITY = """
    SELECT coalesce(usename, backend_type), coalesce(query_id::text, ''), query,
           octet_length(query) >= pg_size_bytes(current_setting('track_activity_query_size')) - 4
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND query <> ''
      AND (state <> 'idle' OR query = '<insufficient privilege>')
      AND NOT (starts_with(application_name, 'migrate ') AND usename = session_user)
      AND backend_type NOT IN ('autovacuum worker', 'autovacuum launcher', 'walsender', 'parallel worker')
"""
_OWN = re.compile(r"(?<![\w'])\"?migrator_\w")
INSUFFICIENT = "<insufficient privilege>"


@dataclass(frozen=True)
class Seen:
    """One statement of one role."""

    role: str
    key: str
    """By what it is known again: role, statement, and whether it was sent by a client or by a function."""
    text: str
    calls: int
    is_cut: bool = False
    """Whether the server has not kept the text's end."""


@dataclass(frozen=True)
class Calls:
    """All of them, or why they cannot be had."""

    why: str = ""
    stats_reset: datetime | None = None
    dealloc: int = 0
    """How often statements were dropped for lack of room."""
    seen: tuple[Seen, ...] = ()
    hidden: int = 0
    """Calls of statements whose texts this role may not read."""
    scans: Mapping[str, int] = field(default_factory=dict)
    """How often each table was read, from end to end or by an index, and each index."""
    gaps: tuple[str, ...] = ()
    """What is not counted, by the server's settings."""
    has_inner: bool = False
    """Whether what functions send is counted as well."""


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
                f"SELECT pg_get_userbyid(userid), concat_ws(':', userid, queryid, toplevel), query, calls, "
                f"pg_get_userbyid(userid) = current_user FROM {schema}.pg_stat_statements "
                "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            rows = cursor.fetchall()
            cursor.execute(_SCANS)
            scans = dict(cursor.fetchall())
            cursor.execute(_SETTINGS)
            settings = [(where, *setting.split("=", 1)) for where, setting in cursor.fetchall()]
    except psycopg2.Error as error:
        return Calls(f"pg_stat_statements cannot be read: {driver_text(error)}")
    hidden = sum(calls for _role, _key, text, calls, _own in rows if text in (None, INSUFFICIENT))
    seen = [
        Seen(role, key, text, calls)
        for role, key, text, calls, is_own in rows
        if text not in (None, INSUFFICIENT) and not (is_own and _is_own(text))
    ]
    tracked = [(where, value) for where, name, value in settings if name == _TRACK]
    gaps = [f"{_TRACK} is none for {where}: what is sent there is not counted" for where, v in tracked if v == "none"]
    gaps += [
        f"{_TRACK_UTILITY} is off for {where}: COPY and cursors are not counted there"
        for where, name, value in settings
        if name == _TRACK_UTILITY and value not in ("on", "true", "1")
    ]
    has_inner = bool(tracked) and all(value == "all" for _where, value in tracked)
    return Calls("", reset, dealloc, tuple(seen), hidden, scans, tuple(gaps), has_inner)


def _is_own(text: str) -> bool:
    """Whether the migrator sent it, which is asked of this role's statements alone."""
    return bool(_OWN.search(text))


def running(connection: PgConnection, calls: Calls) -> list[Seen]:
    """What others are executing now, or hold open, which is counted only once it has ended.

    A text that the server cut is taken whole from the statistics, where its statement is among them.
    """
    whole = {seen.key.split(":")[1]: seen.text for seen in calls.seen}
    with connection.cursor() as cursor:
        cursor.execute(_ACTIVITY)
        found = []
        for role, query_id, text, is_cut in cursor.fetchall():
            if is_cut and query_id in whole:
                text, is_cut = whole[query_id], False  # noqa: PLW2901 - the same text, to its end
            found.append(Seen(role, "", text, 1, is_cut))
        return found


def as_baseline(calls: Calls) -> dict[str, Any]:
    """What is kept of it."""
    return {"calls": {seen.key: seen.calls for seen in calls.seen}, "hidden": calls.hidden, "inner": calls.has_inner}
