"""What a developer's terminal shows, and what the commands that write migrations write."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.service import PROJECT, copy_release, last_migration, manage


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["as ever", "NO_COLOR"])
def test_no_color_is_heeded_on_a_terminal(variables: dict[str, str]) -> None:
    """https://no-color.org"""
    environ = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "DJANGO_COLORS")}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={**environ, "TERM": "xterm", "MIGRATE_RETRIES": "abc", **variables},
        stdout=theirs,
        stderr=theirs,
    ) as command:
        os.close(theirs)
        said = b""
        try:
            while read := os.read(ours, 4096):
                said += read
        except OSError:
            pass  # how Linux says that the other end is closed
    os.close(ours)

    assert command.returncode != 0
    assert b"MIGRATE_RETRIES" in said
    assert (b"\033[" in said) is not bool(variables)


def test_makemigrations_says_which_is_the_last(tmp_path: Path, database_url: str) -> None:
    tree = copy_release(tmp_path / "tree")
    models = tree / "accounts" / "models.py"
    models.write_text(
        models.read_text()
        + '\n\nclass Nickname(models.Model):\n    """A name that friends use."""\n\n    name = models.TextField()\n'
    )

    made = manage(tree, "makemigrations", "accounts", "--name", "add_nicknames", DATABASE_URL=database_url)

    assert made.returncode == 0, made.stderr
    number = int(last_migration("accounts").split("_")[0]) + 1
    assert last_migration("accounts", tree) == f"{number:04}_add_nicknames"


def test_the_commands_that_hints_name_are_there() -> None:
    known = manage(PROJECT, "help", "--commands").stdout.split()

    assert {"create_max_migration_files", "rebase_migration", "administrator"} <= set(known)


def test_what_production_installs_is_enough_in_any_environment() -> None:
    """CI rehearses with the production lock alone, and RUPAYA_ENV=test."""
    without = "import sys; sys.modules['django_linear_migrations'] = None; import rupaya.settings as s; "
    subprocess.run(
        [sys.executable, "-c", without + "assert 'django_linear_migrations' not in s.INSTALLED_APPS"],
        cwd=PROJECT,
        check=True,
    )


def test_the_list_of_commands_is_in_columns() -> None:
    listed = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in listed.splitlines() if line.startswith("  make ")]

    starts = {len(line) - len(line[7:].partition(" ")[2].lstrip()) for line in lines}

    assert len(lines) > 15
    assert len(starts) == 1


def test_a_database_that_is_not_there_or_empty_is_a_sentence_to_any_command(database_url: str) -> None:
    nowhere = manage(PROJECT, "purge_expired", DATABASE_URL="postgresql://rupaya@127.0.0.1:1/x")
    empty = manage(PROJECT, "administrator", "you@example.com", DATABASE_URL=database_url)
    asked = manage(PROJECT, "purge_expired", "--traceback", DATABASE_URL=database_url)

    assert (nowhere.returncode, empty.returncode, asked.returncode) == (10, 1, 1)
    assert "The database 127.0.0.1:1/x cannot be reached" in nowhere.stderr
    assert "'manage.py migrate' makes them" in empty.stderr
    assert "Traceback" not in nowhere.stderr + empty.stderr
    assert "Traceback" in asked.stderr
