"""A server that restarts, freezes, cuts connections, refuses them or cannot be written to: each has its exit code, and
afterwards the next run goes on with nothing lost and nothing doubled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
import pytest

from rupaya.localdb import OWNER, SUPERUSER, LocalPostgres
from rupaya.migrator.session.database import prepare_session, restore_session
from tests.faults.migrator import Migrator, applied, invalid_indexes, migrate, query, wait_for
from tests.faults.servers import AS_SERVER_USER, SERVER_USER, SETTINGS, server_root, streaming_replica
from tests.faults.test_exit_codes import assert_explained, deploy, ended
from tests.faults.test_kills import ALL, running

PASSWORD = "correct-horse-battery"
PGBOUNCER = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


@pytest.fixture(scope="module")
def own_root() -> Iterator[Path]:
    with server_root() as root:
        yield root


@pytest.fixture(scope="module")
def own_server_of_module(own_root: Path) -> Iterator[LocalPostgres]:
    server = LocalPostgres(own_root / "data", own_root / "socket", SETTINGS)
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture
def own_server(own_server_of_module: LocalPostgres) -> LocalPostgres:
    """A server that a test may break; whatever the last one did, it runs."""
    own_server_of_module.start()
    return own_server_of_module


@pytest.fixture
def own_url(own_server: LocalPostgres) -> Iterator[str]:
    """A new, empty database of the test's own on that server, as the superuser."""
    name = f"t{uuid.uuid4().hex[:12]}"
    own_server.psql(f"CREATE DATABASE {name} OWNER {OWNER}")
    yield own_server.url(name, SUPERUSER)
    own_server.start()
    own_server.psql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def frozen(server: LocalPostgres) -> Iterator[None]:
    """Every process of the server stands still, as on a host that hangs; connections stay open and unanswered."""
    pids = [int(pid) for pid in server.psql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()").split()]
    postmaster = server.postmaster_pid()
    assert postmaster is not None
    pids = [postmaster, *pids]
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def gate(name: str, gates: Path) -> Iterator[Path]:
    path = gates / name
    path.touch()
    try:
        yield path.with_suffix(".reached")
    finally:
        path.unlink(missing_ok=True)


def assert_complete(url: str) -> None:
    """The whole history of `points` is applied, once."""
    assert applied(url) == ALL
    assert invalid_indexes(url) == []
    assert query(
        url,
        "SELECT count(*), sum(doubled) = 2 * sum(total), bool_and(done), bool_and(filled = total) FROM points_order",
    ) == [(3000, True, True, True)]
    assert query(
        url, "SELECT app || '.' || name FROM migrator_attempts WHERE outcome = 'succeeded' ORDER BY attempt_id"
    ) == [(name,) for name in ALL]
    assert query(url, "SELECT count(*) FROM migrator_attempts WHERE finished_at IS NULL") == [(0,)]


# Restarted


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_during_a_statement_is_10_and_the_next_run_goes_on(
    own_server: LocalPostgres, own_url: str, tmp_path: Path, mode: str
) -> None:
    with gate("inside_ddl", tmp_path):
        migrator = Migrator(own_url, apps="points", gates=tmp_path)
        wait_for(lambda: migrator.says("✓ points.0001") and running(own_url, "SELECT pg_sleep%"), "the long statement")
        own_server.restart(mode)
        status, output = ended(migrator)

    assert status == 10, output
    assert_explained(
        output,
        "DatabaseUnreachable",
        r"connection to the database was lost while points\.0002_inside_ddl was being applied",
        r"(rolled back whole\. Still applied from this batch: points\.0001_initial\.|The server could not be asked)",
        "Start again when the server is back",
    )
    assert applied(own_url) == ["points.0001_initial"]
    assert query(own_url, "SELECT 1 FROM pg_attribute WHERE attname = 'note'") == []

    status, output = deploy(own_url, apps="points")
    assert status == 0, output
    assert_complete(own_url)


def test_a_crash_during_a_concurrent_index_build_is_mended_by_the_next_run(
    own_server: LocalPostgres, own_url: str
) -> None:
    assert migrate(own_url, "migrate", "points", "0003", apps="points").process.returncode == 0
    blocker = psycopg2.connect(own_url)
    with blocker.cursor() as cursor:
        cursor.execute("UPDATE points_order SET total = total WHERE id = 1")  # the build waits for its end
    migrator = Migrator(own_url, apps="points")
    wait_for(lambda: running(own_url, "CREATE INDEX CONCURRENTLY%"), "the build")
    own_server.restart("immediate")
    status, output = ended(migrator)

    assert status == 10, output
    assert "It is not atomic" in output
    assert invalid_indexes(own_url) == ["points_order_total"]
    status, output = deploy(own_url, apps="points")
    assert status == 0, output
    assert_complete(own_url)
    blocker.close()


# Frozen


def test_a_server_that_hangs_for_some_seconds_only_delays_the_run(
    own_server: LocalPostgres, own_url: str, tmp_path: Path
) -> None:
    with gate("before_the_history_row", tmp_path) as reached:
        migrator = Migrator(own_url, apps="points", gates=tmp_path)
        wait_for(reached.exists, "the middle of a migration")
        with frozen(own_server):
            (tmp_path / "before_the_history_row").unlink()
            until = time.monotonic() + 3
            wait_for(lambda: time.monotonic() > until or migrator.process.poll() is not None, "some seconds")
            assert migrator.process.poll() is None
    status, output = ended(migrator)

    assert status == 0, output
    assert_complete(own_url)


@pytest.mark.slow
def test_sigterm_ends_the_process_even_while_the_server_hangs(
    own_server: LocalPostgres, own_url: str, tmp_path: Path
) -> None:
    with gate("inside_ddl", tmp_path):
        migrator = Migrator(own_url, apps="points", gates=tmp_path)
        wait_for(lambda: migrator.says("✓ points.0001") and running(own_url, "SELECT pg_sleep%"), "the long statement")
        with frozen(own_server):
            began = time.monotonic()
            migrator.kill(signal.SIGTERM)
            status = migrator.end(timeout_s=20)
            took_s = time.monotonic() - began

    assert (status, took_s < 11) == (143, True), f"{took_s} s\n{migrator.output}"
    assert "What became of the statement under way is not known" in migrator.output
    status, output = deploy(own_url, apps="points")
    assert status == 0, output
    assert_complete(own_url)


# Cut


def test_a_terminated_working_session_is_10(own_url: str, tmp_path: Path) -> None:
    with gate("inside_ddl", tmp_path):
        migrator = Migrator(own_url, apps="points", gates=tmp_path)
        wait_for(lambda: migrator.says("✓ points.0001") and running(own_url, "SELECT pg_sleep%"), "the long statement")
        query(own_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%'")
        status, output = ended(migrator)

    assert status == 10, output
    assert_explained(output, "DatabaseUnreachable", "was lost while points.0002", "rolled back whole", "Start again")
    status, output = deploy(own_url, apps="points")  # and not 15: a lost session is no failure of the migration
    assert status == 0, output
    assert_complete(own_url)


def test_a_terminated_lock_session_is_10_before_the_next_migration(own_url: str, tmp_path: Path) -> None:
    with gate("before_the_history_row", tmp_path) as reached:
        migrator = Migrator(own_url, apps="points", gates=tmp_path)
        wait_for(reached.exists, "the third migration")
        assert query(own_url, "SELECT pg_terminate_backend(backend_pid) FROM migrator_runs") == [(True,)]
    status, output = ended(migrator)

    assert status == 10, output
    assert_explained(output, "DatabaseUnreachable", "lost", "", "Start again")
    assert applied(own_url) == ALL[:3]  # the one under way was in good hands: the second lock was still held
    assert query(own_url, "SELECT name FROM migrator_attempts WHERE name > '0004'") == []
    status, output = deploy(own_url, apps="points")
    assert status == 0, output
    assert_complete(own_url)


def test_a_migration_that_closes_its_connection_leaves_the_next_one_both_locks(own_url: str, tmp_path: Path) -> None:
    with gate("after_closing", tmp_path) as reached:
        migrator = Migrator(own_url, apps="closing", gates=tmp_path)
        wait_for(reached.exists, "the migration after")
        assert query(
            own_url,
            "SELECT count(DISTINCT pid), count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
        ) == [(2, 2)]
    status, output = ended(migrator)

    assert status == 0, output


# Refused, absent, late


def test_a_wrong_password_is_10_at_once(own_server: LocalPostgres, own_url: str) -> None:
    hba = own_server.data_dir / "pg_hba.conf"
    own_server.psql(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'; GRANT {OWNER} TO guarded")
    hba.write_text("local all guarded scram-sha-256\n" + hba.read_text())
    own_server.psql("SELECT pg_reload_conf()")
    url = own_url.replace(f"{SUPERUSER}@", "guarded:wr0ng-passw0rd@")
    wait_for(lambda: not accepts(url), "the new pg_hba.conf")
    began = time.monotonic()
    status, output = deploy(url, apps="points")

    assert status == 10, output
    assert time.monotonic() - began < 20
    assert "wr0ng-passw0rd" not in output
    assert "Waiting for the database" not in output
    assert_explained(
        output,
        "DatabaseUnreachable",
        r'refused the connection: .*password authentication failed for user "guarded"',
        "nothing was changed",
        "password",
    )


def accepts(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_an_unknown_database_is_10_at_once(own_server: LocalPostgres) -> None:
    began = time.monotonic()
    status, output = deploy(own_server.url("nowhere"), apps="points")

    assert status == 10
    assert time.monotonic() - began < 20
    assert "Waiting for the database" not in output
    assert_explained(output, "DatabaseUnreachable", '"nowhere" does not exist', "nothing was changed", "database name")


def test_an_unknown_host_is_10_after_the_wait() -> None:
    began = time.monotonic()
    status, output = deploy(
        f"postgresql://rupaya:{PASSWORD}@no-such-host.invalid/rupaya", apps="points", MIGRATE_DB_WAIT_S="1"
    )

    assert status == 10
    assert 1 <= time.monotonic() - began < 30
    assert "Waiting for the database no-such-host.invalid:5432/rupaya (0 of 1 s)" in output
    assert_explained(
        output, "DatabaseUnreachable", "could not be reached within 1 s", "nothing was changed", "MIGRATE_DB_WAIT_S"
    )


def test_a_server_that_starts_late_is_waited_for(own_server: LocalPostgres, own_url: str) -> None:
    own_server.stop()
    migrator = Migrator(own_url, apps="points")
    wait_for(lambda: migrator.says("Waiting for the database"), "the wait")
    own_server.start()
    status, output = ended(migrator)

    assert status == 0, output
    assert_complete(own_url)


def test_a_full_server_is_waited_for_by_either_connection(own_server: LocalPostgres, own_url: str) -> None:
    url = own_url.replace(f"{SUPERUSER}@", f"{OWNER}@")  # a superuser is not bound by the limit
    name = own_url.partition("/t")[2].partition("?")[0]
    own_server.psql(f"ALTER DATABASE t{name} CONNECTION LIMIT 1")
    occupant = psycopg2.connect(url)
    status, output = deploy(url, apps="points", MIGRATE_DB_WAIT_S="1")
    assert status == 10, output
    assert_explained(output, "DatabaseUnreachable", "too many connections", "no connection to spare", "limit")

    migrator = Migrator(url, "migrate", "points", "0003", apps="points")
    wait_for(lambda: migrator.says("Waiting for the database"), "the wait of the working connection")
    occupant.close()
    own_server.psql(f"ALTER DATABASE t{name} CONNECTION LIMIT 2")
    status, output = ended(migrator)
    assert status == 0, output

    own_server.psql(f"ALTER DATABASE t{name} CONNECTION LIMIT 1")
    migrator = Migrator(url, apps="points")
    wait_for(lambda: migrator.says("Waiting for the database"), "the wait of the lock connection")
    assert query(own_url, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'migrate%%'") == [(1,)]
    own_server.psql(f"ALTER DATABASE t{name} CONNECTION LIMIT 2")
    status, output = ended(migrator)
    assert status == 0, output
    assert_complete(own_url)


# Read-only


@pytest.fixture
def standby(own_server: LocalPostgres, own_root: Path) -> Iterator[LocalPostgres]:
    """A streaming replica of the server."""
    with streaming_replica(own_server, own_root / "standby", own_root / "standby-socket") as server:
        yield server


def test_a_standby_is_16_unless_nothing_is_to_be_done(
    own_server: LocalPostgres, own_url: str, standby: LocalPostgres
) -> None:
    url = own_url.replace(str(own_server.socket_dir), str(standby.socket_dir))
    assert migrate(own_url, "migrate", "points", "0002", apps="points").process.returncode == 0
    wait_for(lambda: replayed(own_server, standby), "the replica")
    status, output = deploy(url, apps="points")

    assert status == 16, output
    assert_explained(output, "EnvironmentUnfit", "is a read-only standby", "written to the primary", "at the primary")

    assert migrate(own_url, apps="points").process.returncode == 0
    wait_for(lambda: replayed(own_server, standby), "the replica")
    status, output = deploy(url, apps="points")
    assert status == 0, output
    assert "Nothing to migrate: all 6 migrations are applied" in output


def replayed(primary: LocalPostgres, standby: LocalPostgres) -> bool:
    position = primary.psql("SELECT pg_current_wal_lsn()")
    return standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t"


def test_a_read_only_database_is_16(own_server: LocalPostgres, own_url: str) -> None:
    name = own_url.partition("/t")[2].partition("?")[0]
    own_server.psql(f"ALTER DATABASE t{name} SET default_transaction_read_only = on")
    status, output = deploy(own_url, apps="points")

    assert status == 16, output
    assert_explained(output, "EnvironmentUnfit", "default_transaction_read_only", "nothing was changed", "primary")


# Pooled


@pytest.fixture
def pooler(own_server: LocalPostgres, own_root: Path, own_url: str) -> Iterator[Path]:
    """PgBouncer in transaction mode before the server; the folder of its socket, on port 6432.

    It has a name of its own for the test's database: ``pooled``.
    """
    name = urlsplit(own_url).path.strip("/")
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    folder = own_root / "pool"
    folder.mkdir()
    (folder / "users.txt").write_text(f'"{SUPERUSER}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npooled = host={own_server.socket_dir} dbname={name}\n* = host={own_server.socket_dir}\n"
        "[pgbouncer]\npool_mode = transaction\nlisten_addr =\n"
        f"listen_port = 6432\nunix_socket_dir = {folder}\nauth_type = trust\nauth_file = {folder}/users.txt\n"
    )
    if SERVER_USER:
        shutil.chown(folder, SERVER_USER)
    process = subprocess.Popen(
        [PGBOUNCER, "-q", folder / "pgbouncer.ini"], cwd="/", stderr=subprocess.DEVNULL, **AS_SERVER_USER
    )
    wait_for((folder / ".s.PGSQL.6432").exists, "PgBouncer")
    yield folder
    process.terminate()
    process.wait()
    shutil.rmtree(folder)


def test_a_pooler_is_16_with_work_to_do_and_harmless_without(
    own_url: str, own_server: LocalPostgres, pooler: Path
) -> None:
    pooled = own_url.replace(str(own_server.socket_dir), quote(str(pooler), safe="/")) + "&port=6432"
    status, output = deploy(pooled, apps="points")

    assert status == 16, output
    assert_explained(output, "EnvironmentUnfit", "PgBouncer", "nothing was changed", "MIGRATION_DATABASE_URL")
    assert query(own_url, "SELECT to_regclass('django_migrations')") == [(None,)]

    status, output = deploy(pooled, apps="points", MIGRATION_DATABASE_URL=own_url)
    assert status == 0, output
    assert_complete(own_url)

    status, output = deploy(pooled, apps="points")
    assert status == 0, output
    assert "Nothing to migrate" in output


def test_nothing_is_left_in_the_sessions_that_a_pooler_gives_to_traffic(
    own_url: str, own_server: LocalPostgres, pooler: Path
) -> None:
    pooled = own_url.replace(str(own_server.socket_dir), quote(str(pooler), safe="/")) + "&port=6432"
    assert deploy(own_url, apps="points")[0] == 0
    columns = "command, release, git_sha, environment, task, python_version, django_version"
    query(own_url, f"INSERT INTO migrator_runs ({columns}) SELECT {columns} FROM migrator_runs")

    with closing(psycopg2.connect(pooled)) as traffic:
        traffic.autocommit = True
        query(pooled, "SET application_name = 'traffic'")
        prepare_session(traffic)
        restore_session(traffic)
        set_here = query(pooled, "SELECT name, setting FROM pg_settings WHERE source = 'session'")
    status, output = deploy(pooled, apps="points")

    assert set_here == [("application_name", "traffic")]
    assert status == 0, output
    assert "Nothing to migrate" in output
    # Who closes it needs the lock, which might stay in the pool.
    assert query(own_url, "SELECT outcome FROM migrator_runs ORDER BY run_id") == [("succeeded",), ("started",)]


def test_a_poolers_name_of_the_database_may_be_another_than_the_servers(
    own_url: str, own_server: LocalPostgres, pooler: Path
) -> None:
    name = urlsplit(own_url).path.strip("/")
    pooled = own_url.replace(str(own_server.socket_dir), quote(str(pooler), safe="/")) + "&port=6432"
    pooled = pooled.replace(f"/{name}", "/pooled", 1)

    for _ in range(2):
        status, output = deploy(pooled, apps="points", MIGRATION_DATABASE_URL=own_url)
        assert status == 0, output
    assert_complete(own_url)
    assert "Nothing to migrate" in output

    status, output = deploy(pooled, apps="points", MIGRATION_DATABASE_URL=own_url.replace(f"/{name}", "/postgres", 1))
    assert status == 16, output


# An orphan


def test_the_statement_of_a_dead_migrator_is_waited_for_and_not_doubled(own_url: str) -> None:
    assert migrate(own_url, "migrate", "orphan", "0001", apps="orphan").process.returncode == 0
    holder = psycopg2.connect(own_url)
    with holder.cursor() as cursor:
        cursor.execute("SELECT * FROM orphan_row WHERE id = 2 FOR UPDATE")  # for as long as it is held, it goes on
    dead = Migrator(own_url, apps="orphan", MIGRATE_LOCK_TIMEOUT_MS="60000", MIGRATE_STATEMENT_TIMEOUT_MS="0")
    wait_for(lambda: running(own_url, "UPDATE orphan_row%"), "the long statement")
    dead.kill()
    dead.end()
    heir = Migrator(own_url, apps="orphan")
    wait_for(lambda: heir.says("a dead migrator's last statement still runs in backend pid"), "the wait")
    assert heir.process.poll() is None
    assert running(own_url, "UPDATE orphan_row%")
    holder.close()
    status, output = ended(heir)

    assert status == 0, output
    assert query(own_url, "SELECT DISTINCT times, done FROM orphan_row") == [(1, True)]
    assert query(own_url, "SELECT at_work FROM orphan_others") == [(0,), (0,)]
    assert applied(own_url) == ["orphan.0001_initial", "orphan.0002_update"]


# Without privileges


@pytest.fixture
def limited(own_server: LocalPostgres) -> Iterator[str]:
    """A role that owns nothing and may create nothing."""
    own_server.psql("CREATE ROLE limited LOGIN")
    yield "limited"
    own_server.psql("DROP OWNED BY limited; DROP ROLE limited")


def test_a_role_that_may_create_nothing_is_16(own_server: LocalPostgres, own_url: str, limited: str) -> None:
    url = own_url.replace(f"{SUPERUSER}@", f"{limited}@")
    status, output = deploy(url, apps="division")

    assert status == 16, output
    assert_explained(output, "EnvironmentUnfit", "permission denied for schema public", "nothing was changed", "CREATE")
    query(own_url, "DROP OWNED BY limited")


def test_a_role_that_may_not_read_the_history_is_16(own_url: str, limited: str) -> None:
    assert migrate(own_url, "migrate", "division", "0001", apps="division").process.returncode == 0
    status, output = deploy(own_url.replace(f"{SUPERUSER}@", f"{limited}@"), apps="division")

    assert status == 16, output
    assert_explained(output, "EnvironmentUnfit", "permission denied for table django_migrations", "", "Grant")


def test_a_role_that_does_not_own_the_table_is_16(own_url: str, limited: str) -> None:
    assert migrate(own_url, "migrate", "division", "0001", apps="division").process.returncode == 0
    query(own_url, "GRANT ALL ON ALL TABLES IN SCHEMA public TO limited; GRANT CREATE ON SCHEMA public TO limited")
    status, output = deploy(own_url.replace(f"{SUPERUSER}@", f"{limited}@"), apps="division")

    assert status == 16, output
    assert_explained(
        output,
        "EnvironmentUnfit",
        r"division\.0002_add_result cannot be applied, because the role lacks a privilege: must be owner of table",
        "rolled back whole",
        "MIGRATION_DATABASE_URL",
    )
    assert applied(own_url) == ["division.0001_initial"]
    query(own_url, "DROP OWNED BY limited")
