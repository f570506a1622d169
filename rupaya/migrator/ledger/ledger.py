"""Who applied what, when, how long, with which release, and how it ended; a finished row is never changed.

Written with plain SQL on two connections: an attempt's *start* is committed at once, on the lock connection, so that a
crash shows as interrupted and not as nothing; its *finish* commits together with the migration, on the working one.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import django
from psycopg2.errors import UndefinedTable
from psycopg2.extensions import connection as PgConnection  # noqa: N812

from rupaya.migrator.ledger.trace import Trace

# One entry a version, additive only: an older release must be able to write to a newer ledger.
_VERSIONS = (
    """
    CREATE TABLE migrator_runs (
        run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        command text NOT NULL,
        release text NOT NULL,
        git_sha text NOT NULL,
        environment text NOT NULL,
        task text NOT NULL,
        python_version text NOT NULL,
        django_version text NOT NULL,
        database_user text NOT NULL DEFAULT session_user,
        backend_pid integer NOT NULL DEFAULT pg_backend_pid(),
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        outcome text NOT NULL DEFAULT 'started'
            CHECK (outcome IN ('started', 'succeeded', 'failed', 'interrupted')),
        exit_code integer,
        error text,
        CHECK ((outcome = 'started') = (finished_at IS NULL))
    );
    CREATE TABLE migrator_attempts (
        attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id bigint NOT NULL REFERENCES migrator_runs,
        batch integer NOT NULL,
        app text NOT NULL,
        name text NOT NULL,
        direction text NOT NULL CHECK (direction IN ('apply', 'unapply')),
        phase text NOT NULL CHECK (phase IN ('expand', 'contract')),
        faked boolean NOT NULL DEFAULT false,
        atomic boolean NOT NULL,
        fingerprint text NOT NULL,
        file_hash text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        tries integer NOT NULL DEFAULT 0,
        outcome text NOT NULL DEFAULT 'started'
            CHECK (outcome IN ('started', 'succeeded', 'failed', 'interrupted', 'rolled back')),
        sqlstate text,
        error text,
        CHECK ((outcome = 'started') = (finished_at IS NULL))
    );
    CREATE INDEX idx_migrator_attempts_migration ON migrator_attempts (app, name, attempt_id DESC);
    CREATE INDEX idx_migrator_attempts_run_id ON migrator_attempts (run_id);
    CREATE TABLE migrator_settled (
        digest text PRIMARY KEY,
        run_id bigint NOT NULL REFERENCES migrator_runs,
        held text[] NOT NULL,
        settled_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    COMMENT ON TABLE migrator_settled IS
        'Sets of migrations whose application, post_migrate included, was completed. State, not history.';
    CREATE FUNCTION migrator_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF OLD.finished_at IS NULL THEN
                RETURN NEW;
            END IF;
        END IF;
        RAISE EXCEPTION '% of % refused: the record of migrations is append-only', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE ON migrator_runs
        FOR EACH ROW EXECUTE FUNCTION migrator_refuse_rewriting();
    CREATE TRIGGER refuse_truncating BEFORE TRUNCATE ON migrator_runs
        FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_rewriting();
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE ON migrator_attempts
        FOR EACH ROW EXECUTE FUNCTION migrator_refuse_rewriting();
    CREATE TRIGGER refuse_truncating BEFORE TRUNCATE ON migrator_attempts
        FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_rewriting();
    """,
    """
    CREATE TABLE migrator_snapshots (
        snapshot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id bigint NOT NULL REFERENCES migrator_runs,
        taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        server_version_num integer NOT NULL,
        hash text NOT NULL,
        catalog jsonb NOT NULL,
        drift jsonb NOT NULL DEFAULT '[]'
    );
    CREATE INDEX idx_migrator_snapshots_run_id ON migrator_snapshots (run_id);
    COMMENT ON TABLE migrator_snapshots IS
        'The schema that migrations build, as each run left it, and what people had changed by hand before that run.';
    CREATE FUNCTION migrator_refuse_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% of % refused: the record of migrations is append-only', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON migrator_snapshots
        FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_changes();
    """,
    # A table of its own, without a foreign key to attempts, which are never deleted: it needs no lock on them, which a
    # backup might keep from it.
    # And json, not jsonb, which refuses what a statement may well contain.
    """
    CREATE TABLE migrator_traces (
        attempt_id bigint PRIMARY KEY,
        statements json NOT NULL,
        omitted integer NOT NULL,
        blockers json NOT NULL
    );
    COMMENT ON TABLE migrator_traces IS
        'What each attempt executed, without parameters, and the sessions that it was seen to wait for.';
    CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON migrator_traces
        FOR EACH STATEMENT EXECUTE FUNCTION migrator_refuse_changes();
    """,
)
_VERSIONS_DIR = Path(__file__).parent / "versions"


def _versions() -> Iterator[tuple[int, str]]:
    """Number and SQL of each version, in order."""
    yield from enumerate(_VERSIONS, 1)
    for path in sorted(_VERSIONS_DIR.glob("*.sql")):
        yield int(path.name.partition("_")[0]), path.read_text()


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
    atomic: bool


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
        """App label and name."""
        return self.app, self.name


def versions() -> tuple[str, str]:
    """The Python and Django versions that fingerprints are comparable within."""
    return platform.python_version(), django.get_version()


class Ledger:
    """Reads and writes the record of runs and attempts on the lock connection."""

    def __init__(self, connection: PgConnection) -> None:
        self.connection = connection
        self.run_id = 0

    def _fetch(self, sql: str, parameters: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, list(parameters))
            return cursor.fetchall() if cursor.description else []

    def ensure_schema(self) -> None:
        """Make or upgrade the ledger's own tables; call it under the lock."""
        exists = self._fetch("SELECT to_regclass('migrator_versions') IS NOT NULL")[0][0]
        done = {version for (version,) in self._fetch("SELECT version FROM migrator_versions")} if exists else set()
        for version, sql in _versions():
            if version not in done:
                # One query string is one transaction: a version is there whole or not at all.
                self._fetch(
                    "CREATE TABLE IF NOT EXISTS migrator_versions "  # noqa: S608 - constants
                    "(version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp());"
                    + sql.replace("%", "%%")
                    + "; INSERT INTO migrator_versions (version) VALUES (%s)",
                    [version],
                )

    def is_settled(self, digest: str) -> bool:
        """Whether exactly this set of migrations was applied to its end, post_migrate included."""
        try:
            return bool(self._fetch("SELECT EXISTS (SELECT FROM migrator_settled WHERE digest = %s)", [digest])[0][0])
        except UndefinedTable:
            return False

    def settle(self, digest: str, held: list[str]) -> None:
        """Record that this set of migrations was applied to its end, but for those that are held back."""
        self._fetch(
            "INSERT INTO migrator_settled (digest, run_id, held) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [digest, self.run_id, held],
        )

    def unsettle(self) -> None:
        """Forget what was settled: something is about to change."""
        self._fetch("DELETE FROM migrator_settled")

    def start_run(self, *, command: str, release: str, git_sha: str, environment: str, task: str) -> None:
        """Open a run; its id stays with this object."""
        self.run_id = self._fetch(
            "INSERT INTO migrator_runs (command, release, git_sha, environment, task, python_version, django_version) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING run_id",
            [command, release, git_sha, environment, task, *versions()],
        )[0][0]

    def finish_run(self, outcome: str, exit_code: int, error: str = "") -> None:
        """Close the run: ``succeeded``, ``failed`` or ``interrupted``."""
        self._fetch(
            "UPDATE migrator_runs SET finished_at = clock_timestamp(), outcome = %s, exit_code = %s, error = %s "
            "WHERE run_id = %s AND finished_at IS NULL",
            [outcome, exit_code, error or None, self.run_id],
        )

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
        """Record, at once, that a migration is about to be tried. Returns the attempt's id."""
        return int(
            self._fetch(
                "INSERT INTO migrator_attempts "
                "(run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING attempt_id",
                [self.run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash],
            )[0][0]
        )

    def accept(self, applied: Applied, fingerprint: str, file_hash: str) -> None:
        """Record that a migration in force is in the database as its code is now."""
        self._fetch(
            "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, faked, atomic, fingerprint, "
            "file_hash, finished_at, outcome) "
            "VALUES (%s, %s, %s, %s, 'apply', %s, true, true, %s, %s, clock_timestamp(), 'succeeded')",
            [self.run_id, applied.batch, applied.app, applied.name, applied.phase, fingerprint, file_hash],
        )

    def fail_attempt(self, attempt_id: int, outcome: str, tries: int, sqlstate: str, error: str, trace: Trace) -> None:
        """Close an attempt that did not succeed: ``failed``, ``interrupted``, or ``rolled back`` with its batch."""
        self._fetch(
            _FAIL_ATTEMPT,
            [outcome, tries, sqlstate or None, error, attempt_id, *trace_parameters(trace)],
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
            "RETURNING a.app, a.name, a.atomic, a.outcome",
            [self.run_id],
        )
        self._fetch(
            "UPDATE migrator_runs SET finished_at = clock_timestamp(), outcome = 'interrupted', "
            "error = 'the process died; found by a later run' WHERE finished_at IS NULL AND run_id <> %s",
            [self.run_id],
        )
        return [Interrupted(app, name, atomic) for app, name, atomic, outcome in rows if outcome == "interrupted"]

    def in_force(self) -> list[Applied]:
        """For each migration that the ledger saw applied last, and not unapplied since, that attempt; oldest first."""
        try:
            rows = self._fetch(
                "SELECT a.app, a.name, a.batch, a.phase, a.faked, a.fingerprint, a.file_hash, a.tries, a.started_at, "
                "a.finished_at, r.run_id, r.command, r.release, r.git_sha, r.task, r.database_user, r.python_version, "
                "r.django_version FROM (SELECT DISTINCT ON (app, name) * FROM migrator_attempts "
                "WHERE outcome = 'succeeded' ORDER BY app, name, attempt_id DESC) a "
                "JOIN migrator_runs r USING (run_id) WHERE a.direction = 'apply' ORDER BY a.attempt_id"
            )
        except UndefinedTable:
            return []
        return [Applied(*row) for row in rows]

    def releases_before(self, run_id: int) -> set[str]:
        """The releases that ran migrations before a run, and neither in it nor after it."""
        rows = self._fetch("SELECT release FROM migrator_runs GROUP BY release HAVING max(run_id) < %s", [run_id])
        return {release for (release,) in rows}

    def last_failure(self, app: str, name: str) -> Failure | None:
        """How the last attempt at applying a migration failed; None if it did not."""
        try:
            rows = self._fetch(
                "SELECT a.outcome, a.fingerprint, coalesce(a.sqlstate, ''), coalesce(a.error, ''), a.finished_at, "
                "r.release, r.task, extract(epoch FROM clock_timestamp() - a.finished_at) "
                "FROM migrator_attempts a JOIN migrator_runs r USING (run_id) "
                "WHERE a.app = %s AND a.name = %s AND a.direction = 'apply' ORDER BY a.attempt_id DESC LIMIT 1",
                [app, name],
            )
        except UndefinedTable:
            return None
        if not rows or rows[0][0] != "failed":
            return None
        _outcome, fingerprint, code, error, finished_at, release, task, age_s = rows[0]
        return Failure(fingerprint, code, error, finished_at, release, task, float(age_s))

    def last_failures(self) -> dict[tuple[str, str], str]:
        """The error of each migration whose last attempt at being applied failed."""
        try:
            rows = self._fetch(
                "SELECT DISTINCT ON (app, name) app, name, outcome, coalesce(error, '') FROM migrator_attempts "
                "WHERE direction = 'apply' ORDER BY app, name, attempt_id DESC"
            )
        except UndefinedTable:
            return {}
        return {(app, name): error for app, name, outcome, error in rows if outcome == "failed"}

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
        try:
            rows = self._fetch(
                "SELECT a.app || '.' || a.name, r.release, r.task, "
                "round(extract(epoch FROM clock_timestamp() - a.started_at)) "
                "FROM migrator_attempts a JOIN migrator_runs r USING (run_id) "
                "WHERE a.finished_at IS NULL ORDER BY a.attempt_id DESC LIMIT 1"
            )
        except UndefinedTable:
            return ""
        if not rows:
            return ""
        migration, release, task, age_s = rows[0]
        return f"release {release}, task {task}, on {migration} since {age_s} s"


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
FINISH_ATTEMPT = f"""
    WITH finished AS (
        UPDATE migrator_attempts SET finished_at = clock_timestamp(), outcome = 'succeeded', tries = %s, faked = %s
        WHERE attempt_id = %s RETURNING attempt_id)
    {_ADD_TRACE}
"""  # noqa: S608
"""Closes an attempt on the working connection, in the migration's own transaction where it has one."""


def trace_parameters(trace: Trace) -> list[str | int]:
    """The last parameters of `FINISH_ATTEMPT`."""
    return [json.dumps(trace.statements), trace.omitted, json.dumps(trace.blockers)]
