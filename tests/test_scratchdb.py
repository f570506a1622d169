"""The scratch server: the command finds it, its exit status is kept, and nothing of it is left."""

from __future__ import annotations

import sys
from pathlib import Path

from rupaya.localdb import SUPERUSER
from tests.processes import python

SHOW = "import os; print(os.environ['DATABASE_URL'])"
PROBE = """
import os, psycopg2, sys
connection = psycopg2.connect(os.environ["DATABASE_URL"])
print(connection.info.host)
sys.exit(7)
"""


def test_the_command_finds_an_empty_server_that_is_gone_afterwards() -> None:
    completed = python("-m", "rupaya.scratchdb", sys.executable, "-c", PROBE)

    assert (completed.returncode, completed.stderr) == (7, "")
    socket_dir = Path(completed.stdout.splitlines()[-1])
    assert socket_dir.name == "socket"
    assert not socket_dir.parent.exists()


def test_a_server_that_is_named_is_used(server_url: str) -> None:
    completed = python("-m", "rupaya.scratchdb", sys.executable, "-c", SHOW, DATABASE_URL=server_url)

    assert (completed.returncode, completed.stdout.strip()) == (0, server_url), completed.stderr


def test_a_command_that_needs_a_superuser_gets_one() -> None:
    completed = python("-m", "rupaya.scratchdb", "--superuser", sys.executable, "-c", SHOW)

    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.startswith(f"postgresql://{SUPERUSER}@")
