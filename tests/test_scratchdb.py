"""The scratch server: the command finds it, its exit status is kept, and nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rupaya.environment import BASE_DIR
from rupaya.localdb import SUPERUSER
from tests.patience import HANGING_S

SHOW = "import os; print(os.environ['DATABASE_URL'])"
PROBE = """
import os, psycopg2, sys
connection = psycopg2.connect(os.environ["DATABASE_URL"])
print(connection.info.host)
sys.exit(7)
"""


def test_the_command_finds_an_empty_server_that_is_gone_afterwards() -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "DB_HOST")}
    completed = subprocess.run(
        [sys.executable, "-m", "rupaya.scratchdb", sys.executable, "-c", PROBE],
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (7, "")
    socket_dir = Path(completed.stdout.splitlines()[-1])
    assert socket_dir.name == "socket"
    assert not socket_dir.parent.exists()


def test_a_server_that_is_named_is_used(server_url: str) -> None:
    completed = subprocess.run(
        [
            sys.executable,
            "-m",
            "rupaya.scratchdb",
            sys.executable,
            "-c",
            SHOW,
        ],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=True,
    )
    assert completed.stdout.strip() == server_url


def test_a_command_that_needs_a_superuser_gets_one() -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "DB_HOST")}
    completed = subprocess.run(
        [sys.executable, "-m", "rupaya.scratchdb", "--superuser", sys.executable, "-c", SHOW],
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert completed.stdout.startswith(f"postgresql://{SUPERUSER}@")
