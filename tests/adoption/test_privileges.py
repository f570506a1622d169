"""Two roles, one that migrates and one that serves: the latter may do what it needs, on all that an adoption makes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.adoption.original import DECISIONS
from tests.conftest import with_server
from tests.faults.migrator import migrate, query
from tests.server.service import Service


@pytest.fixture
def serving_url(owner_url: str, server_url: str) -> Iterator[str]:
    """The address of the owner's database for a role that owns nothing and was granted nothing."""
    parts = urlsplit(owner_url)
    role = f"serves_{parts.username}"
    with_server(server_url, f"CREATE ROLE {role} LOGIN")
    yield urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))
    with_server(urlunsplit(urlsplit(server_url)._replace(path=parts.path)), f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.slow
def test_the_role_that_serves_is_granted_what_it_lacks_and_can_serve(
    owner_url: str, serving_url: str, irregular_url: str
) -> None:
    role = urlsplit(serving_url).username
    for arguments in (("--plan", *DECISIONS), (), ("--finish", *DECISIONS)):
        run = migrate(serving_url, "adopt", *arguments, MIGRATION_DATABASE_URL=owner_url)
        assert run.process.returncode == 0, run.output
        assert f"{role}, the role that serves" in run.output or "--finish" in arguments

    may = "SELECT has_table_privilege(%s, %s, 'INSERT'), has_table_privilege(%s, %s, 'SELECT') FROM (SELECT 1) one"
    for table in ("users", "budgets", "auth_permission", "django_session", "axes_accessattempt"):
        assert query(owner_url, may, role, table, role, table) == [(True, True)], table
    for table in ("django_migrations", "migrator_runs", "adoption_quarantine"):
        assert query(owner_url, may, role, table, role, table) == [(False, True)], table
    for table in ("knex_migrations", "feature_flags"):
        assert query(owner_url, may, role, table, role, table) == [(False, False)], table
    with Service(DATABASE_URL=serving_url, MIGRATION_DATABASE_URL=owner_url) as service:
        service.wait_until_ready()
        # What later migrations make is granted by default.
        query(owner_url, "CREATE TABLE later (id serial)")
        assert query(serving_url, "INSERT INTO later DEFAULT VALUES RETURNING id") == [(1,)]
        query(owner_url, f"REVOKE SELECT ON django_migrations FROM {role}")
        unready = service.poll("/health/ready", lambda response: response.status == 503)
        assert unready.json()["reason"] == "the database refuses this role what it needs"


def test_a_role_that_is_not_there_is_told(owner_url: str, irregular_url: str) -> None:
    nobody = urlunsplit(urlsplit(owner_url)._replace(netloc="nobody@"))

    planned = migrate(nobody, "adopt", "--plan", MIGRATION_DATABASE_URL=owner_url)

    assert planned.process.returncode == 1
    assert "the role nobody of DATABASE_URL, which is to serve, is not there" in planned.output
