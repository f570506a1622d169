"""What the schema was after each run, kept in the ledger, so that what people change by hand can be seen.

The difference between two snapshots that follow each other is what a batch did.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.errors import UndefinedTable
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it

from rupaya.migrator.schema.catalog import Catalog, digest
from rupaya.migrator.schema.diff import Difference, differences

# A later run ended without a snapshot, and it changed the schema or may have: SIGKILL, or an older release.
_CHANGED_SINCE = """
    EXISTS (SELECT FROM migrator_attempts a WHERE a.finished_at > s.taken_at AND NOT a.faked
            AND (a.outcome = 'succeeded' OR a.outcome IN ('failed', 'interrupted') AND NOT a.atomic))
"""
_COLUMNS = f"""
    SELECT s.snapshot_id, s.run_id, r.release, s.taken_at, s.server_version_num, s.catalog::text, {_CHANGED_SINCE}
    FROM migrator_snapshots s JOIN migrator_runs r USING (run_id)
"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Snapshot:
    """The schema that our migrations build, as it was at the end of a run."""

    snapshot_id: int
    run_id: int
    release: str
    taken_at: datetime
    server_version_num: int
    catalog: Catalog
    is_superseded: bool
    """Whether migrations ran since without leaving a snapshot, so that it shows nothing of what people did."""

    @property
    def server_major(self) -> int:
        """The server's major version then; another one may print the same schema in other words."""
        return self.server_version_num // 10000

    def __str__(self) -> str:
        return f"run {self.run_id} (release {self.release}, {self.taken_at:%Y-%m-%d %H:%M} UTC)"


def last_snapshot(connection: PgConnection) -> Snapshot | None:
    """The newest one; None before the first, and on a ledger older than snapshots."""
    return _one(connection, _COLUMNS + "ORDER BY s.snapshot_id DESC LIMIT 1", [])


def snapshot_before(connection: PgConnection, run_id: int) -> Snapshot | None:
    """The one that the last run before this one left."""
    return _one(connection, _COLUMNS + "WHERE s.run_id < %s ORDER BY s.run_id DESC LIMIT 1", [run_id])


def snapshot_of(connection: PgConnection, run_id: int) -> Snapshot | None:
    """The one that this run left."""
    return _one(connection, _COLUMNS + "WHERE s.run_id = %s", [run_id])


def row_versions_of(connection: PgConnection, snapshot: Snapshot) -> str | None:
    """The catalog's `schema.rowversions` before it was read for this snapshot; None if they were not asked for."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_versions FROM migrator_snapshots WHERE snapshot_id = %s", [snapshot.snapshot_id])
        row: tuple[str | None] | None = cursor.fetchone()
        return row[0] if row else None


def add_snapshot(
    connection: PgConnection, run_id: int, catalog: Catalog, drift: Sequence[str], row_versions: str
) -> None:
    """Keep what a run has left, and the lines about what had been changed by hand before it.

    `row_versions`: asked for before the catalog was read, so that a change in between counts as one.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO migrator_snapshots (run_id, server_version_num, hash, catalog, drift, row_versions) "
            "VALUES (%s, current_setting('server_version_num')::integer, %s, %s, %s, %s)",
            [run_id, digest(catalog), json.dumps(catalog), json.dumps(list(drift)), row_versions],
        )


def what_a_run_did(connection: PgConnection, run_id: int) -> list[Difference] | None:
    """How the schema after a run differs from the one after the run before; None if either is not known.

    Changes by hand between the two are in it; the snapshot's column `drift` has them.
    """
    after = snapshot_of(connection, run_id)
    before = snapshot_before(connection, run_id)
    if after is None or before is None or before.server_major != after.server_major:
        return None
    return differences(before.catalog, after.catalog)


def _one(connection: PgConnection, sql: str, parameters: list[object]) -> Snapshot | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            row = cursor.fetchone()
    except UndefinedTable:
        return None
    if row is None:
        return None
    snapshot_id, run_id, release, taken_at, server_version_num, catalog, is_superseded = row
    return Snapshot(snapshot_id, run_id, release, taken_at, server_version_num, json.loads(catalog), is_superseded)
