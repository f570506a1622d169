"""Where the admin reads from: a replica, if there is one that can be trusted, and how far it lags behind."""

from __future__ import annotations

import time
from dataclasses import dataclass

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.http import HttpRequest

REPLICA = "replica"
AVOID_AFTER_FAILURE_S = 15.0
OWN_WRITES_S = 30.0
_SESSION_KEY = "inspection_changed_at"

# A replica that is cut off has replayed all that it received, and would look up to date.
_STATE = """
    SELECT pg_is_in_recovery(),
           CASE WHEN NOT EXISTS (SELECT FROM pg_stat_wal_receiver) THEN NULL
                WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
                ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,
           extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()),
           (SELECT coalesce(max(id), 0) FROM django_migrations)
"""
_NEWEST_MIGRATION = "SELECT coalesce(max(id), 0) FROM django_migrations"

_avoid_until = 0.0


@dataclass(frozen=True)
class Source:
    """A database alias to read from, and a sentence about it for the page; empty where there is nothing to say."""

    alias: str
    note: str = ""
    lag_s: float | None = None


PRIMARY = Source(DEFAULT_DB_ALIAS)


def source(request: HttpRequest) -> Source:
    """Where this request reads people's rows; asked once a request.

    Writes, edit forms, sessions and whatever follows somebody's own change for half a minute stay on the primary.
    """
    known: Source | None = getattr(request, "inspection_source", None)
    if known is None:
        known = request.inspection_source = _choose(request)  # type: ignore[attr-defined]
    return known


def give_up(request: HttpRequest) -> bool:
    """Let this request read the primary instead, where it was reading the replica.

    A replica cancels queries that hold up its replay, and may go at any moment.
    """
    if source(request).alias != REPLICA:
        return False
    note = "The replica did not answer this page: read from the primary."
    request.inspection_source = Source(DEFAULT_DB_ALIAS, note)  # type: ignore[attr-defined]
    return True


def remember_change(request: HttpRequest) -> None:
    """Let this person read the primary for a while: they would miss their own change."""
    request.session[_SESSION_KEY] = time.time()


def _choose(request: HttpRequest) -> Source:
    if REPLICA not in settings.DATABASES or request.method not in ("GET", "HEAD") or "edit" in request.GET:
        return PRIMARY
    if time.time() - request.session.get(_SESSION_KEY, 0) < OWN_WRITES_S:
        return Source(DEFAULT_DB_ALIAS, "Read from the primary, because you have just changed something.")
    global _avoid_until  # noqa: PLW0603 - what this process knows of the replica
    if time.monotonic() < _avoid_until:
        return Source(DEFAULT_DB_ALIAS, "The replica does not answer: read from the primary.")
    try:
        with connections[REPLICA].cursor() as cursor:
            cursor.execute(_STATE)
            is_replica, lag_s, age_s, migration = cursor.fetchone()
    except DatabaseError:
        connections[REPLICA].close()
        _avoid_until = time.monotonic() + AVOID_AFTER_FAILURE_S
        return Source(DEFAULT_DB_ALIAS, "The replica does not answer: read from the primary.")
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(_NEWEST_MIGRATION)
        (expected,) = cursor.fetchone()
    if migration < expected:
        return Source(DEFAULT_DB_ALIAS, "The replica has not replayed the last migrations yet: read from the primary.")
    if not is_replica:
        return Source(REPLICA, "Read from REPLICA_DATABASE_URL, which is no replica.", 0.0)
    if lag_s is None:
        behind = f"; its last change is {_duration(float(age_s))} old" if age_s is not None else ""
        return Source(REPLICA, f"Read from the replica, which is cut off from the primary{behind}.")
    return Source(REPLICA, f"Read from the replica, {_duration(float(lag_s))} behind.", float(lag_s))


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
