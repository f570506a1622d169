"""The history as an auditor asks for it: each migration's state, when, by whom and with which release it came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from django.db.migrations.loader import MigrationLoader

from rupaya.migrator.ledger.ledger import Applied, Ledger
from rupaya.migrator.plan.history import breaking_migrations, edited_migrations
from rupaya.migrator.plan.phases import CONTRACT
from rupaya.migrator.plan.plan import pending_phases

Key = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One migration, known to the code, to the database, or to both."""

    app: str
    migration: str
    phase: str
    state: str
    """applied, pending, held, unknown (to this code), breaking (unknown, and this code may not survive it), edited
    (since it was applied) or failed (its last attempt, and it is still pending)."""
    applied_at: datetime | None
    batch: int | None
    release: str
    by: str
    task: str
    duration_s: float | None
    tries: int | None


BAD_STATES = ("edited", "breaking", "failed")
COLUMNS = tuple(field.name for field in fields(Entry))


def audit(loader: MigrationLoader, ledger: Ledger, *, holds: bool) -> list[Entry]:
    """Every migration of the code in the order of its plan, then those that only the database has.

    `holds`: whether `migrate` holds contract migrations back here.
    """
    # Django's stubs take these values for migrations; they are rows of django_migrations.
    rows: dict[Key, Any] = dict(loader.applied_migrations or {})
    applied_at: dict[Key, datetime] = {key: row.applied for key, row in rows.items()}
    in_force = ledger.in_force()
    of_ledger = {applied.key: applied for applied in in_force}
    edited = {item.applied.key for item in edited_migrations(loader.disk_migrations or {}, in_force) if item.is_certain}
    plan = loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True)
    pending = [loader.graph.nodes[key] for key in plan if key not in applied_at]
    phases = pending_phases(loader, pending)
    replaced = {key for migration in loader.replacements.values() for key in migration.replaces}
    unknown = [key for key in applied_at if key not in plan and key not in replaced]
    failed = ledger.last_failures() if pending else {}
    breaking = {applied.key for applied in breaking_migrations(unknown, in_force)}

    def state_of(key: Key) -> str:
        if key in edited:
            return "edited"
        if key in breaking:
            return "breaking"
        if key in unknown:
            return "unknown"
        if key in applied_at:
            return "applied"
        if key in failed:
            return "failed"
        return "held" if holds and applied_at and phases[key] == CONTRACT else "pending"

    return [_entry(key, state_of(key), of_ledger.get(key), applied_at, phases) for key in [*plan, *sorted(unknown)]]


def is_clean(entries: Iterable[Entry]) -> bool:
    """Whether nothing is edited, failed, or unknown and breaking."""
    return not any(entry.state in BAD_STATES for entry in entries)


def as_rows(entries: Iterable[Entry]) -> list[dict[str, object]]:
    """The entries as plain values, times in ISO 8601, for JSON and CSV."""
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(entry).items()}
        for entry in entries
    ]


def _entry(
    key: Key, state: str, applied: Applied | None, applied_at: Mapping[Key, datetime], phases: Mapping[Key, str]
) -> Entry:
    duration_s = (applied.finished_at - applied.started_at).total_seconds() if applied else None
    return Entry(
        app=key[0],
        migration=key[1],
        phase=applied.phase if applied else phases.get(key, ""),
        state=state,
        applied_at=applied_at.get(key),
        batch=applied.batch if applied and key in applied_at else None,
        release=applied.release if applied else "",
        by=applied.database_user if applied else "",
        task=applied.task if applied else "",
        duration_s=round(duration_s, 3) if duration_s is not None else None,
        tries=applied.tries if applied else None,
    )
