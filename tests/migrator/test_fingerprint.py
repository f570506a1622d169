"""What changes a migration's fingerprint, and what does not; and which applied ones were edited by that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import migrations

from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.ledger.ledger import Applied, comparable_versions
from rupaya.migrator.plan.fingerprint import do_the_same, fingerprint, migration_hashes
from rupaya.migrator.plan.history import Edited, edited_migrations, refuse_edited
from tests.migrator.plans import loaded

SOURCE = '''
"""Adds a column."""

from django.db import migrations

def fill(apps, schema_editor):
    """Fill it."""
    apps.get_model("a", "B").objects.update(c=1)

class Migration(migrations.Migration):
    operations = [migrations.RunSQL("ALTER TABLE b ADD c integer"), migrations.RunPython(fill)]
'''


@pytest.mark.parametrize(
    "edit",
    [
        ("\nfrom django", "\n\n# why\nfrom django"),
        ('"""Adds a column."""', '"""Adds another column."""'),
        ('    """Fill it."""\n', ""),
        ("[migrations.RunSQL(", "[\n        migrations.RunSQL("),
    ],
)
def test_formatting_comments_and_docstrings_do_not(edit: tuple[str, str]) -> None:
    edited = SOURCE.replace(*edit)

    assert edited != SOURCE
    assert fingerprint(edited.encode()) == fingerprint(SOURCE.encode())


@pytest.mark.parametrize(
    "edit",
    [
        ("ADD c integer", "ADD c bigint"),
        ("update(c=1)", "update(c=2)"),
        (", migrations.RunPython(fill)", ""),
        ("    operations", "    atomic = False\n    operations"),
    ],
)
def test_operations_bodies_and_sql_do(edit: tuple[str, str]) -> None:
    edited = SOURCE.replace(*edit)

    assert edited != SOURCE
    assert not do_the_same(fingerprint(edited.encode()), fingerprint(SOURCE.encode()))


@pytest.mark.parametrize(
    "place", ['dependencies = [("a", "0001_squashed_0009")]', 'replaces: list = [("a", "0001_b")]\n    initial = True']
)
def test_another_place_is_another_attempt_and_no_other_migration(place: str) -> None:
    """A squash is finished by naming it in the dependencies of migrations that were applied long ago."""
    edited = SOURCE.replace("    operations", f"    {place}\n    operations")

    assert do_the_same(fingerprint(edited.encode()), fingerprint(SOURCE.encode()))
    assert fingerprint(edited.encode()) != fingerprint(SOURCE.encode())


def as_applied(migration: migrations.Migration, **others: str) -> Applied:
    """The ledger's word that it was applied as it is."""
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    python_version, django_version = comparable_versions()
    code, file_hash = migration_hashes(migration)
    applied = Applied(
        app="shop", name="0002_change", batch=1, phase="expand", faked=False, fingerprint=code, file_hash=file_hash,
        tries=1, started_at=at, finished_at=at, run_id=1, command="migrate", release="v1", git_sha="", task="",
        database_user="", python_version=python_version, django_version=django_version,
    )  # fmt: skip
    return replace(applied, **others)  # type: ignore[arg-type]  # all of them are texts


EDITED = SOURCE.replace("ADD c integer", "ADD c bigint")


@pytest.mark.parametrize(
    ("folder", "now", "others", "found"),
    [
        ("shop", SOURCE, {}, []),
        ("shop", f"# why\n{SOURCE}", {}, []),
        ("shop", EDITED, {}, [True]),
        ("shop", EDITED, {"file_hash": ""}, []),
        ("shop", EDITED, {"python_version": "3.9.1"}, [False]),
        ("shop", EDITED, {"django_version": "3.2"}, [False]),
        ("shop", EDITED, {"name": "0003_gone"}, []),
        ("lib/site-packages/shop", EDITED, {}, [False]),
        ("lib/dist-packages/shop", EDITED, {}, [False]),
    ],
)
def test_an_applied_migration_whose_file_and_code_differ_was_edited_for_certain_if_it_is_ours(
    tmp_path: Path, folder: str, now: str, others: dict[str, str], found: list[bool]
) -> None:
    applied = as_applied(loaded(tmp_path / "then" / "0002_change.py", SOURCE), **others)
    disk = {("shop", "0002_change"): loaded(tmp_path / folder / "0002_change.py", now)}

    edited = edited_migrations(disk, [applied])

    assert [item.is_certain for item in edited] == found


def test_a_migration_whose_file_is_gone_was_not_edited(tmp_path: Path) -> None:
    migration = loaded(tmp_path / "0002_change.py", SOURCE)
    (tmp_path / "0002_change.py").unlink()

    applied = as_applied(migration, fingerprint="f1.e2", file_hash="a1")
    assert edited_migrations({("shop", "0002_change"): migration}, [applied]) == []


def test_a_refusal_names_each_edited_migration_with_when_and_by_whom(tmp_path: Path) -> None:
    applied = as_applied(loaded(tmp_path / "0002_change.py", SOURCE))
    one, other = Edited(applied, True), Edited(replace(applied, name="0003_more", release="v2"), False)

    with pytest.raises(HistoryRefused) as refused:
        refuse_edited([one, other])

    assert str(refused.value).splitlines()[0] == (
        "Applied migrations were edited since: shop.0002_change (applied 2026-01-02 03:04 UTC by release v1); "
        "shop.0003_more (applied 2026-01-02 03:04 UTC by release v2)."
    )
