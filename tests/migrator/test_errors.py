"""Exit codes are defined once; whatever else says what they mean says the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from rupaya.migrator.errors import MigratorError, counted, is_or_are
from rupaya.migrator.exitcodes import EXIT_CODES
from rupaya.migrator.management.commands.migrate import Command
from rupaya.migrator.run.procedure import all_applied
from rupaya.story.exits import explain
from tests.migrator.releases import PROJECT
from tests.patience import HANGING_S

CODES = sorted(set(EXIT_CODES) - {0})


def kinds(error: type[MigratorError]) -> list[type[MigratorError]]:
    """Every class below one."""
    return [kind for below in error.__subclasses__() for kind in (below, *kinds(below))]


def test_each_exit_code_has_its_error_and_each_error_its_code() -> None:
    ours = [kind for kind in kinds(MigratorError) if kind.__module__ == MigratorError.__module__]

    assert {kind.exit_code for kind in ours} == set(CODES)


def test_the_deployment_can_read_them_without_anything_installed() -> None:
    read = (
        "import sys; sys.path.append(sys.argv[1]); from rupaya.migrator.exitcodes import EXIT_CODES; "
        "print(len(EXIT_CODES))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", read, PROJECT],
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )

    assert ran.stdout == f"{len(EXIT_CODES)}\n", ran.stderr


def test_the_deployment_says_nothing_of_its_own_about_them() -> None:
    tree = ast.parse((PROJECT / "deploy" / "tasks.py").read_text())
    (own,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXIT_CODES"
    )

    assert set(own).isdisjoint(CODES)


@pytest.mark.parametrize("code", CODES)
def test_document_help_and_site_say_what_the_code_means(code: int) -> None:
    meant = EXIT_CODES[code]
    document = (PROJECT / "docs" / "migrate.md").read_text().replace("`", "").replace("'", "")
    (row,) = re.findall(rf"(?m)^\| {code} \| (.*) \| (.*) \|$", document)

    assert row == (meant.meaning.replace("'", ""), meant.remedy.replace("'", ""))
    assert f"{code}: {meant.meaning}" in Command.help
    assert explain(code) == meant


def test_the_document_knows_no_other_code() -> None:
    document = (PROJECT / "docs" / "migrate.md").read_text()

    assert sorted(int(code) for code in re.findall(r"(?m)^\| (\d+) \| ", document) if code not in "01") == CODES


@pytest.mark.parametrize(
    ("number", "things", "applied"),
    [
        (0, "0 migrations are", "all 0 migrations are applied"),
        (1, "1 migration is", "the only migration is applied"),
        (2, "2 migrations are", "all 2 migrations are applied"),
    ],
)
def test_a_number_agrees_with_what_it_counts(number: int, things: str, applied: str) -> None:
    assert f"{counted(number, 'migration')} {is_or_are(number)}" == things
    assert all_applied(number) == applied
