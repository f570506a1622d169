"""The early exit of `migrate`: one connection and one query, before Django is even imported.

It answers only the question that nearly every container start asks, "is there anything to do at all?", and only with a
no. Whatever it cannot answer, the ordinary command does.

Where a thousand containers start at once and there *is* something to do, one of them goes on to the ordinary command,
and the others wait here for its end: imports of Django on a small machine would only slow that one down. Who waits
holds no connection, and who goes on hands its own over, so that a migrator needs two.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress

from rupaya.environment import Environment
from rupaya.installed_apps import INSTALLED_APPS
from rupaya.migrator import options
from rupaya.migrator.ledger.settled import IS_SETTLED
from rupaya.migrator.plan.manifest import digest, migration_files
from rupaya.migrator.plan.nothing import NOTHING_TO_MIGRATE
from rupaya.migrator.session import handover, heartbeatfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROJECT_SETTINGS = "rupaya.settings"
SAY_EVERY_S = 10.0
# Those who wait hold no connection: they look in and leave, or the one that works would find none left.
LOOK_IN_AFTER_S = (0.2, 0.6)
LOOK_IN_AT_MOST_EVERY_S = 10.0
FULL_SQLSTATES = ("53300",)
FULL = ("too many clients", "too many connections", "connection slots", "connection limit")
# An advisory lock that decides only who goes on first; what keeps migrators apart is `rupaya.migrator.session.lock`.
TURN_KEY = 0x72757061_79610001

_TURN_TAKER = """
    SELECT a.application_name, a.pid, round(extract(epoch FROM now() - a.backend_start))
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
"""


def nothing_to_migrate(env: Environment, arguments: list[str]) -> bool:
    """Whether a plain, unattended `migrate` has nothing to do; says so if it is true.

    In development the ordinary command goes on to compare models with migrations, so there this is never true.
    """
    if env.debug or env.settings_module != PROJECT_SETTINGS:
        return False
    if arguments[:1] != ["migrate"] or not set(arguments[1:]) <= {"--noinput", "--no-input"}:
        return False
    if options.refused(env.migrate):
        return False  # the ordinary command says why
    began = time.monotonic()
    owed = _Waiter(env).wait()
    if owed is None or not _serving_role_fits(env):
        return False
    _say(env, f"Using environment: {env.name}")
    if owed:
        names = ", ".join(sorted(owed))
        _say(env, f"Owed until 'manage.py migrate --contract', once no older release runs: what is left of {names}")
    known = f"all migrations of release {env.release}"
    _say(env, f"{NOTHING_TO_MIGRATE}: {known} are applied ({time.monotonic() - began:.3f} s)")
    return True


def _serving_role_fits(env: Environment) -> bool:
    """Whether the server accepts the role that serves, where it is for `migrate` to see to that."""
    credentials, direct = env.credentials, env.migration_database
    if credentials is None or direct is None or not credentials.are_to_be_made:
        return True
    return credentials.fit(**direct.connect_kwargs())


def leave() -> None:
    """End the process at once: with nothing left to do, the interpreter's tidying up is a sixth of the whole run."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _import_psycopg2() -> Any:
    """Import psycopg2 without the `ssl` module, which is as slow to import as psycopg2 itself.

    Its C module imports `ssl` only for the locking callbacks of OpenSSL before 1.1, and falls back to libpq's own where
    that import fails; TLS itself is libpq's.
    """
    hidden = "ssl" not in sys.modules
    if hidden:
        sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import psycopg2
    finally:
        if hidden:
            del sys.modules["ssl"]
    return psycopg2


class _Waiter:
    """Looks in again and again until nothing is left to do, or until it is this process's turn to see what there is."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.psycopg2 = _import_psycopg2()
        self.release = digest(migration_files(INSTALLED_APPS), env.release)
        address = env.migration_database or env.database
        self.parameters = address.connect_kwargs() | {"application_name": f"migrate {env.release} {env.task}"[:63]}
        self.began = self.said = time.monotonic()
        meant, _problems = options.read(env.migrate)
        self.db_wait_s = float(meant["db_wait_s"])
        self.lock_wait_s = float(meant["lock_wait_s"])
        self.holds = meant["phase"] == "expand"
        self.heartbeat_file = str(meant["heartbeat_file"])

    def wait(self) -> frozenset[str] | None:
        """What is owed, where there is nothing else to do; None: the ordinary command goes on."""
        pause_s = random.uniform(*LOOK_IN_AFTER_S)  # noqa: S311 - jitter, not a secret
        while True:
            try:
                is_over, owed = self._look_in()
            except self.psycopg2.Error as error:
                if not self._is_full(error) or time.monotonic() - self.began > self.db_wait_s:
                    return None  # no server, or it went away: the ordinary command waits and explains
                is_over, owed = False, None
            if is_over:
                return owed
            if time.monotonic() - self.began > self.lock_wait_s:
                return None
            if self.heartbeat_file:
                with suppress(OSError):  # the heartbeat is a courtesy
                    heartbeatfile.touch(self.heartbeat_file)
            time.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
            pause_s = min(LOOK_IN_AT_MOST_EVERY_S, pause_s * 1.3)

    def _look_in(self) -> tuple[bool, frozenset[str] | None]:
        """Whether the waiting is over, and what is owed if nothing else is to be done; else somebody is at work."""
        connection = self.psycopg2.connect(**self.parameters)
        keep = False
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                if (owed := self._owed(cursor)) is not None:
                    return True, owed
                cursor.execute("SELECT pg_backend_pid()")
                if cursor.fetchone()[0] != connection.info.backend_pid:
                    return True, None  # a pooler: a lock taken here might stay behind with a session of its own
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [TURN_KEY])
                if cursor.fetchone()[0]:
                    # Asked again: the process before may have done it all meanwhile.
                    if (owed := self._owed(cursor)) is not None:
                        return True, owed
                    keep = True
                    handover.offer(connection)
                    return True, None
                self._say_who(cursor)
                return False, None
        finally:
            if not keep:
                connection.close()

    def _owed(self, cursor: Any) -> frozenset[str] | None:
        """What is owed, if this very release was settled and the history is what it was then; else None."""
        try:
            cursor.execute(IS_SETTLED, [self.release])
        except self.psycopg2.errors.Error as error:
            if self._is_full(error):
                raise
            return None  # no ledger yet, or an older one, or a role that may not read it
        row = cursor.fetchone()
        if row is None or (row[0] and not self.holds):
            return None
        return frozenset(row[0])

    def _say_who(self, cursor: Any) -> None:
        if time.monotonic() - self.said < SAY_EVERY_S:
            return
        self.said = time.monotonic()
        cursor.execute(_TURN_TAKER, [TURN_KEY])
        if row := cursor.fetchone():
            _say(self.env, f"Waiting for another migrator: {row[0]}, backend pid {row[1]}, for {row[2]} s")

    def _is_full(self, error: Any) -> bool:
        return getattr(error, "pgcode", None) in FULL_SQLSTATES or any(text in str(error) for text in FULL)


def _say(env: Environment, message: str) -> None:
    if env.log_format == "json":
        from rupaya.jsonline import JsonLines

        JsonLines(env.release, env.task).write(message)
    else:
        print(message, flush=True)
