"""What is known before anything is changed: how the database stands to the contract, and which rows break it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.adoption import baseline
from rupaya.adoption.alignment import Change, LeftOver, changes, left_over, without_later
from rupaya.adoption.decisions import REFUSE, Decisions
from rupaya.adoption.obstacles import obstacles
from rupaya.adoption.original import ADOPTED, Key, Original
from rupaya.adoption.repairs import refused_values
from rupaya.adoption.rules import Finding, findings, rows_that_matter
from rupaya.migrator.ledger.snapshots import snapshot_before
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.catalog import Catalog

FINISH_COMMAND = "adopt --finish"
WAYS_OF_LEFT_OVER = "--left-over=keep or drop"
ADOPTED_APPS = frozenset(app for app, _name in ADOPTED)
SESSIONS = """
    SELECT DISTINCT coalesce(usename, '?') || coalesce(' (' || nullif(application_name, '') || ')', '')
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND application_name !~ '^(migrate|release|health) '
    ORDER BY 1
"""


@dataclass(frozen=True)
class Survey:
    """All that is known before anything is changed."""

    original: Original
    is_adopted: bool
    finished_by: str
    """When and by which release it was finished; empty if it was not."""
    live: Catalog
    changes: list[Change]
    created: tuple[str, ...]
    """Tables and views that are missing."""
    left_over: list[LeftOver]
    left_over_is_decided: bool
    findings: list[Finding]
    refused_values: list[str]
    obstacles: list[str]
    """What `adopt` would stumble over, and the way out; rows were not looked at where there are any."""
    sessions: tuple[str, ...]
    """Sessions that are not this service's: perhaps the original's."""
    rows: dict[str, list[str]] = field(default_factory=dict)
    """By table, keys of rows to try the decisions on."""
    serves: str = ""
    """The role that serves, if it is another one: it is granted what it lacks."""
    unproved: str = ""
    """Why nothing could be tried out; empty if it was."""

    @property
    def undecided(self) -> list[str]:
        """In a line each, what is not decided, and how it can be."""
        rows = [
            f"{finding.undecided} rows of {finding.table}: {finding.says} ({finding.ways})"
            for finding in self.findings
            if finding.undecided
        ]
        besides = [f"{item} ({WAYS_OF_LEFT_OVER})" for item in self.left_over if not self.left_over_is_decided]
        return [*rows, *besides, *self.refused_values]

    @property
    def is_undecided(self) -> bool:
        """Whether there is anything about which nothing is decided."""
        return bool(self.undecided)

    @property
    def needs_decision(self) -> bool:
        """Whether `adopt`, or `adopt --finish`, would refuse."""
        return bool(self.obstacles) or self.is_undecided


def before_later(connection: BaseDatabaseWrapper, applied: set[Key]) -> Catalog | None:
    """The schema before migrations ran that are newer than the adopted ones; None if none did."""
    later = [f"{app}.{name}" for app, name in applied - set(ADOPTED) if app in ADOPTED_APPS]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('migrator_snapshots') IS NOT NULL")
        (has_snapshots,) = cursor.fetchone()
        if not (has_snapshots and later):
            return None
        cursor.execute("SELECT min(run_id) FROM migrator_attempts WHERE app || '.' || name = ANY(%s)", [later])
        (first_run,) = cursor.fetchone()
    snapshot = snapshot_before(connection.connection, first_run) if first_run else None
    return snapshot.catalog if snapshot else None


def read_live(connection: BaseDatabaseWrapper, before: Catalog | None) -> Catalog:
    """The original's tables as they are now, but for what newer migrations did since `before`."""
    with connection.cursor() as cursor:
        live = catalog.read(cursor, baseline.names())
    return without_later(live, before) if before else live


def survey(
    connection: BaseDatabaseWrapper, decisions: Decisions, original: Original, applied: set[Key], serves: str = ""
) -> Survey:
    """Look at everything, in one transaction that can write nothing."""
    with transaction.atomic(using=connection.alias, durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        live = read_live(connection, before_later(connection, applied))
        finished = finished_by(cursor)
        # Once it is finished, what differs is the work of later migrations.
        todo = [] if finished else changes(live)
        in_the_way = [] if finished else obstacles(connection, live, applied, serves)
        found = [] if finished or in_the_way else findings(cursor, live, decisions)
        refused = [] if in_the_way else refused_values(cursor, decisions)
        rows = {} if finished or in_the_way else rows_that_matter(cursor, live, found)
        cursor.execute(SESSIONS)
        sessions = tuple(name for (name,) in cursor.fetchall())
    return Survey(
        original=original,
        is_adopted=set(ADOPTED) <= applied,
        finished_by=finished,
        live=live,
        changes=todo,
        created=tuple(name for name in baseline.ALL if name not in live["relations"]),
        left_over=[] if finished else left_over(live),
        left_over_is_decided=decisions.left_over != REFUSE,
        findings=found,
        refused_values=refused,
        obstacles=in_the_way,
        sessions=sessions,
        rows=rows,
        serves=serves,
    )


def finished_by(cursor: Any) -> str:
    """When an adoption was finished, and by which release; empty if it was not."""
    return succeeded(cursor, f"{FINISH_COMMAND}%")


def succeeded(cursor: Any, command: str) -> str:
    """When a run of a command, as LIKE has it, first succeeded, and of which release; empty if none did."""
    cursor.execute("SELECT to_regclass('migrator_runs') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return ""
    cursor.execute(
        "SELECT to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC by release ' || release "
        "FROM migrator_runs WHERE command LIKE %s AND outcome = 'succeeded' ORDER BY run_id LIMIT 1",
        [command],
    )
    row = cursor.fetchone()
    return str(row[0]) if row else ""
