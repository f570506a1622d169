"""One run as its page shows it: what it changed, and its attempts with what each executed and who kept it waiting."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Q
from django.utils.safestring import SafeString

from rupaya.migrator.exitcodes import ExitCode
from rupaya.migrator.ledger.snapshots import snapshot_before, snapshot_of
from rupaya.migrator.schema.diff import Difference, differences
from rupaya.story import progress
from rupaya.story.ddl import Side, sides
from rupaya.story.exits import explain
from rupaya.story.models import Attempt, Run
from rupaya.story.progress import Progress
from rupaya.story.reading import Tables, rows
from rupaya.story.timeline import Bar, waterfall

RUNS_ON_A_PAGE = 40
MAX_ATTEMPTS = 500
MOST_LINES_UNASKED = 300

_TRACES = """
    SELECT attempt_id, statements::text, omitted, blockers::text
    FROM migrator_traces WHERE attempt_id = ANY(%(attempts)s::bigint[])
"""
# The first snapshot, of the run that applied the first migrations: all that is there is what it built.
_FIRST = """
    SELECT s.catalog::text FROM migrator_snapshots s WHERE s.run_id = %(run_id)s
      AND NOT EXISTS (SELECT FROM migrator_attempts a WHERE a.run_id < s.run_id AND a.outcome = 'succeeded')
"""
_HAS_DEBTS = "SELECT coalesce(has_table_privilege(to_regclass('migrator_debts'), 'SELECT'), false)"
_CONTRACTS = (
    "SELECT DISTINCT settled_run_id FROM migrator_debts WHERE settled_run_id = ANY(%(runs)s) AND state = 'paid'"
)
_SUCCEEDED_LATER = """
    SELECT later.run_id FROM migrator_attempts failed JOIN migrator_attempts later
      ON later.app = failed.app AND later.name = failed.name AND later.direction = failed.direction
     AND later.attempt_id > failed.attempt_id AND later.outcome = 'succeeded'
    WHERE failed.run_id = %(run_id)s AND failed.outcome <> 'succeeded' ORDER BY later.attempt_id LIMIT 1
"""
_BY_HAND = "SELECT drift::text FROM migrator_snapshots WHERE run_id = %(run_id)s"


@dataclass(frozen=True)
class Trace:
    """What an attempt executed."""

    statements: list[dict[str, Any]]
    omitted: int
    blockers: list[dict[str, Any]]


@dataclass(frozen=True)
class AttemptTold:
    """An attempt with its trace; None where the ledger was older than traces, or the process died."""

    attempt: Attempt
    trace: Trace | None
    picture: SafeString
    """When it was, within the run."""


@dataclass(frozen=True)
class Changes:
    """What the schema was like after a run and not before it; None where one of the two is not known."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    by_hand: list[str]
    """What people had changed between the run before and this one, which is among the rest."""
    ddl: list[Side]
    """The same as SQL, before and after, object by object."""

    @property
    def is_long(self) -> bool:
        """Whether the SQL is more than a page should hold unasked."""
        return sum(len(side.rows) for side in self.ddl) > MOST_LINES_UNASKED

    @property
    def is_empty(self) -> bool:
        """Whether the run left the schema as it was."""
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True)
class RunTold:
    """All of a run's page."""

    run: Run
    attempts: list[AttemptTold]
    changes: Changes | None
    ending: ExitCode | None
    """What its failure means, and what to do."""
    progress: Progress | None = None
    """How far it is, while it lasts."""
    mended_by: int | None = None
    """The first later run that did what this one failed to do."""


def tell(connection: BaseDatabaseWrapper, tables: Tables, run_id: int) -> RunTold | None:
    """A run; None if there is none of that number."""
    run = Run.objects.using(connection.alias).filter(pk=run_id).first()
    if run is None:
        return None
    attempts = list(run.attempts.order_by("attempt_id")[:MAX_ATTEMPTS])
    traces: dict[int, Trace] = {}
    if tables.traces:
        for attempt_id, statements, omitted, blockers in rows(
            connection, _TRACES, attempts=[attempt.attempt_id for attempt in attempts]
        ):
            traces[attempt_id] = Trace(json.loads(statements), omitted, json.loads(blockers))
    ended_at = run.finished_at or max([at.finished_at or at.started_at for at in attempts], default=run.started_at)
    whole_s = max(0.001, (ended_at - run.started_at).total_seconds())
    is_bad = run.outcome in ("failed", "interrupted")
    return RunTold(
        run,
        [
            AttemptTold(
                attempt,
                traces.get(attempt.attempt_id),
                waterfall(
                    (attempt.started_at - run.started_at).total_seconds(),
                    attempt.duration.total_seconds() if attempt.duration else 0.0,
                    whole_s,
                    attempt.outcome,
                ),
            )
            for attempt in attempts
        ],
        _changes(connection, run_id) if tables.snapshots else None,
        explain(run.exit_code) if is_bad and run.exit_code is not None else None,
        progress.of(connection, run_id) if run.finished_at is None else None,
        _mended_by(connection, run_id) if is_bad else None,
    )


def _mended_by(connection: BaseDatabaseWrapper, run_id: int) -> int | None:
    found = rows(connection, _SUCCEEDED_LATER, run_id=run_id)
    return found[0][0] if found else None


def first_started(connection: BaseDatabaseWrapper, tables: Tables) -> datetime | None:
    """When the ledger's first run began."""
    if not tables.ledger:
        return None
    return Run.objects.using(connection.alias).order_by("run_id").values_list("started_at", flat=True).first()


def newest_attempts(connection: BaseDatabaseWrapper) -> dict[tuple[str, str], Attempt]:
    """Of each migration its newest attempt, whatever came of it."""
    newest = Attempt.objects.using(connection.alias).order_by("app", "name", "-attempt_id").distinct("app", "name")
    return {(attempt.app, attempt.name): attempt for attempt in newest}


def bars(connection: BaseDatabaseWrapper, before: int | None) -> list[Bar]:
    """The newest runs, or those before one, for the timeline; one more than a page holds, if there are more."""
    found = (
        Run.objects.using(connection.alias)
        .annotate(migrations=Count("attempts"), unapplied=Count("attempts", filter=Q(attempts__direction="unapply")))
        .order_by("-run_id")
    )
    if before is not None:
        found = found.filter(run_id__lt=before)
    newest = list(found[: RUNS_ON_A_PAGE + 1])
    contracts = _contracts(connection, [run.run_id for run in newest])
    return [
        Bar(
            run.run_id,
            run.started_at,
            run.duration.total_seconds() if run.duration else 0.0,
            run.get_outcome_display(),
            run.release,
            run.command,
            run.migrations,
            _kind(run, contracts),
        )
        for run in newest
    ]


def _kind(run: Any, contracts: set[int]) -> str:
    if run.command == "rollback" or run.unapplied:
        return "rollback"
    if run.command == "adopt":
        return "adopt"
    return "contract" if run.run_id in contracts else "migrate"


def _contracts(connection: BaseDatabaseWrapper, runs: list[int]) -> set[int]:
    """Those of these runs that paid what was owed."""
    (((has_debts,),),) = (rows(connection, _HAS_DEBTS),)
    return {run_id for (run_id,) in rows(connection, _CONTRACTS, runs=runs)} if has_debts else set()


def _changes(connection: BaseDatabaseWrapper, run_id: int) -> Changes | None:
    before, after = (of(connection.connection, run_id) for of in (snapshot_before, snapshot_of))
    if after is not None and before is not None and before.server_major == after.server_major:
        old, new = before.catalog, after.catalog
    elif first := rows(connection, _FIRST, run_id=run_id):
        old, new = {}, json.loads(first[0][0])
    else:
        return None
    found = differences(old, new)
    by_hand = rows(connection, _BY_HAND, run_id=run_id)
    return Changes(
        added=[_subject(item) for item in found if item.old is None],
        removed=[_subject(item) for item in found if item.new is None],
        changed=[item.happened() for item in found if item.old is not None and item.new is not None],
        by_hand=json.loads(by_hand[0][0]) if by_hand else [],
        ddl=sides(old, new),
    )


def _subject(item: Difference) -> str:
    return item.subject
