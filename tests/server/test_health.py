"""Probes and the status page, asked over HTTP as a load balancer and a person would."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rupaya.probepaths import PROBES
from tests.conftest import with_server
from tests.faults.migrator import query
from tests.server.service import PROJECT, Service, manage

GOOD_SECRET = "k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN"


@pytest.fixture
def production(migrated_url: str) -> Iterator[Service]:
    """The service as production runs it, but for TLS to the database: the test server speaks none."""
    with Service(
        RUPAYA_ENV="production",
        SECRET_KEY=GOOD_SECRET,
        ALLOWED_HOSTS="api.example.com",
        DATABASE_URL=migrated_url,
        RELEASE="v7-abc1234",
        GIT_SHA="abc1234",
    ) as service:
        service.wait_until_ready()
        yield service


@pytest.mark.parametrize("host", ["api.example.com", "10.0.3.17:8000", "no such host", ""])
def test_probes_answer_whatever_the_host_and_never_redirect(production: Service, host: str) -> None:
    for path in PROBES:
        for method in ("GET", "HEAD"):
            response = production.request(path, method, {"Host": host})

            assert response.status == 200
            assert bool(response.body) == (method == "GET")
        assert production.request(path, "POST").status == 405


def test_a_probe_tells_the_release_and_no_secret(production: Service, migrated_url: str) -> None:
    response = production.request("/health/ready")

    body = response.json()
    assert (body["release"], body["git_sha"]) == ("v7-abc1234", "abc1234")
    assert body["migrations"]["pending"] == body["migrations"]["unknown"] == 0
    url = urlsplit(migrated_url)
    for secret in (GOOD_SECRET, url.path.strip("/"), url.query):
        assert secret.encode() not in response.body


def test_everything_else_is_redirected_to_https_in_production(production: Service) -> None:
    response = production.request("/admin/login/", headers={"Host": "api.example.com"})

    assert response.status == 301
    assert response.headers["Location"] == "https://api.example.com/admin/login/"


def test_live_stays_and_ready_goes_when_the_database_is_away(migrated_url: str, server_url: str) -> None:
    name = urlsplit(migrated_url).path.strip("/")
    with Service(DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()
        with_server(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        with_server(
            server_url, f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
        )

        unready = service.poll("/health/ready", lambda response: response.status == 503)
        assert unready is not None
        assert unready.json()["reason"] == "the database does not answer"
        assert name.encode() not in unready.body
        assert service.request("/health/live").status == 200

        with_server(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert service.wait_until_ready().status == 200


def test_a_frozen_database_hangs_no_probe(migrated_url: str) -> None:
    with Service(DATABASE_URL=migrated_url, RELEASE="frozen") as service:
        service.wait_until_ready()
        asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'release frozen health'"
        ((backend,),) = query(migrated_url, asked)  # one connection, however many probes there were
        if not Path(f"/proc/{backend}").exists():
            pytest.skip("the server is on another machine, so it cannot be frozen")
        os.kill(backend, signal.SIGSTOP)
        try:
            began = time.monotonic()
            unready = service.poll("/health/ready", lambda response: response.status == 503)
            noticed_s = time.monotonic() - began
            assert unready is not None
            assert unready.json()["reason"] == "the database has not answered for more than 2 s"
            assert noticed_s < 4
            began = time.monotonic()
            for _ in range(20):
                assert service.request("/health/ready").status == 503
                assert service.request("/health/live").status == 200
            assert time.monotonic() - began < 2
        finally:
            os.kill(backend, signal.SIGCONT)
        assert service.wait_until_ready().status == 200
        assert query(migrated_url, asked) == [(backend,)]


def test_ready_goes_when_something_this_code_needs_is_unapplied(migrated_url: str) -> None:
    with Service(DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()
        with_server(migrated_url, "DELETE FROM django_migrations WHERE name = '0001_groups'")

        unready = service.poll("/health/ready", lambda response: response.status == 503)

        assert unready is not None
        assert unready.json()["migrations"]["pending"] == 1


def test_the_admin_login_page_has_its_styles(migrated_url: str) -> None:
    with Service(DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()

        page = service.request("/admin/login/")
        assert page.status == 200
        assert b"admin/css/base.css" in page.body
        assert service.request("/static/admin/css/base.css").status == 200


def test_the_status_page_is_for_staff(migrated_url: str) -> None:
    with Service(DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()

        anonymous = service.request("/health/?format=json")
        assert (anonymous.status, anonymous.headers["Location"]) == (302, "/admin/login/?next=/health/%3Fformat%3Djson")

        cookie = session_cookie(migrated_url)
        page = service.request("/health/", headers={"Cookie": cookie})
        report = service.request("/health/?format=json", headers={"Cookie": cookie})
        assert page.status == 200
        assert report.status == 200
        assert report.json()["checks"] == dict.fromkeys(("Database", "Migrations", "LastRun", "Disk", "Release"), "OK")
        assert report.json()["migrations"]["pending"] == 0
        assert report.json()["last_run"]["outcome"] == "succeeded"
        assert report.json()["disk"]["free_bytes"] > 0
        assert re.search(
            rb'<a href="/admin/schema/runs/\d+/">Run \d+</a>: <code>migrate</code>.*, succeeded in [\d.]+ s', page.body
        )
        assert b'<th scope="row">Last run</th>' in page.body
        metrics = service.request("/health/?format=openmetrics", headers={"Cookie": cookie}).body.decode()
        assert 'django_health_check_status{check="Migrations"} 1' in metrics
        assert 'rupaya_migration_last_run{rupaya_migration_last_run="succeeded"} 1' in metrics
        assert metrics.endswith("# EOF\n")
        assert metrics.count("# EOF") == 1
        assert service.request("/health/", headers={"Cookie": cookie, "Accept": "nonsense"}).status == 400
        assert (
            "text/plain" in service.request("/health/?format=text", headers={"Cookie": cookie}).headers["Content-Type"]
        )


def test_a_scraper_with_the_token_reads_figures_and_nobody_else_does(migrated_url: str) -> None:
    with Service(DATABASE_URL=migrated_url, METRICS_TOKEN="scrape me", RELEASE='v7 "x"') as service:
        service.wait_until_ready()

        scraped = service.request("/metrics", headers={"Host": "10.0.3.17", "Authorization": "Bearer scrape me"})
        assert scraped.status == 200
        figures = dict(line.rsplit(" ", 1) for line in scraped.body.decode().splitlines() if not line.startswith("#"))
        assert int(figures['rupaya_migrations{state="applied"}']) > 20
        assert figures['rupaya_migrations{state="pending"}'] == "0"
        assert figures["rupaya_database_up"] == "1"
        assert figures['rupaya_migration_last_run{rupaya_migration_last_run="succeeded"}'] == "1"
        assert float(figures["rupaya_migration_last_run_duration_seconds"]) > 0
        assert figures['rupaya_release_info{release="v7 \\"x\\"",git_sha="unknown"}'] == "1"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}):
            assert service.request("/metrics", headers=headers).status == 404


def test_without_a_token_set_there_are_no_metrics(production: Service) -> None:
    headers = {"Host": "api.example.com", "X-Forwarded-Proto": "https", "Authorization": "Bearer "}
    assert production.request("/metrics", headers=headers).status == 404


def session_cookie(migrated_url: str) -> str:
    """Log a new member of staff in, without the form."""
    script = """
from django.contrib.auth import get_user_model
from django.test import Client
user = get_user_model().objects.create_superuser(email="operator@example.com")
client = Client()
client.force_login(user)
print(client.cookies["sessionid"].value)
"""
    made = manage(PROJECT, "shell", "--no-imports", "-c", script, DATABASE_URL=migrated_url)
    assert made.returncode == 0, made.stderr
    return f"sessionid={made.stdout.strip()}"


def test_a_command_without_its_development_database_says_how_to_start_it() -> None:
    environ = dict.fromkeys(("DATABASE_URL", "DB_HOST"), "")
    if (PROJECT / ".data" / "socket" / ".s.PGSQL.5432").exists():
        pytest.skip("the development database of this folder is running")

    shown = manage(PROJECT, "showmigrations", RUPAYA_ENV="development", **environ)

    assert shown.returncode == 1
    assert "Start it with 'make run'" in shown.stderr
    assert "Traceback" not in shown.stderr
