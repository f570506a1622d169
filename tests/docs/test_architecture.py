"""Where a stranger looks: docs/architecture.md has a line for each file, and a name means one thing in the migrator."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.server.service import PROJECT

MIGRATOR = PROJECT / "rupaya" / "migrator"
# Django finds these by their names; what they are for needs no line.
OF_DJANGO = {"__init__.py", "admin.py", "apps.py", "urls.py", "wsgi.py"}
FOLDERS_OF_DJANGO = {"commands", "migrations", "templatetags"}


def files(folder: Path) -> list[Path]:
    """Its modules, but for those that Django names."""
    return [
        path
        for path in sorted(folder.rglob("*.py"))
        if path.name not in OF_DJANGO and path.parent.name not in FOLDERS_OF_DJANGO
    ]


def more_than_once(places: dict[str, list[str]]) -> dict[str, list[str]]:
    """Names that stand for several things, and where."""
    return {name: found for name, found in places.items() if len(found) > 1}


def test_each_file_has_its_line_and_each_line_its_file() -> None:
    named = set(re.findall(r"\b(\w+\.py)\b", (PROJECT / "docs" / "architecture.md").read_text("utf-8")))
    there = {path.name for folder in ("rupaya", "deploy") for path in (PROJECT / folder).rglob("*.py")}
    there |= {path.name for path in [*PROJECT.glob("*.py"), *(PROJECT / "bench").glob("*.py")]}

    assert {path.name for path in files(PROJECT / "rupaya")} - named == set()
    assert named - there == set()


def test_no_two_files_of_the_migrator_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in files(MIGRATOR):
        places[path.name].append(str(path.relative_to(MIGRATOR)))

    assert len(places) > 100
    assert more_than_once(places) == {}


def test_no_two_classes_of_the_migrator_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in files(MIGRATOR):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(MIGRATOR)))

    assert len(places) > 100
    assert more_than_once(places) == {}
