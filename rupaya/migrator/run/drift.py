"""Changes by hand: what a run finds that no migration did, and the snapshot by which the next run will know."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import psycopg2
from django.db import Error, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

from rupaya.migrator.django import table_of
from rupaya.migrator.errors import HistoryRefused, driver_text, sqlstate
from rupaya.migrator.ledger.acceptance import sort
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.ledger.snapshots import Snapshot, add_snapshot, last_snapshot, row_versions_of
from rupaya.migrator.output import Output
from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.catalog import Catalog, Names
from rupaya.migrator.schema.diff import differences
from rupaya.migrator.schema.rowversions import row_versions
from rupaya.migrator.sessionsettings import session_settings
from rupaya.migrator.sqlstates import LOCK_NOT_AVAILABLE

MAX_LINES = 30
# Before each try of the snapshot.
PAUSES_S = (0.0, 0.5, 1.0)


class Drift:
    """One run's view of the schema: compared before, watched during, and kept after."""

    def __init__(self, connection: BaseDatabaseWrapper, ledger: Ledger, lock_timeout_ms: int) -> None:
        self.connection = connection
        self.ledger = ledger
        self.lock_timeout_ms = lock_timeout_ms
        self.lines: list[str] = []
        """What was changed by hand since the last snapshot."""
        self.snapshot: Snapshot | None = None
        self._created: Names = {}

    def look(self, output: Output) -> None:
        """Compare with the last snapshot, where there is one to compare with."""
        self.snapshot = last_snapshot(self.ledger.connection)
        if self.snapshot is None or self.snapshot.is_superseded:
            return
        # Another major version may print the same schema in other words: the end of this run is the new baseline.
        if self.snapshot.server_major != self.connection.connection.server_version // 10000:
            return
        with self.connection.cursor() as cursor:
            if row_versions(cursor) == row_versions_of(self.ledger.connection, self.snapshot):
                return
        try:
            live = self._read(catalog.listed(self.snapshot.catalog))
        except OperationalError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            output.say(f"Could not check for changes by hand: {driver_text(error)}", warning=True)
            return
        side = "in the last snapshot"
        with self.connection.cursor() as cursor:
            drift = sort(cursor, side, differences(self.snapshot.catalog, live)).drift
        self.lines = [difference.compared(side, "in the database") for difference in drift]

    def say_or_refuse(self, output: Output, on_drift: str) -> None:
        """Tell what was found.

        Raises:
            HistoryRefused: if there is anything, and `on_drift` is ``error``.
        """
        if not self.lines:
            return
        happened = f"Somebody changed the schema by hand since {self.snapshot}"
        shown = self.lines[:MAX_LINES]
        if len(self.lines) > MAX_LINES:
            shown.append(f"and {len(self.lines) - MAX_LINES} more: manage.py schemadiff --against snapshot")
        if on_drift == "error":
            raise HistoryRefused(
                happened + ":" + "".join(f"\n    {line}" for line in shown),
                "Migrations are written for the schema that migrations built; nothing was changed.",
                "Take the change back by hand; or write a migration that makes it and record that one with "
                "'manage.py migrate --fake'; or, if it is intended here and no migration's business, say so with "
                "'manage.py schemadiff --accept REASON'. MIGRATE_ON_DRIFT=warn accepts the schema as it is.",
            )
        output.say(happened, warning=True)
        for line in shown:
            output.say(f"  {line}", warning=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What comes into being inside the block, made by this role, is our migrations' work."""
        with self.connection.cursor() as cursor:
            before = catalog.names(cursor)
        try:
            yield
        except BaseException:
            with suppress(psycopg2.Error, Error):  # the connection may be what failed
                self._see_created(before)
            raise
        self._see_created(before)

    def _see_created(self, before: Names) -> None:
        with self.connection.cursor() as cursor:
            self._created = catalog.without(catalog.names(cursor, own=True), before)

    def keep_or_say(self, output: Output, models: Iterable[type[Model]]) -> None:
        """Take the snapshot, or say why not: what succeeded does not fail without it."""
        try:
            kept = self.keep(models)
        except (psycopg2.Error, Error) as error:
            output.say(f"The schema's snapshot was not taken: {driver_text(error)}", warning=True)
            return
        if not kept:
            output.say("The schema's snapshot was not taken because a table is locked", warning=True)

    def keep(self, models: Iterable[type[Model]]) -> bool:
        """Take the snapshot: of what was ours, what came into being, and the tables of these models.

        Returns False if a table stayed locked. The next run has nothing to compare with then, and takes one itself.
        """
        managed = {table_of(MigrationRecorder.Migration)}
        unmanaged: set[str] = set()
        for model in models:
            (managed if model._meta.managed and not model._meta.proxy else unmanaged).add(table_of(model))
        for pause_s in PAUSES_S:
            time.sleep(pause_s)
            try:
                # A view has no other model than an unmanaged one; a table of an unmanaged model is somebody else's.
                with self.connection.cursor() as cursor:
                    versions = row_versions(cursor)
                    views = catalog.views(cursor) & (unmanaged - managed)
                before = catalog.listed(self.snapshot.catalog if self.snapshot else None)
                ours = catalog.united(before, self._created, catalog.relation_names(managed | views))
                add_snapshot(self.ledger.connection, self.ledger.run_id, self._read(ours), self.lines, versions)
            except OperationalError as error:
                if sqlstate(error) != LOCK_NOT_AVAILABLE:
                    raise
            else:
                return True
        return False

    def _read(self, names: Names) -> Catalog:
        """Read without waiting long: printing a view needs a lock on its tables, if the weakest one."""
        with (
            session_settings(self.connection, lock_timeout=self.lock_timeout_ms),
            self.connection.cursor() as cursor,
        ):
            return catalog.read(cursor, names)
