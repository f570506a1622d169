"""The programs that these tests are made of; whatever is missing here is a skip with its reason."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def require(program: str, reason: str = "is not installed") -> str:
    """The path of a program, beside this Python or on PATH; without it the test is skipped."""
    # Debian keeps servers where only root's PATH looks.
    folders = (str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin")
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{program} {reason}")
    return found


def stand_in(directory: Path, name: str, script: str) -> Path:
    """A program in a folder that stands in for one that would need AWS, Docker or GitHub; returns the folder."""
    directory.mkdir(exist_ok=True)
    tool = directory / name
    tool.write_text(f"#!/bin/sh\nset -eu\n{script}\n")
    tool.chmod(0o755)
    return directory
