"""What changes a migration's fingerprint, and what does not."""

from __future__ import annotations

import pytest

from rupaya.migrator.plan.fingerprint import do_the_same, fingerprint

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
