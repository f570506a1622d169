"""Whether the migrations on disk have changed, found without importing Django or any app.

Every container start asks this, and nearly every one learns that nothing is pending; importing Django to learn it would
cost ten times as much. Nothing is cached, so nothing can be stale: the folders are read each time.

What is hashed may be more than Django would load, and must never be less: `plan` compares it with what Django loaded
before anything relies on it.
"""

from __future__ import annotations

import hashlib
import os
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # as `typing` has it, without importing that
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SUFFIXES = (".py", ".pyc", ".so")


def package_dir(dotted: str) -> str | None:
    """The folder of a package, found without importing it or its parents; None if there is no such folder."""
    top, *rest = dotted.split(".")
    try:
        spec = PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = os.path.join(location, *rest)
        if os.path.isdir(path):
            return path
    return None


def migration_files(
    installed_apps: Iterable[str], migration_modules: Mapping[str, str | None] | None = None
) -> list[str]:
    """The files in the migrations folders of apps, named by their package or by their `AppConfig`, sorted.

    The folders that MIGRATION_MODULES names are read as well as the usual ones.
    """
    folders = set()
    for entry in installed_apps:
        package = entry
        while package:
            if folder := package_dir(f"{package}.migrations"):
                folders.add(folder)
                break
            package = package.rpartition(".")[0]
    for module in (migration_modules or {}).values():
        if module and (folder := package_dir(module)):
            folders.add(folder)
    return sorted(
        os.path.join(folder, name)
        for folder in folders
        for name in os.listdir(folder)
        # Django's own rule: modules that do not begin with _ or ~; a name with a dot can be no module.
        if name.endswith(_SUFFIXES) and name[0] not in "_~."
    )


def digest(files: Iterable[str], release: str) -> str:
    """A hash of a release's name, of every file and of Django's version; another one means another run is due.

    A file that cannot be read is one that Python could not import either.
    """
    total = hashlib.sha256(release.encode())
    django = package_dir("django")
    for path in [*([os.path.join(django, "__init__.py")] if django else []), *files]:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            continue
        # Two folders deep, app and file; the whole path differs from one machine to the next.
        name = "/".join(path.rsplit(os.sep, 3)[1:])
        total.update(f"{name}:{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()
