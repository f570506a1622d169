"""The live schema, compared with what the last run left and with what this code's migrations build."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from rupaya.migrator.analysis import scratch
from rupaya.migrator.analysis.onetransaction import names_here, schema_of_its_own
from rupaya.migrator.conf import require_configuration
from rupaya.migrator.debts.debt import COLUMN, TABLE, Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.django import recorded_keys
from rupaya.migrator.errors import EnvironmentUnfit, counted
from rupaya.migrator.ledger.acceptance import Acceptance, sort
from rupaya.migrator.ledger.snapshots import Snapshot, last_snapshot
from rupaya.migrator.plan.status import read_status
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.catalog import Catalog
from rupaya.migrator.schema.diff import Difference, differences

LIVE_SIDE = "in the database"
CODE_SIDE = "in the code"
SNAPSHOT_SIDE = "in the last snapshot"


@dataclass(frozen=True)
class Comparison:
    """What differs between one side, called `side`, and the database."""

    side: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to judge them."""
    accepted: tuple[tuple[Difference, Acceptance], ...] = ()
    """Differences that somebody declared as intended; not among the others."""
    prescribed: tuple[Difference, ...] = ()
    """Owners and grants that are as the environment's own rule says; not among the others either."""
    live: Catalog = field(default_factory=dict, repr=False, compare=False)
    """The database's side."""

    @property
    def lines(self) -> list[str]:
        return [difference.compared(self.side, LIVE_SIDE) for difference in self.differences]

    @property
    def known_lines(self) -> list[str]:
        """A line a difference that was accepted: by whom, when and why."""
        return [f"{difference.compared(self.side, LIVE_SIDE)} ({known})" for difference, known in self.accepted]


def with_snapshot(connection: BaseDatabaseWrapper, snapshot: Snapshot) -> Comparison:
    """The live schema against a snapshot."""
    with connection.cursor() as cursor:
        live = catalog.read(cursor, catalog.listed(snapshot.catalog))
        found = sort(cursor, SNAPSHOT_SIDE, differences(snapshot.catalog, live))
    notes = [f"The last snapshot is of {snapshot}."]
    if snapshot.is_superseded:
        notes.append("Migrations ran since without leaving a snapshot: what they did is among the differences.")
    if snapshot.server_major != connection.connection.server_version // 10000:
        notes.append(
            f"It was taken on PostgreSQL {snapshot.server_major}; another version may print the same in other words."
        )
    notes += _known_notes(len(found.accepted), len(found.prescribed))
    return Comparison(SNAPSHOT_SIDE, found.drift, tuple(notes), found.accepted, found.prescribed, live)


def with_code(connection: BaseDatabaseWrapper, *, pending_too: bool) -> Comparison:
    """The live schema against what this code builds in a scratch database: the applied migrations, or all of them.

    Raises:
        EnvironmentUnfit: if no scratch database can be had.
    """
    loader = MigrationLoader(connection)
    applied = set(loader.applied_migrations or {})
    status = read_status(loader, recorded_keys(connection))
    notes = []
    if unknown := sorted(status.unknown):
        names = ", ".join(f"{app}.{name}" for app, name in unknown)
        notes.append(f"The database has migrations that this code does not: {names}. What they did is shown as well.")
    built = built_by_code(connection, None if pending_too else applied)
    snapshot = last_snapshot(connection.connection)
    # What earlier releases made and this code does not is ours still; what others made is not.
    wanted = catalog.united(catalog.listed(built), catalog.listed(snapshot.catalog if snapshot else None))
    with connection.cursor() as cursor:
        live = catalog.read(cursor, wanted)
    found = differences(built, live, portable=True)
    debts = DebtStore(connection).owed()
    kept = [difference for difference in found if not any(is_owed(difference, debt) for debt in debts)]
    if len(kept) < len(found):
        notes.append(
            f"{counted(len(found) - len(kept), 'difference')} left out: what 'manage.py migrate --contract' will do."
        )
    with connection.cursor() as cursor:
        known = sort(cursor, CODE_SIDE, kept)
    notes += _known_notes(len(known.accepted), len(known.prescribed))
    return Comparison(CODE_SIDE, known.drift, tuple(notes), known.accepted, known.prescribed, live)


def _known_notes(accepted: int, prescribed: int) -> list[str]:
    notes = []
    if accepted:
        notes.append(f"{counted(accepted, 'difference')} left out: accepted as intended.")
    if prescribed:
        notes.append(
            f"{counted(prescribed, 'owner or grant', 'owners and grants')} left out: as the default privileges of the "
            "role that migrates say."
        )
    return notes


def is_owed(difference: Difference, debt: Debt) -> bool:
    """Whether a difference from the code is what a debt says."""
    if debt.kind == TABLE:
        return debt.table in (difference.name, difference.on) or difference.name.startswith(f"{debt.table}_")
    if difference.on != debt.table:
        return False
    if difference.name in debt.names:
        return True
    # An index or a constraint that goes with a column; the words of one that is missing are not among the texts.
    text = f"{difference.whole_old} {difference.whole_new}"
    return debt.kind == COLUMN and bool(re.search(rf"\b{re.escape(debt.object)}\b", text))


def built_by_code(connection: BaseDatabaseWrapper, history: set[tuple[str, str]] | None = None) -> Catalog:
    """The catalog that this code's migrations build where nothing is; all, or those of a history.

    In a scratch database, or in a schema of its own in one transaction, where the role may not create databases.

    Raises:
        EnvironmentUnfit: if neither can be had.
    """
    try:
        with scratch.database_like(connection):
            scratch.build(connection, history)
            with connection.cursor() as cursor:
                built = catalog.read(cursor)
        connection.ensure_connection()
    except scratch.NotAllowed as not_allowed:
        with ExitStack() as stack:
            try:
                stack.enter_context(
                    schema_of_its_own(connection, lock_timeout_ms=require_configuration().lock_timeout_ms)
                )
            except EnvironmentUnfit:
                raise not_allowed from None
            scratch.build(connection, history)
            with connection.cursor() as cursor:
                built = catalog.read(cursor, names_here(cursor))
    return built
