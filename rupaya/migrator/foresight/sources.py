"""Where statements are counted: on the primary, and on the replica; each server counts what was sent to itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import psycopg2
from django.conf import settings
from django.db import Error, connections
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.errors import driver_text
from rupaya.migrator.foresight.calls import Calls, Seen, read_calls, running
from rupaya.migrator.session import database

PRIMARY, REPLICA = "", "replica"
# What only keeps the log replays nothing, and a logical one gets what a publication sends. Of those whose rights hide
# it, all is NULL but the pid.
_STANDBYS = """
    SELECT concat_ws(' at ', coalesce(nullif(r.application_name, ''), 'a server'), host(r.client_addr))
    FROM pg_stat_replication r WHERE NOT EXISTS (
        SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    AND (r.state IS NULL OR r.replay_lsn IS NOT NULL) ORDER BY r.pid
"""
_JOBS = "SELECT to_regclass('cron.job') IS NOT NULL"
# pg_cron's policy hides the jobs of others; an error is better than fewer rows.
_SCHEDULED = """
    SELECT username, command FROM cron.job WHERE active AND database = current_database()
"""


@dataclass(frozen=True)
class Source:
    """One server's counts, and what is under way there."""

    name: str
    calls: Calls
    now: tuple[Seen, ...] = ()
    scheduled: tuple[Seen, ...] = ()
    """What pg_cron will send."""
    why_no_jobs: str = ""
    """Why that cannot be read."""


def read_sources(connection: PgConnection) -> list[Source]:
    """The primary's, by this connection, and the replica's that `MIGRATOR_REPLICA` names."""
    calls = read_calls(connection)
    jobs, why = _read_jobs(connection)
    found = [Source(PRIMARY, calls, tuple(running(connection, calls)), jobs, why)]
    if (alias := _replica_alias()) is not None:
        found.append(_read_replica(alias))
    return found


def standbys_unseen(connection: PgConnection, sources: Sequence[Source]) -> list[str]:
    """The servers that copy this one and that nobody asked; where one was, it is taken to be the first."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDBYS)
        names = [name for (name,) in cursor.fetchall()]
    return names[sum(source.name == REPLICA for source in sources) :]


def _read_jobs(connection: PgConnection) -> tuple[tuple[Seen, ...], str]:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_JOBS)
            if cursor.fetchall() != [(True,)]:
                return (), ""
            cursor.execute("BEGIN; SET LOCAL row_security = off")
            try:
                cursor.execute(_SCHEDULED)
                return tuple(Seen(role, "", command, 0) for role, command in cursor.fetchall()), ""
            finally:
                cursor.execute("ROLLBACK")
    except psycopg2.Error as error:
        return (), f"the jobs of pg_cron cannot be read: {driver_text(error)}"


def _replica_alias() -> str | None:
    alias = getattr(settings, "MIGRATOR_REPLICA", "")
    return alias if alias and alias in connections.settings else None


def _read_replica(alias: str) -> Source:
    try:
        with closing(database.connect(connections[alias])) as connection:
            calls = read_calls(connection)
            return Source(REPLICA, calls, tuple(running(connection, calls)))
    except (psycopg2.Error, Error) as error:
        return Source(REPLICA, Calls(f"the replica could not be asked: {driver_text(error)}"))
