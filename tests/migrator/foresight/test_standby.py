"""Live rows and live use are asked of a real standby too: what that forbids is said, and then the primary is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from django.db.backends.postgresql.base import DatabaseWrapper

from rupaya.localdb import LocalPostgres
from rupaya.migrator.debts.debt import COLUMN, Debt
from rupaya.migrator.foresight.look import Look, look
from rupaya.migrator.foresight.presumed import KnownPresumptions
from rupaya.migrator.foresight.presumption import CHECK, NOT_NULL, Presumed, Presumption
from rupaya.migrator.foresight.use import CANNOT_SAY, IN_USE, NOT_SEEN, Use, keep_baseline, uses
from rupaya.migrator.ledger.ledger import Ledger
from tests.faults.migrator import query, wait_for
from tests.faults.servers import server_root, streaming_replica
from tests.migrator.foresight.connected import connected
from tests.migrator.foresight.statistics_server import SETTINGS, statistics_server
from tests.migrator.foresight.test_use import send

pytestmark = pytest.mark.slow

TABLES = """
    CREATE TABLE items (id integer PRIMARY KEY, name text, label text);
    INSERT INTO items SELECT n, CASE WHEN n NOT IN (7, 9) THEN 'x' END, 'l' FROM generate_series(1, 1000) n;
    CREATE FUNCTION writes() RETURNS boolean LANGUAGE sql AS $$ INSERT INTO items (id) VALUES (0); SELECT true $$;
    CREATE FUNCTION slowly() RETURNS boolean LANGUAGE sql AS $$ SELECT pg_sleep(0.002); SELECT true $$
"""
OWED = Debt("shop", "0002_drop", "0", "Remove field", COLUMN, "items", "label", [], "", {}, id=1)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[LocalPostgres, LocalPostgres]]:
    with statistics_server(TABLES) as primary:
        with closing(psycopg2.connect(primary.url())) as connection:
            connection.autocommit = True
            Ledger(connection).ensure_schema()
        settings = SETTINGS | {"max_standby_streaming_delay": "0"}
        with (
            server_root() as root,
            streaming_replica(primary, root / "standby", root / "s", settings) as standby,
        ):
            yield primary, standby


@pytest.fixture
def connection(servers: tuple[LocalPostgres, LocalPostgres], settings: Any) -> Iterator[DatabaseWrapper]:
    primary, standby = servers
    settings.MIGRATOR_REPLICA = "standby"
    catch_up(primary, standby)
    with connected(standby.url(), "standby"), connected(primary.url()) as made:
        yield made


def catch_up(primary: LocalPostgres, standby: LocalPostgres) -> None:
    position = primary.psql("SELECT pg_logical_emit_message(true, 'test', 'caught up?')")
    wait_for(lambda: standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t", "the standby")


def asked(connection: DatabaseWrapper, *presumptions: Presumption) -> Look:
    step = Presumed(presumptions=list(presumptions))
    return look(connection, KnownPresumptions(("shop.0002",), (step,), ()), budget_s=60)


def check(condition: str) -> Presumption:
    return Presumption(CHECK, "items", "c", ("id", "name"), condition=condition)


NO_NULL = Presumption(NOT_NULL, "items", "name", ("name",))


def test_rows_are_asked_on_the_standby_and_what_is_in_the_way_there_on_the_primary(
    servers: tuple[LocalPostgres, LocalPostgres], connection: DatabaseWrapper
) -> None:
    found = asked(connection, NO_NULL, check("id > 0"))

    assert [(finding.answer.count, finding.answer.keys) for finding in found.findings] == [(2, ("7", "9")), (0, ())]
    assert found.summary().startswith("1 presumption asked of the live rows on a replica")
    there = "SELECT count(*) FROM pg_stat_statements WHERE query ~ 'migrator_key' AND query ~ 'IS NULL'"
    assert servers[1].psql(there, "rupaya") == "2"  # how many, and which


def test_what_a_standby_forbids_is_asked_on_the_primary_and_refused_there_too(connection: DatabaseWrapper) -> None:
    (finding,) = asked(connection, check("writes()")).findings

    assert "not asked, because the server says: cannot execute INSERT in a read-only transaction" in str(finding)


def test_a_question_that_recovery_cancels_is_asked_on_the_primary(
    servers: tuple[LocalPostgres, LocalPostgres], connection: DatabaseWrapper
) -> None:
    primary, standby = servers
    url = primary.url()

    def disturb() -> None:
        wait_for(
            lambda: standby.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0",
            "the standby to be asked",
        )
        # The replay of this lock ends whatever reads the table there.
        query(url, "BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE; ALTER TABLE items SET (fillfactor = 90); COMMIT")

    thread = threading.Thread(target=disturb)
    thread.start()
    found = asked(connection, check("slowly() OR id > 0"), NO_NULL)
    thread.join()

    cancelled = "SELECT confl_lock + confl_snapshot > 0 FROM pg_stat_database_conflicts WHERE datname = 'rupaya'"
    wait_for(lambda: standby.psql(cancelled) == "t", "the statistics to have it")
    assert [finding.answer.count for finding in found.findings] == [0, 2], list(found.lines())


def test_a_standby_that_is_cut_off_is_not_believed(
    servers: tuple[LocalPostgres, LocalPostgres], connection: DatabaseWrapper
) -> None:
    primary, standby = servers
    conninfo = standby.psql("SHOW primary_conninfo")
    standby.psql("ALTER SYSTEM SET primary_conninfo = ''")
    standby.psql("SELECT pg_reload_conf()")
    try:
        wait_for(lambda: standby.psql("SELECT count(*) FROM pg_stat_wal_receiver") == "0", "the standby to be alone")
        query(primary.url(), "UPDATE items SET name = NULL WHERE id = 8")

        found = asked(connection, NO_NULL)
    finally:
        quoted = conninfo.replace("'", "''")
        standby.psql(f"ALTER SYSTEM SET primary_conninfo = '{quoted}'")
        standby.psql("SELECT pg_reload_conf()")
        query(primary.url(), "UPDATE items SET name = 'x' WHERE id = 8")

    assert (found.source, found.findings[0].answer.count) == ("", 3)


def use(url: str) -> Use:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        (found,) = uses(connection, [OWED], watch_s=25 * 3600)
        return found


def test_a_report_on_the_standby_is_a_use(
    servers: tuple[LocalPostgres, LocalPostgres], connection: DatabaseWrapper, settings: Any
) -> None:
    primary, standby = servers
    with closing(psycopg2.connect(primary.url())) as raw:
        raw.autocommit = True
        keep_baseline(raw, [OWED])
    query(primary.url(), "UPDATE migrator_use_baselines SET taken_at = taken_at - interval '26 hours'")
    unseen = use(primary.url())
    send(standby.url(), "SELECT label FROM items")
    seen = use(primary.url())
    settings.MIGRATOR_REPLICA = ""
    nobody_asks = use(primary.url())

    assert unseen.answer == NOT_SEEN, unseen.lines
    assert seen.answer == IN_USE
    assert "SELECT label FROM items on the replica" in seen.lines[0]
    assert nobody_asks.answer == CANNOT_SAY
    assert nobody_asks.lines == (
        "walreceiver is a copy of this server, and what is sent there cannot be seen from here",
    )


def test_a_replica_that_does_not_answer_leaves_it_unsaid(
    servers: tuple[LocalPostgres, LocalPostgres], connection: DatabaseWrapper, settings: Any
) -> None:
    settings.MIGRATOR_REPLICA = "gone"
    with connected(servers[1].url(), "gone", HOST="/nowhere"):
        found = use(servers[0].url())

    assert found.answer == CANNOT_SAY
    assert any("the replica could not be asked" in line for line in found.lines)
