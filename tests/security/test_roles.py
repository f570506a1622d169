"""Two database roles, made by the runbook's SQL: the owner migrates, and one who owns nothing serves."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from tests.conftest import with_server
from tests.faults.migrator import query
from tests.security.conftest import EMAIL, PASSWORD
from tests.server.browser import Browser, code
from tests.server.releases import PRODUCTION
from tests.server.service import PROJECT, Service, manage

DENIED = "42501"


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture
def roles(server_url: str, database_url: str) -> Iterator[tuple[str, str]]:
    """Addresses of one database: as its owner, who has migrated it, and as the runbook's other role."""
    suffix = uuid.uuid4().hex[:8]
    owner, app = f"owner_{suffix}", f"app_{suffix}"
    name = urlsplit(database_url).path.strip("/")
    with_server(server_url, f"CREATE ROLE {owner} LOGIN")
    with_server(server_url, f'ALTER DATABASE "{name}" OWNER TO {owner}')
    migrated = manage(PROJECT, "migrate", "--noinput", DATABASE_URL=as_role(database_url, owner))
    assert migrated.returncode == 0, migrated.stderr
    text = (PROJECT / "docs" / "runbook.md").read_text()
    first, then = (
        re.sub(r"\brupaya\b", owner, block.replace("rupaya_app", app)).replace("\\set ON_ERROR_STOP on\n", "")
        for block in re.findall(r"```sql\n(.*?)```", text[text.index("## Two database roles") :], re.DOTALL)[:2]
    )
    # The rest needs pg_stat_statements, a library that the embedded server lacks.
    with_server(server_url, first.partition("-- Who still uses")[0])
    with_server(as_role(database_url, owner), then)
    try:
        yield as_role(database_url, owner), as_role(database_url, app)
    finally:
        with_server(server_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        for role in (app, owner):
            with_server(database_url, f"REASSIGN OWNED BY {role} TO CURRENT_USER")
            with_server(database_url, f"DROP OWNED BY {role} CASCADE")
            with_server(server_url, f"DROP ROLE {role}")


def test_the_served_application_can_serve_and_cannot_alter_a_table(
    roles: tuple[str, str], production_release: Path, newer_release: Path, server_url: str
) -> None:
    owner, app = roles
    made = manage(
        production_release, "administrator", EMAIL, "--password-stdin", "--print-second-factor",
        stdin=f"{PASSWORD}\n", **PRODUCTION, DATABASE_URL=app,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr

    with Service(newer_release, DATABASE_URL=app, MIGRATION_DATABASE_URL=owner) as service:
        ready = service.wait_until_ready().json()
        assert ready["migrations"]["pending"] == 0
        assert query(app, "SELECT nickname FROM users") == [(None,)]  # migrated as the owner, read as the other
        assert b"MIGRATION_DATABASE_URL" not in Path(f"/proc/{service.process.pid}/environ").read_bytes()
        health = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'release %'"
        users = query(server_url, f"{health} AND datname = '{urlsplit(app).path.strip('/')}'")
        assert users == [(urlsplit(app).username,)]

    with Service(production_release, **PRODUCTION, DATABASE_URL=app, MIGRATION_DATABASE_URL=owner) as service:
        service.wait_until_ready()
        browser = Browser(service)
        assert browser.sign_in(EMAIL, "wrong") == 200
        assert browser.sign_in(EMAIL, PASSWORD) == 302
        assert browser.post("/admin/second-factor/", token=code(made.stdout.split()[-1])).status == 302
        for path in ("/admin/", "/admin/accounts/user/", "/admin/transactions/transaction/", "/health/"):
            assert browser.request(path).status == 200, path
        assert b"succeeded" in browser.request("/health/").body

    for sql in (
        "ALTER TABLE users ADD COLUMN mine text",
        "DROP TABLE devices",
        "TRUNCATE users",
        "CREATE TABLE mine (id int)",
        "CREATE INDEX mine ON users (email)",
        "ALTER TABLE users DISABLE TRIGGER ALL",
        "DELETE FROM django_migrations",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '0999', now())",
        "UPDATE migrator_runs SET outcome = 'succeeded'",
        "INSERT INTO migrator_settled (digest, run_id) VALUES ('x', 1)",
        "DELETE FROM migrator_attempts",
    ):
        with pytest.raises(psycopg2.Error) as refused:
            query(app, sql)
        assert refused.value.pgcode == DENIED, sql
