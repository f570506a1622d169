"""Exit codes are defined once; whatever else says what they mean says the same."""

from __future__ import annotations

import ast
import re

import pytest

from rupaya.migrator.errors import counted, exit_codes, is_or_are
from rupaya.migrator.management.commands.migrate import Command
from rupaya.migrator.run.procedure import all_applied
from rupaya.story.exits import explain
from tests.migrator.releases import PROJECT

CODES = sorted(set(exit_codes()) - {0})


def codes_of_the_deployment() -> dict[int, str]:
    """Read, not imported: it needs libraries of its own."""
    tree = ast.parse((PROJECT / "deploy" / "ecs.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXIT_CODES"
    )
    codes: dict[int, str] = ast.literal_eval(value)
    return codes


@pytest.mark.parametrize("code", CODES)
def test_documents_help_site_and_deployment_say_what_the_code_means(code: int) -> None:
    meant = exit_codes()[code]
    document = (PROJECT / "docs" / "migrate.md").read_text().replace("`", "").replace("'", "")
    (row,) = re.findall(rf"(?m)^\| {code} \| (.*) \| (.*) \|$", document)

    assert row == (meant.meaning.replace("'", ""), meant.remedy.replace("'", ""))
    assert codes_of_the_deployment()[code] == f"{meant.meaning} {meant.remedy}"
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
