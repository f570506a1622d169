"""The history as an auditor asks for it: each migration's state, when, by whom and with which release it came."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from rupaya.migrator.debts.releases import breaking
from rupaya.migrator.django import Key, full_order, recorded_rows
from rupaya.migrator.ledger.ledger import Applied, Ledger
from rupaya.migrator.plan.history import edited_migrations
from rupaya.migrator.plan.plan import pending_phases
from rupaya.migrator.plan.status import read_status


@dataclass(frozen=True)
class Entry:
    """One migration, known to the code, to the database, or to both."""

    app: str
    migration: str
    phase: str
    state: str
    """applied, owed (applied, but for what older code would not survive), pending, unknown (newer than this code),
    breaking (newer, and this code may not survive it), gone (older than this code, or of an app that it does not
    install), edited (since it was applied), failed (its last attempt, and it is still pending), contradicted
    (recorded as applied, while its last attempt failed) or unattested (recorded as applied, by no attempt)."""
    applied_at: datetime | None
    batch: int | None
    release: str
    by: str
    task: str
    duration_s: float | None
    tries: int | None


BAD_STATES = ("edited", "breaking", "failed", "contradicted", "unattested")
COLUMNS = tuple(field.name for field in fields(Entry))


def audit(
    loader: MigrationLoader, connection: BaseDatabaseWrapper, ledger: Ledger, *, owed: Collection[Key] = ()
) -> list[Entry]:
    """Every migration of the code in the order of its plan, then those that only the database has.

    `owed`: migrations of which something is still owed.
    """
    rows = recorded_rows(connection)
    status = read_status(loader, list(rows))
    in_force = ledger.in_force()
    of_ledger = {applied.key: applied for applied in in_force}
    edited = {item.applied.key for item in edited_migrations(loader.disk_migrations or {}, in_force) if item.is_certain}
    pending = [loader.graph.nodes[key] for key in status.pending]
    phases = pending_phases(loader, pending)
    failed = ledger.last_failures()
    contradicted, unattested = ledger.contradicted(), set(ledger.unattested())
    fatal = {item.key for item in breaking(status.newer, connection, in_force, unattested)}

    def applied_at(key: Key) -> datetime | None:
        if key in rows or key not in loader.replacements:
            return rows[key].applied if key in rows else None
        # A squashed migration that is not recorded yet is there since the last of what it replaces was.
        times = [when for replaced in loader.replacements[key].replaces if (when := applied_at(replaced))]
        return max(times) if times and key in status.applied else None

    def state_of(key: Key) -> str:
        if key in edited:
            return "edited"
        if key in fatal:
            return "breaking"
        if key in status.newer:
            return "unknown"
        if key in status.older | status.foreign:
            return "gone"
        if key in contradicted:
            return "contradicted"
        if key in unattested:
            return "unattested"
        if key in status.applied:
            return "owed" if key in owed else "applied"
        if key in failed:
            return "failed"
        return "pending"

    order = [*full_order(loader), *sorted(status.unknown)]
    return [_entry(key, state_of(key), of_ledger.get(key), applied_at(key), phases) for key in order]


def is_clean(entries: Iterable[Entry]) -> bool:
    """Whether nothing is edited, failed, contradicted, unattested, or unknown and breaking."""
    return not any(entry.state in BAD_STATES for entry in entries)


def as_rows(entries: Iterable[Entry]) -> list[dict[str, object]]:
    """The entries as plain values, times in ISO 8601, for JSON and CSV."""
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(entry).items()}
        for entry in entries
    ]


def _entry(
    key: Key, state: str, applied: Applied | None, applied_at: datetime | None, phases: Mapping[Key, str]
) -> Entry:
    duration_s = (applied.finished_at - applied.started_at).total_seconds() if applied else None
    return Entry(
        app=key[0],
        migration=key[1],
        phase=applied.phase if applied else phases.get(key, ""),
        state=state,
        applied_at=applied_at,
        batch=applied.batch if applied and applied_at else None,
        release=applied.release if applied else "",
        by=applied.database_user if applied else "",
        task=applied.task if applied else "",
        duration_s=round(duration_s, 3) if duration_s is not None else None,
        tries=applied.tries if applied else None,
    )
