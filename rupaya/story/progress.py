"""How far a run that is under way has come: what is done, what it does now, and what the server says of an index."""

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
# https://www.postgresql.org/docs/current/progress-reporting.html#CREATE-INDEX-PROGRESS-REPORTING
_BUILDING = """
    SELECT coalesce(p.index_relid::regclass::text, ''), p.relid::regclass::text, p.phase,
           CASE WHEN p.blocks_total > 0 THEN 100.0 * p.blocks_done / p.blocks_total
                WHEN p.tuples_total > 0 THEN 100.0 * p.tuples_done / p.tuples_total END::float
    FROM pg_stat_progress_create_index p WHERE p.datname = current_database()
"""
_WAITS = """
    SELECT string_agg(DISTINCT 'backend pid ' || b.pid, ', ')
    FROM pg_stat_activity a, unnest(pg_blocking_pids(a.pid)) b (pid)
    WHERE a.datname = current_database() AND a.application_name LIKE 'migrat%'
"""


@dataclass(frozen=True)
class Building:
    """An index that is being built, by whomever."""

    index: str
    table: str
    phase: str
    percent: float | None

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
    building: list[Building]
    waits_for: str


def of(connection: BaseDatabaseWrapper, run_id: int) -> Progress | None:
    """How far a run is; None if it has ended, or its process is gone."""
    found = rows(connection, _ALIVE, run_id=run_id)
    if not found or not found[0][0]:
        return None
    ((done, now, for_s),) = rows(connection, _ATTEMPTS, run_id=run_id)
    building = [Building(*each) for each in rows(connection, _BUILDING)]
    ((waits_for,),) = rows(connection, _WAITS)
    return Progress(done, now or "", for_s, building, waits_for or "")
