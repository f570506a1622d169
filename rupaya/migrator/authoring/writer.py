"""Django's writer of migrations, which also writes `atomic = False` and why a migration is one of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from django.db.migrations.writer import MigrationWriter

_CLASS = "class Migration(migrations.Migration):\n"
_MODULE = "rupaya.migrator.operations"


class StepWriter(MigrationWriter):
    """Writes a step as a person would."""

    def as_string(self) -> str:
        """The file's text."""
        text = super().as_string()
        if names := sorted(set(re.findall(rf"\b{re.escape(_MODULE)}\.(\w+)\(", text))):
            text = text.replace(f"import {_MODULE}\n", "")
            text = text.replace(f"{_MODULE}.", "")
            lines = f"\nfrom {_MODULE} import {', '.join(names)}\n"
            text = re.sub(r"(from django\.db import migrations.*\n)", lambda found: found[1] + lines, text, count=1)
        added = ""
        if comment := getattr(self.migration, "comment", ""):
            added += f"    # {comment}\n"
        if not self.migration.atomic:
            added += "    atomic = False\n"
        return text.replace(_CLASS, _CLASS + added, 1)


def format_files(paths: Sequence[str]) -> None:
    """Let ruff, where it is installed, put them into the project's form."""
    if not paths:
        return
    if find_spec("ruff"):
        ruff = [sys.executable, "-m", "ruff"]
    elif found := shutil.which("ruff"):
        ruff = [found]
    else:
        return
    for command in (["check", "--quiet", "--fix-only", "--select=I"], ["format", "--quiet"]):
        subprocess.run([*ruff, *command, *paths], check=False, capture_output=True)
