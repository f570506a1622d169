"""One run as it is told: what it changed, and each of its attempts with what it executed and who kept it waiting."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count

from rupaya.migrator.errors import ExitCode
from rupaya.migrator.ledger.snapshots import what_a_run_did
from rupaya.migrator.schema.diff import Difference, differences
from rupaya.story.exits import explain
from rupaya.story.models import Attempt, Run
from rupaya.story.reading import Tables, rows
from rupaya.story.timeline import Bar

RUNS_ON_A_PAGE = 40
MAX_ATTEMPTS = 500

_TRACES = """
    SELECT attempt_id, statements::text, omitted, blockers::text
    FROM migrator_traces WHERE attempt_id = ANY(%(attempts)s::bigint[])
"""
# The first snapshot, of the run that applied the first migrations: all that is there is what it built.
_FIRST = """
    SELECT s.catalog::text FROM migrator_snapshots s WHERE s.run_id = %(run_id)s
      AND NOT EXISTS (SELECT FROM migrator_attempts a WHERE a.run_id < s.run_id AND a.outcome = 'succeeded')
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


@dataclass(frozen=True)
class Changes:
    """What the schema was like after a run and not before it; None where one of the two is not known."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    by_hand: list[str]
    """What people had changed between the run before and this one, which is among the rest."""

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
    is_bad = run.outcome in ("failed", "interrupted")
    return RunTold(
        run,
        [AttemptTold(attempt, traces.get(attempt.attempt_id)) for attempt in attempts],
        _changes(connection, run_id) if tables.snapshots else None,
        explain(run.exit_code) if is_bad and run.exit_code is not None else None,
    )


def bars(connection: BaseDatabaseWrapper, before: int | None) -> list[Bar]:
    """The newest runs, or those before one, for the timeline; one more than a page holds, if there are more."""
    found = Run.objects.using(connection.alias).annotate(migrations=Count("attempts")).order_by("-run_id")
    if before is not None:
        found = found.filter(run_id__lt=before)
    return [
        Bar(
            run.run_id,
            run.started_at,
            run.duration.total_seconds() if run.duration else 0.0,
            run.get_outcome_display(),
            run.release,
            run.command,
            run.migrations,
        )
        for run in found[: RUNS_ON_A_PAGE + 1]
    ]


def _changes(connection: BaseDatabaseWrapper, run_id: int) -> Changes | None:
    found = what_a_run_did(connection.connection, run_id)
    if found is None:
        first = rows(connection, _FIRST, run_id=run_id)
        if not first:
            return None
        found = differences({}, json.loads(first[0][0]))
    by_hand = rows(connection, _BY_HAND, run_id=run_id)
    return Changes(
        added=[_subject(item) for item in found if item.old is None],
        removed=[_subject(item) for item in found if item.new is None],
        changed=[item.told() for item in found if item.old is not None and item.new is not None],
        by_hand=json.loads(by_hand[0][0]) if by_hand else [],
    )


def _subject(item: Difference) -> str:
    return item.subject
