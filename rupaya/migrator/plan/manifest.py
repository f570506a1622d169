"""Which migrations the code on disk has, found without importing Django or any app.

Every container start asks this, and nearly every one learns that nothing is pending; importing Django to learn it would
cost ten times as much. Nothing is cached, so nothing can be stale: the folders are read each time.
"""

from __future__ import annotations

import hashlib
import os
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from collections.abc import Iterable

MigrationKey = tuple[str, str]


def package_dir(dotted: str) -> str | None:
    """The folder of a package, found without importing it or its parents; None if there is no such folder."""
    top, *rest = dotted.split(".")
    spec = PathFinder.find_spec(top)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = os.path.join(location, *rest)
        if os.path.isdir(path):
            return path
    return None


def migration_files(installed_apps: Iterable[str]) -> dict[MigrationKey, str]:
    """The file of each migration, by (app label, name), for apps named by their package.

    An app whose label or migrations folder is not the usual one is found wrongly here. `runner` compares the result
    with Django's own before anything relies on it.
    """
    found: dict[MigrationKey, str] = {}
    for app in installed_apps:
        folder = package_dir(f"{app}.migrations")
        if folder is None:
            continue
        label = app.rpartition(".")[2]
        for entry in os.listdir(folder):
            # Django's own rule: modules that do not begin with _ or ~.
            if entry.endswith(".py") and entry[0] not in "_~":
                found[label, entry[:-3]] = os.path.join(folder, entry)
    return found


def digest(files: dict[MigrationKey, str]) -> str:
    """A hash of every migration's file and of Django's version; another one means another run is due."""
    total = hashlib.sha256()
    django = package_dir("django")
    version = [(("", "django"), os.path.join(django, "__init__.py"))] if django else []
    for (label, name), path in [*version, *sorted(files.items())]:
        with open(path, "rb") as file:
            total.update(f"{label}.{name}:{hashlib.sha256(file.read()).hexdigest()}\n".encode())
    return total.hexdigest()
