"""How a database stands to this code: one answer, which plan, audit, readiness, site and schemadiff ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.migrations.loader import MigrationLoader

from rupaya.migrator.django import Key, full_order


@dataclass(frozen=True)
class Status:
    """The code's migrations against a history. A squashed migration is applied if all that it replaces is."""

    applied: frozenset[Key]
    """Of this code's migrations, those that the database has."""
    pending: tuple[Key, ...]
    """Of this code's migrations, those that it does not have, in the order of the plan."""
    newer: frozenset[Key] = field(default=frozenset())
    """Only the database has them, and they were recorded after everything that this code knows of their app."""
    older: frozenset[Key] = field(default=frozenset())
    """Only the database has them, and this code's own came after: a squash that was finished."""
    foreign: frozenset[Key] = field(default=frozenset())
    """Only the database has them, of apps that this code does not install: uninstalled, or another service's."""

    @property
    def unknown(self) -> frozenset[Key]:
        """Everything that only the database has."""
        return self.newer | self.older | self.foreign


def read_status(loader: MigrationLoader, recorded: Sequence[Key]) -> Status:
    """Compare a history, in the order in which it was recorded, with the code that a loader has read."""
    present = frozenset(recorded)
    replacements = loader.replacements

    def is_applied(key: Key) -> bool:
        # Django's rule (`MigrationLoader.build_graph`): the squashed one counts if all that it replaces counts.
        if key in replacements and all(map(is_applied, replacements[key].replaces)):
            return True
        return key in present

    order = full_order(loader)
    known = set(loader.disk_migrations or {})
    known |= {replaced for migration in replacements.values() for replaced in migration.replaces}
    installed = loader.migrated_apps | loader.unmigrated_apps
    last_known: dict[str, int] = {}
    for position, (app, name) in enumerate(recorded):
        if (app, name) in known:
            last_known[app] = position
    newer, older, foreign = set(), set(), set()
    for position, key in enumerate(recorded):
        if key in known:
            continue
        if key[0] not in installed:
            foreign.add(key)
        elif position > last_known.get(key[0], -1):
            newer.add(key)
        else:
            older.add(key)
    return Status(
        applied=frozenset(key for key in order if is_applied(key)),
        pending=tuple(key for key in order if not is_applied(key)),
        newer=frozenset(newer),
        older=frozenset(older),
        foreign=frozenset(foreign),
    )
