"""Migrations of installed packages: which of them a changed lock file brings, by what the deployed release wrote down.

Nobody of the project wrote them, and a lock file does not name them. So a file in the repository does: the last
migrations of each installed package's app, one a line. What the deployed release's file does not have is new.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration

FILE = "installed_migrations.txt"
_HEADER = "# The last migrations of installed packages. Written by `manage.py lintmigrations --write-installed`."


@dataclass
class Brought:
    """What a release brings of packages, each migration after those that it depends on; and what cannot be known."""

    migrations: list[Migration] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def written(loader: MigrationLoader, of_project: Collection[str]) -> str:
    """The file's text for what is installed now; `of_project` are the labels of the project's own apps."""
    leaves = sorted(f"{app} {name}" for app, name in loader.graph.leaf_nodes() if app not in of_project)
    return "\n".join([_HEADER, *leaves]) + "\n"


def brought(loader: MigrationLoader, of_project: Collection[str], deployed: str) -> Brought:
    """What is installed now and was not when `deployed`, the text of the file, was written."""
    found = Brought()
    known: set[tuple[str, str]] = set()
    unclear: set[str] = set()
    disk = loader.disk_migrations or {}
    for line in deployed.splitlines():
        app, _space, name = line.partition(" ")
        if line.startswith("#") or not name or app in of_project or app not in loader.migrated_apps:
            continue
        squashed = [key for key, each in loader.replacements.items() if each.replaces[-1:] == [(app, name)]]
        leaf = squashed[0] if (app, name) not in loader.graph.nodes and squashed else (app, name)
        if leaf in loader.graph.nodes:
            known.update(loader.graph.forwards_plan(leaf))
        else:
            unclear.add(app)
            found.notes.append(
                f"{app}.{name}, the last one deployed, is not among {app}'s now: none of them was tried."
            )
    for key in loader.graph._generate_plan(loader.graph.leaf_nodes(), at_end=True):
        if key[0] not in of_project and key[0] not in unclear and key not in known:
            found.migrations.append(disk[key])
    return found
