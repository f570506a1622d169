"""The early exit of `migrate`: one connection and one query, before Django is even imported.

It answers only the question that nearly every container start asks, "is there anything to do at all?", and only with a
no. Whatever it cannot answer, the ordinary command does.

Where twenty containers start at once and there *is* something to do, one of them goes on to the ordinary command, and
the others wait here for its end: twenty imports of Django on a small machine would only slow that one down.
"""

from __future__ import annotations

import os
import sys
import time

from rupaya.environment import Environment
from rupaya.installed_apps import INSTALLED_APPS
from rupaya.migrator import options
from rupaya.migrator.ledger.settled import IS_SETTLED
from rupaya.migrator.plan.manifest import digest, migration_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROJECT_SETTINGS = "rupaya.settings"
POLL_S = 0.1
SAY_EVERY_S = 10.0
# After this the ordinary command does the waiting: it can tell what the other migrator is doing.
WAIT_AT_MOST_S = 30.0
# An advisory lock that decides only who goes on first; what keeps migrators apart is `rupaya.migrator.session.lock`.
TURN_KEY = 0x72757061_79610001

_TURN_TAKER = """
    SELECT a.application_name, a.pid, round(extract(epoch FROM now() - a.backend_start))
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
"""

# Keeps the turn for as long as the process lives.
_turn: list[Any] = []


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
    psycopg2 = _import_psycopg2()
    files = migration_files(INSTALLED_APPS)
    address = env.migration_database or env.database
    connection = None
    try:
        connection = psycopg2.connect(
            **(address.connect_kwargs() | {"application_name": f"migrate {env.release} {env.task}"[:63]})
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            state = _State(env, psycopg2, cursor, digest(files, env.release))
            if not state.is_done() and not (state.may_wait and _wait_for_turn(env, connection, cursor, state)):
                _turn.append(connection)
                return False
    except psycopg2.Error:
        return False  # no server, or it went away: the ordinary command waits and explains
    connection.close()
    _say(env, f"Using environment: {env.name}")
    if state.owed:
        names = ", ".join(sorted(state.owed))
        _say(env, f"Owed until 'manage.py migrate --contract', once no older release runs: what is left of {names}")
    known = f"all migrations of release {env.release}"
    _say(env, f"Nothing to migrate: {known} are applied ({time.monotonic() - began:.3f} s)")
    return True


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


class _State:
    """How the database stands to this release, asked again at each poll."""

    def __init__(self, env: Environment, psycopg2: Any, cursor: Any, release: str) -> None:
        self.psycopg2 = psycopg2
        self.cursor = cursor
        self.release = release
        self.holds = env.migrate["MIGRATE_PHASE"] == "expand"
        self.owed: frozenset[str] = frozenset()
        self.may_wait = True

    def is_done(self) -> bool:
        """Whether this very release was settled, and the history is what it was then."""
        try:
            self.cursor.execute(IS_SETTLED, [self.release])
        except self.psycopg2.errors.Error:
            return False  # no ledger yet, or an older one, or a role that may not read it
        row = self.cursor.fetchone()
        self.owed = frozenset(row[0] if row else ())
        return row is not None and (self.holds or not self.owed)


def _wait_for_turn(env: Environment, connection: Any, cursor: Any, state: _State) -> bool:
    """Wait until nothing is left to do (True), or until it is this process's turn to see what there is (False)."""
    cursor.execute("SELECT pg_backend_pid()")
    if cursor.fetchone()[0] != connection.info.backend_pid:
        return False  # a pooler: a lock taken here might stay behind with a session of its own
    if connection.server_version >= 140000:
        # Like every connection of a migrator: a dead one is noticed at once, an idle one is not ended.
        cursor.execute("SET client_connection_check_interval = '1s'; SET idle_session_timeout = 0")
    began = said = time.monotonic()
    while state.may_wait and time.monotonic() - began < WAIT_AT_MOST_S:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [TURN_KEY])
        if cursor.fetchone()[0]:
            return state.is_done()
        if time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            cursor.execute(_TURN_TAKER, [TURN_KEY])
            if row := cursor.fetchone():
                _say(env, f"Waiting for another migrator: {row[0]}, backend pid {row[1]}, for {row[2]} s")
        time.sleep(POLL_S)
        if state.is_done():
            return True
    return False


def _say(env: Environment, message: str) -> None:
    if env.log_format == "json":
        from rupaya.jsonline import JsonLines

        JsonLines(env.release, env.task).write(message)
    else:
        print(message, flush=True)
