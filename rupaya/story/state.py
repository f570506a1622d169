"""How the database stands to this code, as one line with what to do, and the facts behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from rupaya.migrator import conf
from rupaya.migrator.analysis.audit import Entry, audit
from rupaya.migrator.analysis.schemadiff import Comparison, with_snapshot
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.releases import refuse_breaking
from rupaya.migrator.debts.window import windows
from rupaya.migrator.errors import MigratorError, driver_text, sqlstate
from rupaya.migrator.ledger.ledger import Applied, Ledger
from rupaya.migrator.ledger.snapshots import last_snapshot
from rupaya.migrator.plan.history import Edited, refuse_edited
from rupaya.migrator.plan.plan import history_explained, refuse_conflicts
from rupaya.migrator.schema import catalog
from rupaya.story import reading
from rupaya.story.ddl import Side, sides
from rupaya.story.exits import explain

Kept = TypeVar("Kept")

STATE_FOR_S = 3.0
DRIFT_FOR_S = 60.0
MAX_NAMES = 5

# The lock connection, whose backend the run names, holds an advisory lock for as long as the run lives.
_LAST_RUN = """
    SELECT r.run_id, r.command, r.release, r.started_at, r.finished_at, r.outcome, r.exit_code, coalesce(r.error, ''),
           r.finished_at IS NULL AND EXISTS (
               SELECT FROM pg_locks l WHERE l.pid = r.backend_pid AND l.locktype = 'advisory' AND l.granted)
    FROM migrator_runs r ORDER BY r.run_id DESC LIMIT 1
"""


@dataclass(frozen=True)
class LastRun:
    """The newest run of the ledger."""

    run_id: int
    command: str
    release: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    exit_code: int | None
    error: str
    is_alive: bool

    def __str__(self) -> str:
        return f"Run {self.run_id} ({self.command}, release {self.release}, {self.started_at:%Y-%m-%d %H:%M} UTC)"


@dataclass(frozen=True)
class Fact:
    """One thing to know: its kind in a word or two, what it is, what it means and what to do."""

    kind: str
    """in step, under way, failed, interrupted, refused, edited, breaking, behind, drifted, ahead, owed or empty."""
    level: str
    """good, info, warning or error."""
    text: str
    meaning: str = ""
    remedy: str = ""

    @property
    def title(self) -> str:
        """The kind, as a line begins with it."""
        return self.kind.capitalize()


@dataclass(frozen=True)
class Drift:
    """The live schema against the last snapshot, or why they were not compared."""

    comparison: Comparison | None
    reason: str = ""
    tells: bool = True
    """Whether the differences are surely what people did: not where runs left no snapshot, or on another version."""

    @property
    def lines(self) -> list[str]:
        return self.comparison.lines if self.comparison else []


@dataclass(frozen=True)
class State:
    """All that the overview shows."""

    facts: tuple[Fact, ...]
    """The most urgent one first; there is always one."""
    entries: tuple[Entry, ...]
    last_run: LastRun | None
    drift: Drift
    tables: reading.Tables
    read_at: datetime = field(default_factory=timezone.now)

    @property
    def headline(self) -> Fact:
        return self.facts[0]

    @property
    def counts(self) -> dict[str, int]:
        """How many migrations are in each state."""
        found: dict[str, int] = {}
        for entry in self.entries:
            found[entry.state] = found.get(entry.state, 0) + 1
        return found


class _NoLedger(Ledger):
    """A database that keeps no record yet."""

    def in_force(self) -> list[Applied]:
        return []

    def last_failures(self) -> dict[tuple[str, str], str]:
        return {}

    def contradicted(self) -> dict[tuple[str, str], str]:
        return {}

    def unattested(self) -> list[tuple[str, str]]:
        return []


_kept: dict[tuple[object, ...], tuple[float, Any]] = {}


def lead() -> tuple[Fact, LastRun | None]:
    """The line for the home page, which must not fail where the story cannot be read, and the newest run."""
    try:
        with reading.bounded() as connection:
            found = state(connection)
            return found.headline, found.last_run
    except reading.ERRORS as error:
        unknown = Fact(
            "unknown",
            "warning",
            f"The schema's state could not be read: {driver_text(error)}",
            "It took too long, or a table is locked, perhaps by a migration under way.",
            "Reload the page in a while; 'manage.py showmigrations --audit --check' asks the same.",
        )
        return unknown, None


def read_ahead() -> None:
    """Read what a new worker's first page would wait for longest; what fails is read by the page.

    In a thread of its own, whose connections are closed.
    """
    try:
        lead()
    finally:
        connections.close_all()


def state(connection: BaseDatabaseWrapper) -> State:
    """How things stand; at most `STATE_FOR_S` old, and the drift in it `DRIFT_FOR_S`."""
    return keep(("state",), STATE_FOR_S, lambda: _state(connection))


def drift(connection: BaseDatabaseWrapper, tables: reading.Tables, *, max_age_s: float = 0) -> Drift:
    """The live schema against the last snapshot; without `max_age_s`, as it is now."""
    snapshot = last_snapshot(connection.connection) if tables.snapshots else None
    if snapshot is None:
        return Drift(None, "There is no snapshot of the schema yet: the next run that has something to do takes one.")

    def compare() -> Drift:
        try:
            with transaction.atomic(using=connection.alias):
                comparison = with_snapshot(connection, snapshot)
        except reading.ERRORS as error:
            if sqlstate(error) not in reading.OUT_OF_TIME_SQLSTATES:
                raise
            return Drift(None, f"Could not check for changes by hand: {driver_text(error)}.")
        # As a run judges it (`rupaya.migrator.run.drift`).
        same_server = snapshot.server_major == connection.connection.server_version // 10000
        return Drift(comparison, tells=same_server and not snapshot.is_superseded)

    return keep(("drift", snapshot.snapshot_id, snapshot.is_superseded), max_age_s, compare)


def drifted_ddl(connection: BaseDatabaseWrapper) -> list[Side]:
    """The last snapshot's SQL beside the live one's, where they differ; nothing where a limit was reached."""
    snapshot = last_snapshot(connection.connection)
    if snapshot is None:
        return []
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            return sides(snapshot.catalog, catalog.read(cursor, catalog.listed(snapshot.catalog)))
    except reading.ERRORS as error:
        if sqlstate(error) not in reading.OUT_OF_TIME_SQLSTATES:
            raise
        return []


def forget() -> None:
    """Forget it: what is asked for next is read again."""
    _kept.clear()


def keep(key: tuple[object, ...], for_s: float, read: Callable[[], Kept]) -> Kept:
    """What was read within so many seconds of this database, or read it now."""
    where = connections[DEFAULT_DB_ALIAS].settings_dict
    whole = (where["HOST"], where["PORT"], where["NAME"], *key)
    now = time.monotonic()
    kept = _kept.get(whole)
    if kept is not None and now - kept[0] < for_s:
        return cast("Kept", kept[1])
    for old in [key for key, (at, _value) in list(_kept.items()) if now - at > DRIFT_FOR_S]:
        _kept.pop(old, None)
    value = read()
    _kept[whole] = (time.monotonic(), value)
    return value


def _state(connection: BaseDatabaseWrapper) -> State:
    tables = reading.tables(connection)
    found = reading.rows(connection, _LAST_RUN) if tables.ledger else []
    last_run = LastRun(*found[0]) if found else None
    facts: list[Fact] = []
    entries: list[Entry] = []
    ledger = (Ledger if tables.ledger else _NoLedger)(connection.connection)
    try:
        with history_explained():
            loader = MigrationLoader(connection, ignore_no_migrations=True)
        refuse_conflicts(loader)
        entries = audit(loader, connection, ledger, owed={debt.key for debt in DebtStore(connection).owed()})
    except MigratorError as error:
        facts.append(_of_error("refused", error))
    is_under_way = last_run is not None and last_run.is_alive
    looked = (
        Drift(None, "Changes by hand are not looked for while a run is under way.")
        if is_under_way
        else drift(connection, tables, max_age_s=DRIFT_FOR_S)
    )
    facts += _of_history(entries, connection, ledger, tables)
    facts += _of_run(last_run, entries, ledger)
    facts += _of_drift(looked)
    if not any(fact.kind in _NOT_IN_STEP for fact in facts):
        facts.append(_in_step(entries, looked))
    facts.sort(key=lambda fact: _URGENCY.index(fact.kind))
    return State(tuple(facts), tuple(entries), last_run, looked, tables)


_URGENCY = (
    "under way",
    "refused",
    "failed",
    "edited",
    "breaking",
    "contradicted",
    "empty",
    "interrupted",
    "behind",
    "drifted",
    "ahead",
    "owed",
    "in step",
    "last run failed",
)
# What is owed is not needed by this code, and how an earlier run ended is history.
_NOT_IN_STEP = frozenset(_URGENCY) - {"owed", "in step", "last run failed"}


def _of_error(kind: str, error: MigratorError) -> Fact:
    return Fact(kind, "error", error.happened, error.meaning, error.remedy)


def _refusal(refuse: Callable[..., None], *arguments: object) -> MigratorError | None:
    """What `migrate` would say."""
    try:
        refuse(*arguments)
    except MigratorError as error:
        return error
    return None


def _names(entries: Sequence[Entry]) -> str:
    names = [f"{entry.app}.{entry.migration}" for entry in entries]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _count(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} migration{'s' if len(entries) != 1 else ''}"


def _in(entries: Sequence[Entry], *states: str) -> list[Entry]:
    return [entry for entry in entries if entry.state in states]


def _of_history(
    entries: Sequence[Entry], connection: BaseDatabaseWrapper, ledger: Ledger, tables: reading.Tables
) -> list[Fact]:
    if entries and not any(entry.applied_at for entry in entries):
        missing = "has no history (django_migrations)" if not tables.history else "has an empty history"
        return [
            Fact(
                "empty",
                "error",
                f"This database {missing}: nothing was ever migrated here, or this role may not read it.",
                "This release cannot serve from it.",
                "Run 'manage.py migrate': on an empty database it applies everything in one transaction.",
            )
        ]
    facts = []
    in_force = {applied.key: applied for applied in ledger.in_force()} if _in(entries, "edited", "breaking") else {}
    edited = [Edited(in_force[entry.app, entry.migration], True) for entry in _in(entries, "edited")]
    if edited and (error := _refusal(refuse_edited, edited)):
        facts.append(_of_error("edited", error))
    breaking = [(entry.app, entry.migration) for entry in _in(entries, "breaking")]
    if breaking and (error := _refusal(refuse_breaking, breaking, connection, in_force.values(), ledger.unattested())):
        facts.append(_of_error("breaking", error))
    if unproved := _in(entries, "contradicted", "unattested"):
        facts.append(
            Fact(
                "contradicted",
                "error",
                f"The history has as applied what the ledger does not know to have succeeded: {_names(unproved)}.",
                "Somebody recorded it by hand or applied it without the migrator, or it is there in part only.",
                "Look whether the database has what it does. If so, 'manage.py migrate --accept-edited' records that.",
            )
        )
    if pending := _in(entries, "pending", "failed"):
        facts.append(
            Fact(
                "behind",
                "warning",
                f"The database is behind this release by {_count(pending)}: {_names(pending)}.",
                "This release's code needs them, and is not sent traffic until they are applied.",
                "Run 'manage.py migrate'; 'manage.py migrate --dry-run' shows beforehand what it would do.",
            )
        )
    if unknown := _in(entries, "unknown"):
        facts.append(
            Fact(
                "ahead",
                "info",
                f"The database is ahead of this release by {_count(unknown)}: {_names(unknown)}.",
                "A newer release applied them; this code works on that schema as well.",
                "Nothing during a rollout or after a rollback to this release. To undo them, run 'manage.py rollback' "
                "from a release that knows them.",
            )
        )
    if owed := _in(entries, "owed"):
        facts.append(
            Fact(
                "owed",
                "info",
                f"Owed: what an older release would not survive of {_count(owed)}: {_names(owed)}.",
                "This release and the one before it work side by side." + _windows(connection),
                "Run 'manage.py migrate --contract', once no older release runs.",
            )
        )
    return facts


def _windows(connection: BaseDatabaseWrapper) -> str:
    """Since when what is owed is, and until when the older release may come back."""
    after_h = conf.read()[0].contract_after_h
    if after_h <= 0:
        return ""
    return "".join(f" {window}." for window in windows(connection, DebtStore(connection).owed(), after_h).values())


def _of_run(run: LastRun | None, entries: Sequence[Entry], ledger: Ledger) -> list[Fact]:
    if run is None or run.outcome == "succeeded":
        return []
    if run.is_alive:
        doing = ledger.under_way()
        return [
            Fact(
                "under way",
                "info",
                f"{run} is under way" + (f": {doing}." if doing else "."),
                "What is applied and pending changes while it works.",
                "Wait for its end, and reload the page.",
            )
        ]
    if run.outcome in ("started", "interrupted"):
        if not _in(entries, "pending", "failed"):
            return []
        return [
            Fact(
                "interrupted",
                "warning",
                f"{run} was interrupted" + (f": {run.error}" if run.error else ": its process died") + ".",
                "A migration that was under way was rolled back, if it is atomic.",
                "Run 'manage.py migrate': it closes what was left open, and goes on.",
            )
        ]
    said = explain(run.exit_code)
    if _in(entries, "pending", "failed", "edited", "breaking"):
        return [Fact("failed", "error", f"{run} failed: {run.error}", said.meaning, said.remedy)]
    # A run that has nothing to do leaves no record: how it stands now is the newer truth.
    return [
        Fact(
            "last run failed", "info", f"{run} failed: {run.error}", said.meaning, "Nothing: what it was to do is done."
        )
    ]


def _of_drift(looked: Drift) -> list[Fact]:
    if not (looked.lines and looked.tells):
        return []
    lines = looked.lines
    more = f"; and {len(lines) - 2} more" if len(lines) > 2 else ""
    return [
        Fact(
            "drifted",
            "warning",
            f"Somebody changed the schema by hand: {'; '.join(lines[:2])}{more}.",
            "Migrations are written for the schema that migrations built.",
            DRIFT_REMEDY,
        )
    ]


DRIFT_REMEDY = (
    "Take the change back by hand; or write a migration that makes it and record that one with "
    "'manage.py migrate --fake'; or, if it is intended here and no migration's business, say so with "
    "'manage.py schemadiff --accept REASON'."
)


def _in_step(entries: Sequence[Entry], looked: Drift) -> Fact:
    applied = _in(entries, "applied")
    known = "all" if len(applied) == len(entries) else "all other"
    by_hand = ", and nothing was changed by hand" if looked.comparison is not None and looked.tells else ""
    return Fact(
        "in step",
        "good",
        f"The database is in step with this release: {known} {_count(applied)} are applied{by_hand}.",
    )
