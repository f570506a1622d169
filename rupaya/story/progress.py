"""How far a run that is under way has come: what is done, what it does now, and how far that is, as the run says."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.safestring import SafeString

from rupaya.inspection.charts import length
from rupaya.story.reading import rows

# As in the state of the database: a run lives as long as its backend holds the migrator's advisory lock.
_ALIVE = """
    SELECT r.finished_at IS NULL AND EXISTS (
        SELECT FROM pg_locks l WHERE l.pid = r.backend_pid AND l.locktype = 'advisory' AND l.granted)
    FROM migrator_runs r WHERE r.run_id = %(run_id)s
"""
_ATTEMPTS = """
    SELECT count(*) FILTER (WHERE outcome = 'succeeded'),
           max(app || '.' || name) FILTER (WHERE outcome = 'started'),
           coalesce(extract(epoch FROM clock_timestamp() - max(started_at) FILTER (WHERE outcome = 'started')), 0)
               ::float
    FROM migrator_attempts WHERE run_id = %(run_id)s
"""
# What the run itself says of how far it is, where its release keeps it.
_KEPT = "SELECT coalesce(has_table_privilege(to_regclass('migrator_progress'), 'SELECT'), false)"
_SAID = """
    SELECT what, phase, percent::float, basis, running_s::float, estimated_s::float
    FROM migrator_progress WHERE run_id = %(run_id)s
"""
_WAITS = """
    SELECT string_agg(DISTINCT 'backend pid ' || b.pid, ', ')
    FROM pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) b (pid)
    WHERE a.datname = current_database() AND a.application_name LIKE 'migrat%'
"""


@dataclass(frozen=True)
class Said:
    """What the run last said."""

    what: str
    phase: str
    percent: float | None
    basis: str
    running_s: float
    estimated_s: float | None

    @property
    def picture(self) -> SafeString:
        """The percentage as a bar."""
        return length((self.percent or 0) / 100)


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    done: int
    now: str
    for_s: float
    said: Said | None
    waits_for: str


def of(connection: BaseDatabaseWrapper, run_id: int) -> Progress | None:
    """How far a run is; None if it has ended, or its process is gone."""
    found = rows(connection, _ALIVE, run_id=run_id)
    if not found or not found[0][0]:
        return None
    ((done, now, for_s),) = rows(connection, _ATTEMPTS, run_id=run_id)
    said = rows(connection, _SAID, run_id=run_id) if rows(connection, _KEPT)[0][0] else []
    ((waits_for,),) = rows(connection, _WAITS)
    return Progress(done, now or "", for_s, Said(*said[0]) if said else None, waits_for or "")
