"""What all databases of a server have in common is left as it is by what is tried in a scratch database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.faults.migrator import query
from tests.migrator.releases import Deployed, Release, migration

_ROLES = "SELECT oid, rolname::text, rolconnlimit, rolconfig::text FROM pg_roles WHERE rolname LIKE %s"


@pytest.fixture
def role(server_url: str) -> Iterator[str]:
    """The name of a role of this test's own, which is there; a second one of that beginning may be made."""
    name = f"tried_{secrets.token_hex(4)}"
    query(server_url, f"CREATE ROLE {name}")
    yield name
    for (made,) in query(server_url, "SELECT rolname::text FROM pg_roles WHERE rolname LIKE %s", name + "%"):
        query(server_url, f"DROP ROLE {made}")


def rehearsed(deployed: Deployed, release: Release, sql: str, header: str = "phase = 'expand'") -> tuple[int, str]:
    url = deployed(release)
    release.write("0002_role", migration(f'migrations.RunSQL("{sql}", "")', "0001_initial", header=header))
    ran = release.run(url, "migrate", "--rehearse")
    return ran.returncode, ran.stdout + ran.stderr


def test_a_role_that_is_made_is_gone_afterwards_with_what_was_given_to_it(
    deployed: Deployed, release: Release, role: str, server_url: str
) -> None:
    sql = (
        f"DO $$ BEGIN IF to_regrole('{role}_2') IS NULL THEN CREATE ROLE {role}_2; END IF; END $$; "
        f"GRANT {role}_2 TO {role}; ALTER ROLE {role}_2 SET work_mem = '1MB'; GRANT SELECT ON shop_item TO {role}_2"
    )

    code, told = rehearsed(deployed, release, sql)

    assert code == 0, told
    assert "shop.0002_role: applied" in told
    assert [name for _oid, name, *_rest in query(server_url, _ROLES, role + "%")] == [role]


@pytest.mark.parametrize(
    ("sql", "header"),
    [
        ("ALTER ROLE {role} CONNECTION LIMIT 3", "phase = 'expand'"),
        ("ALTER ROLE {role} SET work_mem = '1MB'", "phase = 'expand'"),
        ("DROP ROLE {role}", "phase = 'contract'"),
        ("DROP ROLE {role}", "atomic, phase = False, 'contract'"),
    ],
)
def test_what_is_there_already_stays_as_it_is(
    deployed: Deployed, release: Release, role: str, server_url: str, sql: str, header: str
) -> None:
    before = query(server_url, _ROLES, role + "%")

    code, told = rehearsed(deployed, release, sql.format(role=role), header)

    assert code == 13, told
    assert "it would change what all databases of this server have in common" in told
    assert query(server_url, _ROLES, role + "%") == before


def test_what_changes_nothing_is_tried(deployed: Deployed, release: Release, role: str) -> None:
    sql = (
        f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); "
        f"IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role}; END IF; END $$"
    )

    code, told = rehearsed(deployed, release, sql)

    assert code == 0, told


def test_the_migration_is_named_that_cannot_be_built(deployed: Deployed, release: Release, role: str) -> None:
    url = deployed(release)
    release.write("0002_role", migration(f'migrations.RunSQL("CREATE ROLE {role}", "")', "0001_initial"))

    built = release.run(url, "presumptions")

    assert built.returncode == 13, built.stdout + built.stderr
    assert "shop.0002_role failed" in built.stderr
    assert "already exists" in built.stderr


@pytest.mark.parametrize("command", [("migrate", "--rehearse"), ("presumptions",)], ids=" ".join)
def test_a_server_that_ends_the_session_is_no_fault_of_the_migration(
    deployed: Deployed, release: Release, command: tuple[str, ...]
) -> None:
    url = deployed(release)
    sql = "SELECT pg_terminate_backend(pg_backend_pid())"
    release.write("0002_lost", migration(f'migrations.RunSQL("{sql}", "")', "0001_initial", header="phase = 'expand'"))

    ran = release.run(url, *command)

    assert ran.returncode == 10, ran.stdout + ran.stderr
