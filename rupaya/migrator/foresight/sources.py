"""Where statements are counted: on the primary, and on the replica; each server counts what was sent to itself."""

from __future__ import annotations

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
# Of those that others' rights hide, only the pid is seen. A copy under way and a logical one are no server to ask.
_STANDBYS = """
    SELECT count(*) FROM pg_stat_replication r WHERE NOT EXISTS (
        SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
    AND (r.state IS NULL OR r.state IN ('streaming', 'catchup', 'startup'))
"""


@dataclass(frozen=True)
class Source:
    """One server's counts, and what is under way there."""

    name: str
    calls: Calls
    now: tuple[Seen, ...] = ()


def read_sources(connection: PgConnection) -> list[Source]:
    """The primary's, by this connection, and the replica's that `MIGRATOR_REPLICA` names."""
    calls = read_calls(connection)
    found = [Source(PRIMARY, calls, tuple(running(connection, calls)))]
    if (alias := _replica_alias()) is not None:
        found.append(_read_replica(alias))
    return found


def standbys_unseen(connection: PgConnection, sources: list[Source]) -> int:
    """How many servers copy this one whose statements nobody can see here."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDBYS)
        ((count,),) = cursor.fetchall()
    return max(0, int(count) - sum(source.name == REPLICA for source in sources))


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
