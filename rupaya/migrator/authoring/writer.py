"""Django's writer of migrations: it also says why a step stands alone, and writes `atomic = False` on any Django."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from django.db.migrations.writer import MigrationWriter

_CLASS = "class Migration(migrations.Migration):\n"
_MODULE = "rupaya.migrator.operations"


class StepWriter(MigrationWriter):
    """Writes a step as a person would."""

    noted: list[str]
    """Where they are written: Django's command keeps no list of what it merges."""

    @classmethod
    def noting(cls) -> type[StepWriter]:
        """The class for one command."""
        return type(cls.__name__, (cls,), {"noted": []})

    def as_string(self) -> str:
        text = super().as_string()
        self.noted.append(self.path)
        if names := sorted(set(re.findall(rf"\b{re.escape(_MODULE)}\.(\w+)\(", text))):
            text = text.replace(f"import {_MODULE}\n", "")
            text = text.replace(f"{_MODULE}.", "")
            lines = f"\nfrom {_MODULE} import {', '.join(names)}\n"
            text = re.sub(r"(from django\.db import migrations.*\n)", lambda found: found[1] + lines, text, count=1)
        added = ""
        for comment in getattr(self.migration, "comment", "").splitlines():
            added += f"    # {comment}\n"
        if not self.migration.atomic and not re.search(r"^    atomic = False$", text, re.MULTILINE):
            added += "    atomic = False\n"
        return text.replace(_CLASS, _CLASS + added, 1)


def format_files(paths: Sequence[str]) -> None:
    """Let ruff, where it is installed, put those that were written into the project's form."""
    paths = [path for path in paths if Path(path).exists()]
    if not paths:
        return
    if find_spec("ruff"):
        ruff = [sys.executable, "-m", "ruff"]
    elif found := shutil.which("ruff"):
        ruff = [found]
    else:
        return
    # The imports as the project has them: their order, and its aliases, which ruff calls unsafe to change.
    for command in (["check", "--quiet", "--fix-only", "--unsafe-fixes", "--select=I,ICN"], ["format", "--quiet"]):
        subprocess.run([*ruff, *command, *paths], check=False, capture_output=True)
