"""The heartbeat of `migrate`, and the container's health check that looks at it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psycopg2
import pytest

from rupaya.migrator.session import heartbeat, heartbeatfile
from rupaya.migrator.session.heartbeat import Heartbeat
from tests.faults.migrator import query, wait_for
from tests.server.service import Service

BEAT_EVERY_S = 0.02


@pytest.fixture
def beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", BEAT_EVERY_S)
    return tmp_path / "heartbeat"


def beats_on(file: Path) -> bool:
    """Whether another beat comes within ten times the time that it should take."""
    last = file.stat().st_mtime_ns if file.exists() else 0
    deadline = time.monotonic() + 10 * BEAT_EVERY_S
    while time.monotonic() < deadline:
        if file.exists() and file.stat().st_mtime_ns > last:
            return True
        time.sleep(BEAT_EVERY_S / 2)
    return False


def test_it_beats_while_the_lock_connection_answers_and_not_while_it_does_not(beats: Path, server_url: str) -> None:
    beating = Heartbeat(str(beats))
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    backend = connection.info.backend_pid
    if not Path(f"/proc/{backend}").exists():
        pytest.skip("the server is on another machine, so it cannot be frozen")
    with beating.beating():
        assert wait_for(lambda: beats_on(beats), "it beats before there is a connection")
        with beating.following(connection):
            assert beats_on(beats)
            os.kill(backend, signal.SIGSTOP)
            try:
                wait_for(lambda: not beats_on(beats), "it stops when the server is frozen")
            finally:
                os.kill(backend, signal.SIGCONT)
            wait_for(lambda: beats_on(beats), "it goes on with the server")
            query(server_url, "SELECT pg_terminate_backend(%s)", backend)
            wait_for(lambda: not beats_on(beats), "it stops when the connection is lost")
    connection.close()


def test_it_stops_past_the_deadline(beats: Path, server_url: str) -> None:
    beating = Heartbeat(str(beats))
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    with beating.beating(), beating.following(connection):
        beating.stop_after(0.2)
        assert wait_for(lambda: beats_on(beats), "it beats at first")
        wait_for(lambda: not beats_on(beats), "it stops past the deadline")
    connection.close()


def test_after_the_end_it_counts_until_the_server_can_have_started_and_no_longer(beats: Path) -> None:
    with Heartbeat(str(beats)).beating():
        wait_for(beats.exists, "it beats")

    left_s = heartbeatfile.FRESH_S - heartbeatfile.age_s(str(beats))
    assert heartbeat.AFTERGLOW_S - 2 < left_s <= heartbeat.AFTERGLOW_S
    assert heartbeatfile.age_s(str(beats.with_name("none"))) == float("inf")


def test_it_follows_no_link_and_an_unwritable_file_stops_no_migration(beats: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    beats.symlink_to(target)

    with Heartbeat(str(beats)).beating():
        time.sleep(5 * BEAT_EVERY_S)  # nothing can be polled where nothing must happen

    assert not target.exists()


def test_the_health_check_passes_while_a_long_migration_runs(
    migrated_url: str, slow_release: Path, tmp_path: Path
) -> None:
    file = tmp_path / "heartbeat"
    with Service(slow_release, DATABASE_URL=migrated_url, MIGRATE_HEARTBEAT_FILE=str(file)) as service:
        sleeping = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(60)%%' AND pid <> pg_backend_pid() "
            "AND datname = current_database()"  # another test's may be on the same server
        )
        wait_for(lambda: query(migrated_url, sleeping), "the migration runs")
        wait_for(file.exists, "a beat")
        first = file.stat().st_mtime_ns

        assert service.health().returncode == 0
        assert "migrating" in service.health().stdout
        assert not service.port_is_open()
        wait_for(lambda: file.stat().st_mtime_ns > first, "another beat")

        os.utime(file, (0, 0))
        service.signal(signal.SIGSTOP)  # a stalled one does not beat
        assert service.health().returncode == 1
        service.signal(signal.SIGCONT)
