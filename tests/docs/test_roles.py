"""The runbook's queries work as the role that runs them, with a superuser's session in the way."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg2
import pytest

from rupaya.migrator.ledger.ledger import Ledger
from tests.faults.migrator import query, wait_for
from tests.migrator.foresight.statistics_server import statistics_server
from tests.server.service import PROJECT

RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
Connection = psycopg2.extensions.connection


def queries(heading: str) -> list[str]:
    """The SQL blocks below one heading."""
    section = re.split(r"\n#{2,3} ", RUNBOOK.split(f" {heading}\n", 1)[1], maxsplit=1)[0]
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)


@dataclass
class Trouble:
    """A superuser's session holds `transactions`, and a migrator of the owner's waits for it."""

    url: str
    owner: str
    superuser: Connection
    migrator: Connection

    def as_owner(self, sql: str) -> list[dict[str, object]]:
        """What the owner gets."""
        with closing(psycopg2.connect(self.url, user=self.owner)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _migrate(connection: Connection) -> None:
    connection.cursor().execute("SELECT pg_advisory_lock(42); ALTER TABLE transactions ADD looks_fine text")


@pytest.fixture(scope="module")
def trouble(module_url: str) -> Iterator[Trouble]:
    owner = "owner_" + urlsplit(module_url).path.strip("/")
    grants = re.search(r"GRANT pg_read_all_stats[^;]*;", queries("Two database roles")[0])
    assert grants is not None
    query(
        module_url,
        f"CREATE ROLE {owner} LOGIN; {re.sub(r'rupaya', owner, grants[0])} ALTER TABLE transactions OWNER TO {owner}; "
        f"GRANT SELECT ON migrator_runs, migrator_progress TO {owner}",
    )
    superuser = psycopg2.connect(module_url, application_name="psql")
    migrator = psycopg2.connect(module_url, user=owner, application_name="migrate v2 task-1")
    waiting = threading.Thread(target=_migrate, args=(migrator,), daemon=True)
    try:
        superuser.cursor().execute("SELECT count(*) AS by_the_administrator FROM transactions")
        waiting.start()
        wait_for(
            lambda: query(
                module_url,
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'migrate %' AND wait_event_type = 'Lock' "
                "AND datname = current_database()",
            ),
            "the migrator to wait",
        )
        yield Trouble(module_url, owner, superuser, migrator)
    finally:
        superuser.close()
        waiting.join()
        migrator.close()
        wait_for(
            lambda: not query(module_url, "SELECT pid FROM pg_stat_activity WHERE usename = %s", owner),
            "sessions to end",
        )
        query(module_url, f"REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {owner}")


def test_each_query_of_the_runbook_runs_as_the_owner(trouble: Trouble) -> None:
    headings = re.findall(r"\n#{2,3} (.*)", RUNBOOK)
    blocks = [sql for heading in headings if heading != "Two database roles" for sql in queries(heading)]

    assert len(blocks) >= 6
    for sql in blocks:
        for statement in filter(str.strip, sql.split(";")):
            assert trouble.as_owner(statement) is not None


@pytest.mark.parametrize("number", [0, 1])
def test_exit_12_names_the_superusers_session_and_what_it_does(trouble: Trouble, number: int) -> None:
    rows = trouble.as_owner(queries("Exit 12: a table stayed locked")[number])

    (row,) = [row for row in rows if row["pid"] == trouble.superuser.info.backend_pid]
    assert (row["application_name"], row["state"]) == ("psql", "idle in transaction")
    assert "by_the_administrator" in str(row["query"])
    assert row["open_since"] is not None
    if number == 1:
        assert row["waiting"] == "migrate v2 task-1"


def test_exit_11_names_the_migrator_that_holds_the_lock(trouble: Trouble) -> None:
    (row,) = trouble.as_owner(queries("Exit 11: another migrator held the lock too long")[0])

    assert row["application_name"] == "migrate v2 task-1"


def test_what_takes_long_is_found(trouble: Trouble) -> None:
    rows = trouble.as_owner(queries("A deployment that neither fails nor ends")[0].split(";")[1])

    assert [row["wait_event_type"] for row in rows] == ["Lock"]


def test_an_ordinary_session_can_be_ended_and_a_superusers_not(trouble: Trouble) -> None:
    other = "report_" + urlsplit(trouble.url).path.strip("/")
    query(trouble.url, f"CREATE ROLE {other} LOGIN")
    try:
        report = psycopg2.connect(trouble.url, user=other)
        ended = trouble.as_owner(f"SELECT pg_terminate_backend({report.info.backend_pid}) AS ended")
        assert ended == [{"ended": True}]
        wait_for(
            lambda: not query(trouble.url, "SELECT pid FROM pg_stat_activity WHERE usename = %s", other),
            "it to be gone",
        )
        report.close()
    finally:
        query(trouble.url, f"DROP ROLE {other}")

    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        trouble.as_owner(f"SELECT pg_terminate_backend({trouble.superuser.info.backend_pid})")


def test_the_roles_are_made_by_psql_and_the_owner_then_sees_what_others_send() -> None:
    """Both blocks as they stand in the runbook, on a server that counts statements: one as its administrator, and one
    as the owner."""
    first, then = queries("Two database roles")[:2]
    with statistics_server() as server:
        server.psql("REVOKE pg_read_all_stats FROM rupaya; DROP EXTENSION pg_stat_statements", database="rupaya")
        server.psql("CREATE ROLE report LOGIN", database="rupaya")
        query(server.url(), "CREATE TABLE wares (id integer); GRANT SELECT ON wares TO report")
        ledger(server.url())

        server.psql(first, database="rupaya")
        server.psql(then, database="rupaya", user="rupaya")

        query(server.url(user="report"), "SELECT id AS by_a_report FROM wares")
        texts = "SELECT pg_get_userbyid(userid) FROM pg_stat_statements WHERE query ~ 'by_a_report FROM'"
        assert query(server.url(), texts) == [("report",)]
        assert query(server.url(), "SELECT set_config('pg_stat_statements.track', 'none', false)") == [("none",)]
        assert query(server.url(user="rupaya_app"), "SELECT count(*) FROM wares") == [(0,)]
        grant = re.search(r"`(GRANT INSERT ON migrator_accepted_drift TO rupaya_app)`", RUNBOOK)
        assert grant is not None
        query(server.url(), grant[1])
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(server.url(user="rupaya_app"), "DELETE FROM migrator_accepted_drift")


def ledger(url: str) -> None:
    """The migrator's own tables, and Django's history, as a first deployment leaves them."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        Ledger(connection).ensure_schema()
    query(url, "CREATE TABLE django_migrations (id integer)")


def test_without_the_administrators_grants_the_owner_sees_no_query_and_still_the_session(trouble: Trouble) -> None:
    """What the runbook's grants are for: a pid alone is what is left without them."""
    query(trouble.url, f"REVOKE pg_read_all_stats FROM {trouble.owner}")
    try:
        rows = trouble.as_owner(queries("Exit 12: a table stayed locked")[1])
    finally:
        query(trouble.url, f"GRANT pg_read_all_stats TO {trouble.owner}")

    (row,) = [row for row in rows if row["pid"] == trouble.superuser.info.backend_pid]
    assert (row["state"], row["open_since"]) == (None, None)
    assert row["query"] == "<insufficient privilege>"
