"""A scratch database has the settings of the live one, and the schema that its tables are in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration

VIEW = r"""migrations.RunSQL("CREATE VIEW shop_names AS SELECT id, name || 'a\\b' AS name FROM shop_item", "")"""


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A role of this test's own, which may create databases, and whose tables go to a schema of its own."""
    name = f"owner_{secrets.token_hex(4)}"
    query(database_url, f'CREATE ROLE {name} LOGIN CREATEDB; CREATE SCHEMA "My Shop" AUTHORIZATION {name}')
    yield name
    query(database_url, f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.mark.parametrize(
    "settings",
    [
        ["ALTER ROLE {role} SET search_path = 'My Shop'"],
        ["ALTER ROLE {role} IN DATABASE {database} SET search_path = 'My Shop', public"],
        [
            "ALTER DATABASE {database} SET search_path = 'My Shop'",
            "ALTER DATABASE {database} SET standard_conforming_strings = off",
            "ALTER DATABASE {database} SET lc_messages = 'C'",  # which only a superuser may set
            "ALTER DATABASE {database} SET made.up = 'it''s'",
        ],
    ],
)
def test_what_is_built_there_is_what_is_here(
    database_url: str, role: str, release: Release, settings: list[str]
) -> None:
    database = urlsplit(database_url).path.strip("/")
    for setting in settings:
        query(database_url, setting.format(role=role, database=f'"{database}"'))
    url = f"{database_url}{'&' if '?' in database_url else '?'}user={role}"
    release.write("0001_initial", migration(f"{CREATE} {VIEW}", header="initial, phase = True, 'expand'"))

    deployed = release.run(url)
    compared = release.run(url, "schemadiff")
    release.write(
        "0002_note", migration("migrations.AddField('Item', 'note', models.TextField(null=True))", "0001_initial")
    )
    rehearsed = release.run(url, "migrate", "--rehearse")

    assert deployed.returncode == 0, deployed.stderr
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
    assert "column shop_item.note: created" in rehearsed.stdout


@pytest.mark.parametrize("setting", ["standard_conforming_strings = off", "bytea_output = 'escape'"])
def test_a_session_that_prints_otherwise_finds_no_difference(
    database_url: str, role: str, release: Release, setting: str
) -> None:
    url = f"{database_url}{'&' if '?' in database_url else '?'}user={role}"
    query(database_url, f"ALTER ROLE {role} SET search_path = 'My Shop'")
    key = r"""migrations.AddField("Item", "key", models.BinaryField(db_default=b"\\0"))"""
    release.write("0001_initial", migration(f"{CREATE} {VIEW}, {key}", header="initial, phase = True, 'expand'"))
    assert release.run(url).returncode == 0

    query(database_url, f"ALTER ROLE {role} SET {setting}")
    compared = release.run(url, "schemadiff", "--against", "snapshot")

    assert compared.returncode == 0, compared.stdout + compared.stderr
