"""What an exception says is told without what it quotes of somebody's data."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rupaya.migrator.errors import python_text
from tests.faults.migrator import query
from tests.migrator.releases import Deployed, Release, migration

MARKED = "".join(["carol", "@", "secret.example"])  # so that it stands in no line of code


def raised(work: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what each raises is what is asked
        work()
    return python_text(caught.value)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: int(MARKED), "invalid literal for int() with base 10: '...'"),
        (lambda: {}[MARKED], "'...'"),
        (lambda: [].index({"name": MARKED, "n": f"it's {MARKED}\n"}), "{'name': '...', 'n': \"...\"} is not in list"),
        (lambda: object().missing, "'object' object has no attribute 'missing'"),  # type: ignore[attr-defined]
        (lambda: {}["a key that is misspelt"], "'a key that is misspelt'"),
    ],
)
def test_an_exception_quotes_nothing_that_stands_in_no_code(work: Callable[[], object], said: str) -> None:
    assert raised(work) == said


def test_an_exception_of_a_migration_takes_nobodys_data_into_log_and_ledger(
    deployed: Deployed, release: Release
) -> None:
    url = deployed(release)
    query(url, "INSERT INTO shop_item (name) VALUES (%s)", MARKED)
    body = 'int(apps.get_model("shop", "Item").objects.get().name)'
    text = migration("migrations.RunPython(lambda apps, editor: " + body + ")", "0001_initial")
    release.write("0002_number", text)

    failed = release.run(url)

    assert failed.returncode == 13
    assert "ValueError: invalid literal for int() with base 10: '...' at " in failed.stderr
    assert MARKED not in failed.stdout + failed.stderr + str(query(url, "SELECT * FROM migrator_attempts"))


@pytest.mark.parametrize(
    "said",
    [
        'invalid input syntax for type integer: "{}"',
        'invalid input syntax for type integer: "a" {} "b',
        "ungültige Eingabesyntax für Typ integer: »{}«",
        "la sintaxis de entrada no es válida para tipo integer: «{}\nb»",
        '"integer"型の入力構文が不正です: "{}"',
    ],
)
def test_a_server_of_any_language_takes_nobodys_data_into_log_and_ledger(
    deployed: Deployed, release: Release, said: str
) -> None:
    url = deployed(release)
    query(url, "INSERT INTO shop_item (name) VALUES (%s)", MARKED)
    message = f"(SELECT replace($text${said}$text$, '{{}}', name) FROM shop_item)"
    raising = f"DO $do$ BEGIN RAISE EXCEPTION USING ERRCODE = '22P02', MESSAGE = {message}; END $do$"
    release.write("0002_other_type", migration(f"migrations.RunSQL({raising!r})", "0001_initial"))

    failed = release.run(url)

    assert failed.returncode == 13
    assert '"..."' in failed.stderr
    assert MARKED not in failed.stdout + failed.stderr + str(query(url, "SELECT error FROM migrator_attempts"))
