"""Processes that tests start: what each inherits of this one, and how one is run to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.patience import HANGING_S

PROJECT = Path(__file__).resolve().parents[1]
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_", "PYTHONWARNINGS")


def inherited(**variables: str) -> dict[str, str]:
    """The environment of a process: nothing of whoever runs the tests but what any process needs, and `variables`."""
    return {name: value for name, value in os.environ.items() if name.startswith(INHERITED)} | variables


def python(
    *arguments: str, cwd: Path = PROJECT, answer: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, whatever its status; `answer`: what it reads, which is no terminal."""
    return run(arguments, inherited(**variables), cwd, answer)


def run(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """As `python`, with exactly these variables."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=env,
        input=answer,
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )
