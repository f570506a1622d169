"""Every command of the runbook that needs no AWS account is run: what is read at 3 a.m. must work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rupaya.migrator.exitcodes import EXIT_CODES
from tests.faults.migrator import query
from tests.server.service import PROJECT, manage

RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
MIGRATIONS = RUNBOOK[RUNBOOK.index("## When a migration stops a deployment") :]
COMMANDS = sorted(
    {
        line
        for block in re.findall(r"```sh\n(.*?)```", MIGRATIONS, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("python manage.py")
    }
)
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"```sql\n(.*?)```", MIGRATIONS, re.DOTALL)
    for statement in block.split(";")
    if statement.strip()
]


def test_there_is_a_page_for_each_exit_code() -> None:
    pages = set(re.findall(r"^### Exit (\d+)", RUNBOOK, re.MULTILINE))

    assert pages == {str(code) for code in EXIT_CODES if code}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_on_a_healthy_database(migrated_url: str, command: str) -> None:
    ran = manage(PROJECT, *shlex.split(command)[2:], DATABASE_URL=migrated_url, RELEASE="v1")

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: " ".join(statement.split())[:50])
def test_a_statement_is_one_that_the_server_takes(migrated_url: str, statement: str) -> None:
    assert isinstance(query(migrated_url, statement), list)


@pytest.mark.parametrize("flag", ["--contract", "--retry-failed", "--accept-edited", "--fake-initial", "--rehearse"])
def test_a_flag_that_is_named_exists(flag: str) -> None:
    assert flag in RUNBOOK
    assert flag in manage(PROJECT, "migrate", "--help").stdout


def test_linked_documents_exist() -> None:
    for folder in (PROJECT, PROJECT / "docs"):
        for document in folder.glob("*.md"):
            for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
                assert (Path(document.parent) / target).exists(), f"{document.name} links to {target}"
