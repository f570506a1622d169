"""What stands in for RDS: PostgreSQL that takes nobody without TLS and a password, and PgBouncer in RDS Proxy's place.

Each listens at port 5432 of a loopback address of its own, so that of what Terraform rendered the names alone must be
resolved, as DNS would.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg2
import pytest

from tests.infra.tools import require

# Owner of the servers' processes and files: both refuse to be root.
ACCOUNT = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
AS_ACCOUNT: dict[str, Any] = (
    {"user": ACCOUNT.pw_uid, "group": ACCOUNT.pw_gid, "extra_groups": []} if ACCOUNT is not None else {}
)

HBA = """
local   all all trust
hostssl all all all scram-sha-256
"""

POOLER = """
[databases]
* = host={address} port=5432
[pgbouncer]
pool_mode = transaction
application_name_add_host = 1
listen_addr = {listen}
listen_port = 5432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
client_tls_sslmode = require
client_tls_cert_file = {folder}/server.crt
client_tls_key_file = {folder}/server.key
server_tls_sslmode = require
"""


@dataclass
class Database:
    """The server: where it is, and its superuser's way in, which needs no password."""

    address: str
    folder: Path

    @contextmanager
    def session(self, database: str = "rupaya") -> Iterator[Any]:
        """A cursor of the superuser's, in a transaction that is rolled back."""
        with closing(psycopg2.connect(host=str(self.folder), dbname=database, user="postgres")) as connection:
            yield connection.cursor()

    def sql(self, statement: str, database: str = "rupaya") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, outside a transaction; returns its rows."""
        with self.session(database) as cursor:
            cursor.connection.autocommit = True
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def keep_as(self, template: str) -> None:
        """Copy the database rupaya, which nobody may be connected to meanwhile, the pooler included."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'rupaya'", "postgres")
        self.sql(f"CREATE DATABASE {template} TEMPLATE rupaya", "postgres")

    def renew(self, template: str = "template1") -> None:
        """Make the database rupaya anew: empty, as the first apply leaves it, or like another one."""
        self.sql("DROP DATABASE IF EXISTS rupaya WITH (FORCE)", "postgres")
        self.sql(f"CREATE DATABASE rupaya OWNER rupaya TEMPLATE {template}", "postgres")


@contextmanager
def database(password: str, parameters: Mapping[str, str]) -> Iterator[Database]:
    """PostgreSQL with the parameters of a parameter group, and the role that RDS makes of `username`."""
    programs = _debian_postgresql()
    with _folder() as folder:
        data = folder / "data"
        _as_account(programs / "initdb", "--auth=trust", "--no-sync", "--username=postgres", f"--pgdata={data}")
        (data / "pg_hba.conf").write_text(HBA)
        address = _address()
        settings = {
            "listen_addresses": f"'{address}'",
            "unix_socket_directories": f"'{folder}'",
            "ssl": "on",
            "ssl_cert_file": f"'{folder}/server.crt'",
            "ssl_key_file": f"'{folder}/server.key'",
            "fsync": "off",
        } | {name: f"'{value}'" for name, value in parameters.items() if not name.startswith("rds.")}
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        server = Database(address, folder)
        with (
            (folder / "postgres.log").open("wb") as log,
            _running([programs / "postgres", "-D", data], signal.SIGINT, log),
        ):
            _wait(lambda: server.sql("SELECT 1", "postgres"), folder / "postgres.log")
            server.sql(f"CREATE ROLE rupaya LOGIN CREATEDB CREATEROLE PASSWORD '{password}'", "postgres")
            server.renew()
            yield server


@contextmanager
def proxy(server: Database, users: Mapping[str, str]) -> Iterator[str]:
    """PgBouncer before it, transaction by transaction, with the users that it is told; yields its address."""
    program = require("pgbouncer", "is not installed: nothing can stand in RDS Proxy's place")
    with _folder() as folder:
        address = _address()
        (folder / "users.txt").write_text("".join(f'"{name}" "{users[name]}"\n' for name in users))
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(POOLER.format(address=server.address, listen=address, folder=folder))
        with (folder / "pgbouncer.log").open("wb") as log, _running([program, configuration], signal.SIGTERM, log):

            def answers() -> None:
                # Whether it listens: the server may know none of the users yet.
                try:
                    socket.create_connection((address, 5432), 1).close()
                except OSError as error:
                    raise psycopg2.OperationalError(str(error)) from error

            _wait(answers, folder / "pgbouncer.log")
            yield address


def _debian_postgresql() -> Path:
    """Where a PostgreSQL is that speaks TLS; the embedded one does not."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not versions:
        pytest.skip("there is no PostgreSQL in /usr/lib/postgresql, and the embedded one speaks no TLS, as RDS demands")
    return versions[-1].parent


def _address() -> str:
    """A loopback address that nobody else has thought of."""
    return "127." + ".".join(str(1 + secrets.randbelow(253)) for _ in range(3))


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of the servers' account with a certificate in it; its path is short, for sockets live there."""
    folder = Path(tempfile.mkdtemp(prefix="rupaya-rds-", dir="/tmp"))
    try:
        subprocess.run(
            [
                require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=rds",
                "-keyout", folder / "server.key", "-out", folder / "server.crt",
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        if ACCOUNT is not None:
            for path in (folder, folder / "server.key", folder / "server.crt"):
                os.chown(path, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_account(*command: str | Path) -> None:
    subprocess.run(
        command, check=True, capture_output=True, cwd="/", env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **AS_ACCOUNT
    )


@contextmanager
def _running(command: list[str | Path], stop: signal.Signals, log: IO[bytes]) -> Iterator[None]:
    """A server for as long as the block runs; `stop` is what it ends at once from, whoever is connected."""
    process = subprocess.Popen(
        command, cwd="/", env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, stdout=log, stderr=log, **AS_ACCOUNT
    )
    try:
        yield
    finally:
        process.send_signal(stop)
        process.wait(30)


def _wait(answers: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            answers()
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
