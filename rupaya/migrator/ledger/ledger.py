"""Who applied what, when, how long, with which release, and how it ended; a finished row is never changed.

Written with plain SQL on two connections: an attempt's *start* is committed at once, on the lock connection, so that a
crash shows as interrupted and not as nothing; its *finish* commits together with the migration, on the working one.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import django
import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it
from psycopg2.extensions import encodings

from rupaya.migrator.ledger.settled import HISTORY_HASH
from rupaya.migrator.ledger.trace import Trace
from rupaya.migrator.sqlstates import passes_by_itself

_VERSIONS = Path(__file__).parent / "versions"
NO_BATCH = 0
"""The batch of what no rollback may take for one of its own."""


def versions() -> list[str]:
    """The ledger's own migrations, in order; additive only: an older release must be able to write to a newer one."""
    return [path.read_text() for path in sorted(_VERSIONS.glob("*.sql"))]


@dataclass(frozen=True)
class Failure:
    """How the last attempt at a migration failed."""

    fingerprint: str
    sqlstate: str
    error: str
    finished_at: datetime
    release: str
    task: str
    age_s: float


@dataclass(frozen=True)
class Interrupted:
    """An attempt that ended without a word: its process died."""

    app: str
    name: str


@dataclass(frozen=True)
class Applied:
    """The attempt by which a migration that is in force was applied."""

    app: str
    name: str
    batch: int
    phase: str
    faked: bool
    fingerprint: str
    file_hash: str
    tries: int
    started_at: datetime
    finished_at: datetime
    run_id: int
    command: str
    release: str
    git_sha: str
    task: str
    database_user: str
    python_version: str
    django_version: str

    @property
    def key(self) -> tuple[str, str]:
        return self.app, self.name


@dataclass(frozen=True)
class Done:
    """An attempt that succeeded."""

    attempt_id: int
    tries: int
    faked: bool
    took_s: float
    """Seconds from its start, all its tries included."""
    trace: Trace


def comparable_versions() -> tuple[str, str]:
    """The Python and Django versions that fingerprints are comparable within."""
    return platform.python_version(), django.get_version()


def _storable(value: object, connection: PgConnection) -> object:
    """A text as the server can keep it: no NUL, no half of a surrogate pair, no character that its encoding lacks."""
    if not isinstance(value, str):
        return value
    codec = encodings.get(connection.info.parameter_status("server_encoding") or "", "utf-8")
    return value.replace("\0", "\\x00").encode(codec, "backslashreplace").decode(codec)


class Ledger:
    """Reads and writes the record of runs and attempts on the lock connection."""

    def __init__(self, connection: PgConnection, run_id: int = 0) -> None:
        self.connection = connection
        self.run_id = run_id
        self._exists = False

    def _fetch(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [_storable(value, self.connection) for value in parameters])
            return cursor.fetchall() if cursor.description else []

    @property
    def exists(self) -> bool:
        """Whether the ledger's tables are there; asked of the catalog, as a failed query would end a transaction."""
        if not self._exists:
            self._exists = bool(self._fetch("SELECT to_regclass('migrator_attempts') IS NOT NULL")[0][0])
        return self._exists

    def _fetch_if_there(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        return self._fetch(sql, parameters) if self.exists else []

    def ensure_schema(self) -> None:
        """Make or upgrade the ledger's own tables; call it under the lock."""
        exists = self._fetch("SELECT to_regclass('migrator_versions') IS NOT NULL")[0][0]
        done = {version for (version,) in self._fetch("SELECT version FROM migrator_versions")} if exists else set()
        missing = [(version, sql) for version, sql in enumerate(versions(), 1) if version not in done]
        if missing:
            # One query string is one transaction: they are there whole or not at all.
            self._fetch(
                "CREATE TABLE IF NOT EXISTS migrator_versions "
                "(version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());"
                + "".join(sql.replace("%", "%%") + ";" for _version, sql in missing)
                + "INSERT INTO migrator_versions (version) SELECT unnest(%s)",
                [[version for version, _sql in missing]],
            )

    def missing_tables(self) -> list[str]:
        """Tables that were made once and are not there any more."""
        made = [name for sql in versions() for name in re.findall(r"^CREATE TABLE (\w+)", sql, re.MULTILINE)]
        rows = self._fetch("SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL", [made])
        return [name for (name,) in rows]

    def _knows_releases(self) -> bool:
        return bool(self._fetch("SELECT to_regclass('migrator_settled_releases') IS NOT NULL")[0][0])

    def is_settled(self, digest: str) -> bool:
        """Whether exactly this release's migrations were applied to their end, post_migrate included."""
        return self._knows_releases() and bool(
            self._fetch("SELECT true FROM migrator_settled_releases WHERE digest = %s", [digest])
        )

    def settle(self, digest: str, held: list[str]) -> None:
        """Record that a release's migrations were applied to their end, but for those that are held back."""
        self._fetch(
            "INSERT INTO migrator_settled_releases (digest, run_id, held, history) "  # noqa: S608 - a constant
            f"VALUES (%s, %s, %s, {HISTORY_HASH}) "
            "ON CONFLICT (digest) DO UPDATE SET run_id = EXCLUDED.run_id, held = EXCLUDED.held, "
            "history = EXCLUDED.history, settled_at = clock_timestamp()",
            [digest, self.run_id, held],
        )

    def keep_settled(self, digest: str) -> None:
        """Let a release that found nothing to do in a history that others changed leave at once the next time."""
        with suppress(psycopg2.Error):  # a standby, or a role that only reads: then it looks again the next time
            self._fetch(
                f"UPDATE migrator_settled_releases SET history = {HISTORY_HASH} "  # noqa: S608 - a constant
                f"WHERE digest = %s AND history <> {HISTORY_HASH}",
                [digest],
            )

    def unsettle(self, digest: str) -> None:
        """Forget that a release was settled: something is about to change."""
        self._fetch("DELETE FROM migrator_settled_releases WHERE digest = %s", [digest])

    def last_outcome(self, release: str) -> str:
        """How the last run of a release ended; empty if it had none."""
        rows = self._fetch_if_there(
            "SELECT outcome FROM migrator_runs WHERE release = %s AND run_id <> %s ORDER BY run_id DESC LIMIT 1",
            [release, self.run_id],
        )
        return str(rows[0][0]) if rows else ""

    def start_run(self, *, command: str, release: str, git_sha: str, environment: str, task: str) -> None:
        """Open a run; its id stays with this object."""
        self.run_id = self._fetch(
            "INSERT INTO migrator_runs (command, release, git_sha, environment, task, python_version, django_version) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING run_id",
            [command, release, git_sha, environment, task, *comparable_versions()],
        )[0][0]

    def finish_run(self, outcome: str, exit_code: int, error: str = "") -> None:
        """Close the run: ``succeeded``, ``failed`` or ``interrupted``."""
        self._fetch(
            "UPDATE migrator_runs SET finished_at = clock_timestamp(), outcome = %s, exit_code = %s, error = %s "
            "WHERE run_id = %s AND finished_at IS NULL",
            [outcome, exit_code, error or None, self.run_id],
        )

    def has_open_runs(self) -> bool:
        """Whether a run is under way, or died."""
        return bool(self._fetch_if_there("SELECT true FROM migrator_runs WHERE finished_at IS NULL LIMIT 1"))

    def next_batch(self) -> int:
        """The number of the batch that begins now, counted from 1."""
        return int(self._fetch("SELECT coalesce(max(batch), 0) + 1 FROM migrator_attempts")[0][0])

    def start_attempt(
        self,
        *,
        batch: int,
        app: str,
        name: str,
        direction: str,
        phase: str,
        atomic: bool,
        fingerprint: str,
        file_hash: str,
    ) -> int:
        """Record, at once, that a migration is about to be tried. Returns the attempt's id.

        Of one that is atomic the server need not write it to disk at once: where a crash takes this row, it has taken
        the migration as well, whose own COMMIT would have brought both.
        """
        return int(
            self._fetch(
                "WITH unhurried AS (SELECT CASE WHEN %s THEN set_config('synchronous_commit', 'off', true) END) "
                "INSERT INTO migrator_attempts "
                "(run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash) "
                "SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s FROM unhurried RETURNING attempt_id",
                [atomic, self.run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash],
            )[0][0]
        )

    def accept(self, applied: Applied, fingerprint: str, file_hash: str) -> None:
        """Record that a migration in force is in the database as its code is now."""
        with self.connection.cursor() as cursor:
            self.attest(
                cursor,
                applied.key,
                batch=applied.batch,
                phase=applied.phase,
                fingerprint=fingerprint,
                file_hash=file_hash,
            )

    def attest(
        self,
        cursor: Any,
        key: tuple[str, str],
        *,
        direction: str = "apply",
        batch: int = NO_BATCH,
        phase: str = "expand",
        fingerprint: str = "",
        file_hash: str = "",
    ) -> None:
        """Record, on any connection, that Django's history changed by a row without anything being executed for it."""
        cursor.execute(
            "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, faked, atomic, fingerprint, "
            "file_hash, finished_at, outcome) "
            "VALUES (%s, %s, %s, %s, %s, %s, true, true, %s, %s, clock_timestamp(), 'succeeded')",
            [self.run_id, batch, *key, direction, phase, fingerprint, file_hash],
        )

    def attest_change(self, cursor: Any, key: tuple[str, str], direction: str) -> None:
        """Likewise, unless the last attempt at it that succeeded, as that connection sees it, went there already."""
        cursor.execute(
            "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, faked, atomic, fingerprint, "
            "file_hash, finished_at, outcome) "
            "SELECT %s, %s, app, name, %s, 'expand', true, true, '', '', clock_timestamp(), 'succeeded' "
            "FROM (VALUES (%s, %s)) changed (app, name) WHERE (SELECT direction FROM migrator_attempts a "
            "WHERE a.app = changed.app AND a.name = changed.name AND outcome = 'succeeded' "
            "ORDER BY attempt_id DESC LIMIT 1) IS DISTINCT FROM %s",
            [self.run_id, NO_BATCH, direction, *key, direction],
        )

    def fail_attempt(self, attempt_id: int, outcome: str, tries: int, sqlstate: str, error: str, trace: Trace) -> None:
        """Close an attempt that did not succeed: ``failed``, ``interrupted``, or ``rolled back`` with its batch."""
        self._fetch(
            _FAIL_ATTEMPT,
            [outcome, tries, sqlstate or None, error, attempt_id, *_trace_parameters(trace)],
        )

    def close_abandoned(self) -> list[Interrupted]:
        """Close what dead migrators left open; call it under the lock, when nobody else can be at work.

        Returns the migrations that were under way and are not in Django's history.
        """
        rows = self._fetch(
            "UPDATE migrator_attempts a SET finished_at = clock_timestamp(), "
            "outcome = CASE WHEN recorded = (direction = 'apply') THEN 'succeeded' ELSE 'interrupted' END, "
            "error = 'the process died; found by a later run' "
            "FROM (SELECT attempt_id AS id, EXISTS (SELECT FROM django_migrations m "
            "      WHERE m.app = b.app AND m.name = b.name) AS recorded FROM migrator_attempts b) known "
            "WHERE a.finished_at IS NULL AND known.id = a.attempt_id AND a.run_id <> %s "
            "RETURNING a.app, a.name, a.outcome",
            [self.run_id],
        )
        self._fetch(
            "UPDATE migrator_runs SET finished_at = clock_timestamp(), outcome = 'interrupted', "
            "error = 'the process died; found by a later run' WHERE finished_at IS NULL AND run_id <> %s",
            [self.run_id],
        )
        return [Interrupted(app, name) for app, name, outcome in rows if outcome == "interrupted"]

    def in_force(self) -> list[Applied]:
        """For each migration that the ledger saw applied last, and not unapplied since, that attempt; oldest first."""
        rows = self._fetch_if_there(
            "SELECT a.app, a.name, a.batch, a.phase, a.faked, a.fingerprint, a.file_hash, a.tries, a.started_at, "
            "a.finished_at, r.run_id, r.command, r.release, r.git_sha, r.task, r.database_user, r.python_version, "
            "r.django_version FROM (SELECT DISTINCT ON (app, name) * FROM migrator_attempts "
            "WHERE outcome = 'succeeded' ORDER BY app, name, attempt_id DESC) a "
            "JOIN migrator_runs r USING (run_id) WHERE a.direction = 'apply' ORDER BY a.attempt_id"
        )
        return [Applied(*row) for row in rows]

    def releases_before(self, run_id: int) -> set[str]:
        """The releases that ran migrations before a run, and neither in it nor after it."""
        rows = self._fetch("SELECT release FROM migrator_runs GROUP BY release HAVING max(run_id) < %s", [run_id])
        return {release for (release,) in rows}

    def failures_of(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Failure]:
        """How the last attempt at applying each of these migrations failed; those of which it did not are left out."""
        rows = self._fetch_if_there(
            "SELECT DISTINCT ON (a.app, a.name) a.app, a.name, a.outcome, a.fingerprint, coalesce(a.sqlstate, ''), "
            "coalesce(a.error, ''), a.finished_at, r.release, r.task, "
            "extract(epoch FROM clock_timestamp() - a.finished_at)::float "
            "FROM migrator_attempts a JOIN migrator_runs r USING (run_id) "
            "JOIN unnest(%s::text[], %s::text[]) AS asked (app, name) ON asked.app = a.app AND asked.name = a.name "
            "WHERE a.direction = 'apply' ORDER BY a.app, a.name, a.attempt_id DESC",
            [[app for app, _name in keys], [name for _app, name in keys]],
        )
        return {(app, name): Failure(*facts) for app, name, outcome, *facts in rows if outcome == "failed"}

    def last_failures(self) -> dict[tuple[str, str], str]:
        """The error of each migration whose last attempt at being applied failed."""
        rows = self._fetch_if_there(
            "SELECT DISTINCT ON (app, name) app, name, outcome, coalesce(error, '') FROM migrator_attempts "
            "WHERE direction = 'apply' ORDER BY app, name, attempt_id DESC"
        )
        return {(app, name): error for app, name, outcome, error in rows if outcome == "failed"}

    def contradicted(self) -> dict[tuple[str, str], str]:
        """The error of each migration that is recorded as applied although its last attempt at that failed.

        One that failed in a way that passes by itself contradicts nothing: somebody else may have gone on with it.
        """
        rows = self._fetch_if_there(_CONTRADICTED) if self._has_history() else []
        return {(app, name): error for app, name, error, code in rows if code and not passes_by_itself(code)}

    def unattested(self) -> list[tuple[str, str]]:
        """Migrations that were recorded as applied since the ledger keeps its record, and which no attempt of it did.

        What is under way, or was when its process died, is none of them.
        """
        rows = self._fetch_if_there(_UNATTESTED) if self._has_history() else []
        return [(app, name) for app, name in rows]

    def _has_history(self) -> bool:
        return bool(self._fetch("SELECT to_regclass('django_migrations') IS NOT NULL")[0][0])

    def last_end(self, app: str, name: str) -> tuple[str, str]:
        """Outcome and fingerprint of the last attempt at a migration, in either direction; empty if there is none."""
        rows = self._fetch(
            "SELECT outcome, fingerprint FROM migrator_attempts WHERE app = %s AND name = %s "
            "ORDER BY attempt_id DESC LIMIT 1",
            [app, name],
        )
        return rows[0] if rows else ("", "")

    def under_way(self) -> str:
        """What the open attempt, if there is one, is doing, for the messages of those who wait."""
        rows = self._fetch_if_there(
            "SELECT a.app || '.' || a.name, r.release, r.task, "
            "round(extract(epoch FROM clock_timestamp() - a.started_at)) "
            "FROM migrator_attempts a JOIN migrator_runs r USING (run_id) "
            "WHERE a.finished_at IS NULL ORDER BY a.attempt_id DESC LIMIT 1"
        )
        if not rows:
            return ""
        migration, release, task, age_s = rows[0]
        return f"release {release}, task {task}, on {migration} since {age_s} s" + self._progress()

    def _progress(self) -> str:
        """How far that is, as the run itself last said."""
        if not self._fetch("SELECT to_regclass('migrator_progress') IS NOT NULL")[0][0]:
            return ""
        rows = self._fetch(
            "SELECT p.percent, p.phase FROM migrator_progress p JOIN migrator_runs r USING (run_id) "
            "WHERE r.finished_at IS NULL AND p.updated_at > clock_timestamp() - interval '15 seconds' "
            "ORDER BY p.run_id DESC LIMIT 1"
        )
        if not rows:
            return ""
        percent, phase = rows[0]
        return f" ({phase})" if percent is None else f" ({percent:.0f} %, {phase})"

    def finish_attempts(self, cursor: Any, done: Sequence[Done]) -> bool:
        """Close attempts that succeeded, on the working connection: in the migrations' own transaction if there is one.

        Returns whether there was each of them to close.
        """
        rows = [(each.attempt_id, each.tries, each.faked, each.took_s, *_trace_parameters(each.trace)) for each in done]
        columns = [[_storable(value, self.connection) for value in column] for column in zip(*rows, strict=True)]
        cursor.execute(_FINISH_ATTEMPTS, columns)
        return bool(cursor.rowcount == len(done))


_CONTRADICTED = """
    SELECT m.app, m.name, coalesce(last.error, ''), last.sqlstate FROM django_migrations m CROSS JOIN LATERAL (
        SELECT outcome, error, sqlstate FROM migrator_attempts a
        WHERE a.app = m.app AND a.name = m.name AND a.direction = 'apply' ORDER BY attempt_id DESC LIMIT 1) last
    WHERE last.outcome = 'failed'
"""
# The order of the rows, and not their times: those are the clients'.
_UNATTESTED = """
    WITH known AS (
        SELECT m.id, m.app, m.name, succeeded.direction FROM django_migrations m LEFT JOIN LATERAL (
            SELECT direction FROM migrator_attempts a
            WHERE a.app = m.app AND a.name = m.name AND a.outcome = 'succeeded'
            ORDER BY attempt_id DESC LIMIT 1) succeeded ON true)
    SELECT app, name FROM known
    WHERE direction IS DISTINCT FROM 'apply' AND id > (SELECT min(id) FROM known WHERE direction = 'apply')
      AND NOT EXISTS (SELECT FROM migrator_attempts a
                      WHERE a.app = known.app AND a.name = known.name AND a.finished_at IS NULL)
    ORDER BY id
"""
_ADD_TRACE = """
    INSERT INTO migrator_traces (attempt_id, statements, omitted, blockers)
    SELECT attempt_id, %s, %s, %s FROM finished
"""
_FAIL_ATTEMPT = f"""
    WITH finished AS (
        UPDATE migrator_attempts SET finished_at = clock_timestamp(), outcome = %s, tries = %s, sqlstate = %s,
            error = %s
        WHERE attempt_id = %s AND finished_at IS NULL RETURNING attempt_id)
    {_ADD_TRACE}
"""  # noqa: S608 - constants
_FINISH_ATTEMPTS = """
    WITH done AS (
        SELECT * FROM unnest(%s::bigint[], %s::integer[], %s::boolean[], %s::float[], %s::text[], %s::integer[],
            %s::text[]) AS done (attempt_id, tries, faked, took_s, statements, omitted, blockers)
    ), finished AS (
        UPDATE migrator_attempts a SET finished_at = a.started_at + make_interval(secs => done.took_s),
            outcome = 'succeeded', tries = done.tries, faked = done.faked
        FROM done WHERE a.attempt_id = done.attempt_id AND a.finished_at IS NULL RETURNING a.attempt_id)
    INSERT INTO migrator_traces (attempt_id, statements, omitted, blockers)
    SELECT attempt_id, statements::json, omitted, blockers::json FROM done JOIN finished USING (attempt_id)
"""


def _trace_parameters(trace: Trace) -> list[str | int]:
    """The last parameters of both statements above."""
    return [json.dumps(trace.statements), trace.omitted, json.dumps(trace.blockers)]
