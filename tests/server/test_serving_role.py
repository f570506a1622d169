"""Who serves is not who migrates: `migrate` makes that role, and passwords of both change under running processes.

On a server that asks everybody but its administrator for a password, whose owner of the database may make roles and is
no superuser, as RDS' master user.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from rupaya.localdb import DATABASE, OWNER, LocalPostgres
from tests.faults.migrator import query, wait_for
from tests.server.service import PROJECT, Service, manage

HBA = "local all postgres trust\nlocal all all scram-sha-256\n"
MASTER = "master"
OF_APP = "usename LIKE 'rupaya_app%'"
SINCE = "2026-01-01T00:00:00+00:00"


def credentials(login: str = "rupaya_app_a", serving: str = "first", since: str = SINCE) -> str:
    return json.dumps({"username": login, "password": serving, "member_of": "rupaya_app", "since": since})


class Server(LocalPostgres):
    """The server, and what its administrator does."""

    master = MASTER

    def told(self, serving: str = "", master: str = "") -> dict[str, str]:
        """The environment of a task."""
        return {
            "DB_HOST": str(self.socket_dir),
            "DB_NAME": DATABASE,
            "DB_CREDENTIALS": serving or credentials(),
            "DATABASE_URL": "",
            "MIGRATION_DATABASE_URL": f"postgresql://{OWNER}@/{DATABASE}?host={self.socket_dir}",
            "PGPASSWORD": master or self.master,
        }

    def migrate(self, serving: str = "", master: str = "") -> tuple[int, str]:
        done = manage(PROJECT, "migrate", "--noinput", **self.told(serving, master))
        return done.returncode, done.stdout + done.stderr

    def rotate_master(self) -> None:
        """What RDS does every week."""
        self.master += "+"
        self.psql(f"ALTER ROLE {OWNER} PASSWORD '{self.master}'")

    def login(self, login: str = "rupaya_app_a", serving: str = "first") -> str:
        return f"postgresql://{login}:{serving}@/{DATABASE}?host={self.socket_dir}"

    def renew(self) -> None:
        """The database as before the first deployment."""
        self.psql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        self.psql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")

    def cut(self) -> dict[str, int]:
        """End every session of who serves; returns how often each had signed in until then."""
        self.psql(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {OF_APP}")
        return self.sign_ins()

    def sign_ins(self) -> dict[str, int]:
        """How often the service, and not the migrator's own question, came as each user."""
        found = re.findall(r"authorized: user=(rupaya_app\w+) .*application_name=release", self.log_path.read_text())
        return Counter(found)


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    root = Path(tempfile.mkdtemp(prefix="rupaya-roles-"))
    root.chmod(0o755)
    server = Server(root / "data", root / "socket", {"fsync": "off", "log_connections": "on"})
    try:
        server.start()
        (server.data_dir / "pg_hba.conf").write_text(HBA)
        server.psql(f"ALTER ROLE {OWNER} CREATEROLE PASSWORD '{MASTER}'")
        server.psql("SELECT pg_reload_conf()")
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def server(started: Server) -> Server:
    """After a first deployment."""
    if started.psql("SELECT to_regclass('django_migrations') IS NULL", DATABASE) == "t":
        started.renew()
        status, output = started.migrate()
        assert status == 0, output
    return started


def test_who_serves_reads_and_writes_rows_and_changes_no_table(server: Server) -> None:
    as_server = server.login()
    assert (
        query(
            as_server,
            "INSERT INTO phone_otps (phone_number, code_hash, expires_at) VALUES ('+919876543210', 'x', now())",
        )
        == []
    )
    assert query(as_server, "SELECT count(*) FROM django_migrations")[0][0] > 5
    assert query(as_server, "SELECT count(*) FROM migrator_runs")[0][0] >= 1
    for refused in (
        "DELETE FROM django_migrations",
        "UPDATE migrator_runs SET release = 'x'",
        "ALTER TABLE users ADD COLUMN by_hand text",
        "TRUNCATE users",
        "CREATE TABLE mine ()",
        "CREATE ROLE mine",
        f"SET ROLE {OWNER}",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(as_server, refused)


def test_the_next_start_has_nothing_to_do_and_nothing_is_drift(server: Server) -> None:
    status, output = server.migrate()
    assert status == 0
    assert "Nothing to migrate" in output
    assert "Waiting" not in output
    for command in (("schemadiff", "--against", "snapshot"), ("showmigrations", "--audit", "--check")):
        done = manage(PROJECT, *command, **server.told())
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_password_goes_to_the_other_login_and_the_first_one_keeps_its_own(server: Server) -> None:
    status, output = server.migrate(credentials("rupaya_app_b", "second", "2026-02-01T00:00:00+00:00"))

    assert status == 0, output
    assert query(server.login("rupaya_app_b", "second"), "SELECT count(*) FROM users") == [(0,)]
    assert query(server.login(), "SELECT count(*) FROM users") == [(0,)]


@pytest.mark.slow
def test_whoever_was_started_with_an_older_password_takes_no_newer_one_away(server: Server) -> None:
    newer = credentials("rupaya_app_c", "newer", "2026-03-02T00:00:00+00:00")
    older = credentials("rupaya_app_c", "older", "2026-03-01T00:00:00+00:00")
    assert server.migrate(newer)[0] == 0

    status, output = server.migrate(older)

    assert status == 10, output
    assert "was given another password at 2026-03-02" in output
    assert query(server.login("rupaya_app_c", "newer"), "SELECT 1") == [(1,)]
    # Whoever has the right one mends what was changed by hand.
    server.psql("ALTER ROLE rupaya_app_c PASSWORD 'by hand'")
    assert server.migrate(newer)[0] == 0
    assert query(server.login("rupaya_app_c", "newer"), "SELECT 1") == [(1,)]


@pytest.mark.parametrize("name", [OWNER, "report"])
def test_a_role_of_its_own_keeps_its_password(server: Server, name: str) -> None:
    if name == "report":
        server.psql("CREATE ROLE report LOGIN PASSWORD 'of the report'")
    # The one that was right, so that nothing is to be done before it is looked at.
    status, output = server.migrate(credentials(name, "theirs"))

    assert status == 16, output
    assert f"names '{name}', which is a role of its own" in output
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(server.login(name, "theirs"))


@pytest.mark.slow
def test_an_environment_that_serves_as_the_owner_moves_by_its_next_deployment(server: Server) -> None:
    server.renew()
    alone = {name: value for name, value in server.told().items() if name != "MIGRATION_DATABASE_URL"}
    before = alone | {"DB_CREDENTIALS": "", "DB_USER": OWNER, "DB_PASSWORD": server.master}
    assert manage(PROJECT, "migrate", "--noinput", **before).returncode == 0
    moved = credentials("rupaya_app_d", "moved")

    status, output = server.migrate(moved)

    assert status == 0, output
    as_server = server.login("rupaya_app_d", "moved")
    assert query(as_server, "SELECT count(*) FROM users") == [(0,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(as_server, "DELETE FROM migrator_runs")
    assert "Nothing to migrate" in server.migrate(moved)[1]


@pytest.mark.slow
def test_nobody_gets_rights_on_tables_that_another_system_made(server: Server) -> None:
    server.renew()
    query(f"postgresql://{OWNER}:{server.master}@/{DATABASE}?host={server.socket_dir}", "CREATE TABLE users ()")

    status, output = server.migrate()

    assert status == 14, output
    assert server.psql("SELECT has_table_privilege('rupaya_app', 'users', 'SELECT')", DATABASE) == "f"


def test_an_image_that_knows_no_credentials_serves_as_the_same_role(server: Server) -> None:
    """A rollback may bring one back; it reads the same secret in two variables."""
    server.migrate()
    older = server.told() | {"DB_CREDENTIALS": "", "DB_USER": "rupaya_app_a", "DB_PASSWORD": "first"}

    done = manage(PROJECT, "migrate", "--noinput", **older)

    assert done.returncode == 0, done.stdout + done.stderr
    asked = manage(
        PROJECT, "shell", "-c", "from django.db import connection as c; print(c.settings_dict['USER'])", **older
    )
    assert asked.stdout.split()[-1] == "rupaya_app_a"


@pytest.mark.slow
def test_both_passwords_change_while_tasks_serve_and_start(server: Server) -> None:
    first = credentials("rupaya_app_e", "first")
    with Service(**server.told(first)) as old:
        old.wait_until_ready()
        assert not {"PGPASSWORD", "MIGRATION_DATABASE_URL"} & environment_of(old)

        server.rotate_master()
        before = server.cut()
        # It connects anew, and has no part in the master's password.
        wait_for(lambda: is_ready(old) and server.sign_ins()["rupaya_app_e"] > before["rupaya_app_e"])

        second = credentials("rupaya_app_f", "second", "2026-02-01T00:00:00+00:00")
        with Service(**server.told(second)) as new:
            new.wait_until_ready()
            again = server.cut()
            for service, login in ((old, "rupaya_app_e"), (new, "rupaya_app_f")):
                wait_for(lambda s=service, n=login: is_ready(s) and server.sign_ins()[n] > again[n])
        assert server.migrate(second, master="of last week")[0] == 10


def is_ready(service: Service) -> bool:
    assert service.process.poll() is None, service.output
    return service.request("/health/ready").status == 200


def environment_of(service: Service) -> set[str]:
    """The names that the server's own process was told."""
    return {
        line.partition("=")[0] for line in Path(f"/proc/{service.process.pid}/environ").read_text().split("\0") if line
    }
