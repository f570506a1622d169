"""Whether the migrations on disk have changed, found without importing Django or any app.

Every container start asks this, and nearly every one learns that nothing is pending; importing Django to learn it would
cost ten times as much. Nothing is kept from one process to the next, so nothing can be stale.

What is hashed may be more than Django would load, and must never be less: `plan` compares it with what Django loaded
before anything relies on it.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
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


@lru_cache(maxsize=8192)
def content_hash(path: str) -> str:
    """The SHA-256 of a file, empty if it cannot be read; asked once, as a process runs the code that it has loaded."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


def digest(files: Iterable[str], release: str) -> str:
    """A hash of a release's name, of every file and of Django's version; another one means another run is due.

    A file that cannot be read is one that Python could not import either.
    """
    total = hashlib.sha256(release.encode())
    django = package_dir("django")
    for path in [*([os.path.join(django, "__init__.py")] if django else []), *files]:
        if content := content_hash(path):
            # Two folders deep, app and file; the whole path differs from one machine to the next.
            name = "/".join(path.rsplit(os.sep, 3)[1:])
            total.update(f"{name}:{content}\n".encode())
    return total.hexdigest()
