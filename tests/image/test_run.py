"""Containers of the image from outside: how they start, serve, refuse and stop."""

from __future__ import annotations

import gzip
import re
import time

import pytest

from rupaya.environment import EXIT_CODE_ENVIRONMENT_REFUSED
from rupaya.localdb import LocalPostgres
from tests.image.conftest import GIT_SHA, RELEASE
from tests.image.containers import SECRET_KEY, Container, StartContainer
from tests.image.engine import Engine

# A cold build downloads every dependency.
pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

BEHIND_TLS = {"X-Forwarded-Proto": "https"}


def test_an_empty_database_is_migrated_and_then_served(
    start: StartContainer, empty_database: str, postgres: LocalPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start(empty_database).wait_until_ready()
    applied = postgres.psql("SELECT count(*) FROM django_migrations", empty_database)
    second = start(empty_database).wait_until_ready()
    with capsys.disabled():
        print(f"\nfrom start to ready: {first:.2f} s with {applied} migrations to apply, {second:.2f} s with none")
    assert int(applied) > 0
    assert postgres.psql("SELECT count(*) FROM django_migrations", empty_database) == applied


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_name_the_release(serving: Container, path: str) -> None:
    response = serving.get(path, headers={"Host": "10.0.0.1"})
    assert response.status == 200
    assert response.json["release"] == RELEASE
    assert response.json["git_sha"] == GIT_SHA


def test_plain_http_is_sent_to_https(serving: Container) -> None:
    response = serving.get("/admin/login/")
    assert response.status == 301
    assert response.headers["location"] == "https://localhost/admin/login/"


def test_static_files_are_compressed_and_named_by_their_hash(serving: Container) -> None:
    page = serving.get("/admin/login/", headers=BEHIND_TLS)
    assert page.status == 200
    found = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page.body.decode())
    assert found, page.body.decode()
    stylesheet = serving.get(found[1], headers=BEHIND_TLS | {"Accept-Encoding": "gzip"})
    assert stylesheet.status == 200
    assert stylesheet.headers["content-encoding"] == "gzip"
    assert "immutable" in stylesheet.headers["cache-control"]
    assert b"body" in gzip.decompress(stylesheet.body)


def test_dumb_init_is_the_first_process(serving: Container) -> None:
    assert serving.execute("cat", "/proc/1/cmdline").split("\0")[:2] == ["dumb-init", "--"]


def test_whoever_gets_into_the_server_cannot_read_what_the_first_process_was_told(serving: Container) -> None:
    script = (
        "import pathlib\n"
        "try: print(pathlib.Path('/proc/1/environ').read_text())\n"
        "except PermissionError: print('refused')"
    )
    assert serving.execute("python", "-c", script).strip() == "refused"


def test_the_server_has_replaced_the_shell(serving: Container) -> None:
    script = (
        "import pathlib; print([p.read_text().split(chr(0))[:2] for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')])"
    )
    processes = serving.execute("python", "-c", script)
    assert "gunicorn" in processes
    assert "entrypoint.sh']" not in processes


def test_it_runs_without_root_capabilities_or_a_way_to_gain_them(serving: Container) -> None:
    status = dict(
        line.split(":\t", 1) for line in serving.execute("cat", "/proc/1/status").splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert status["NoNewPrivs"].strip() == "1"


def test_its_root_filesystem_is_read_only(serving: Container) -> None:
    mounts = serving.execute("cat", "/proc/1/mounts").splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")
    assert "ro" in root[3].split(",")


def test_it_is_healthy_while_it_serves(engine: Engine, serving: Container) -> None:
    assert engine.health(serving.name) == 0


def test_it_is_unhealthy_while_it_does_not(engine: Engine, start: StartContainer) -> None:
    container = start("rupaya", options=("--entrypoint=sleep",), command=("60",))
    assert engine.health(container.name) != 0


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("postgresql://rupaya@/there_is_no_such_database?host=/run/postgresql", id="database"),
        pytest.param("postgresql://nobody_known@/rupaya?host=/run/postgresql", id="user"),
    ],
)
def test_a_database_that_refuses_is_never_served(start: StartContainer, address: str) -> None:
    container = start("", DATABASE_URL=f"{address}&sslmode=disable")
    listened = False
    while container.is_running() and container.age_s() < 90:
        listened = listened or container.is_listening()
    assert container.exit_status() != 0
    assert not listened
    assert "Starting server" not in container.logs()


def test_without_a_secret_key_it_says_so_and_ends(start: StartContainer) -> None:
    container = start("rupaya", SECRET_KEY=None)
    assert container.exit_status() == EXIT_CODE_ENVIRONMENT_REFUSED
    logs = container.logs()
    assert "SECRET_KEY is not set" in logs
    assert "Traceback" not in logs


def test_a_server_that_may_write_nowhere_is_known_before_it_migrates(start: StartContainer) -> None:
    container = start("rupaya", options=("--tmpfs=/dev/shm:ro",))

    assert container.exit_status() == EXIT_CODE_ENVIRONMENT_REFUSED
    logs = container.logs()
    assert "No folder can be written to" in logs
    assert "Traceback" not in logs


def test_any_place_to_write_will_do(start: StartContainer) -> None:
    start("rupaya", options=("--tmpfs=/dev/shm:ro", "--tmpfs=/tmp:rw,mode=1777")).wait_until_ready()


def test_a_stop_is_quick_and_clean(engine: Engine, start: StartContainer, capsys: pytest.CaptureFixture[str]) -> None:
    container = start("rupaya")
    container.wait_until_ready()
    began = time.monotonic()
    engine("kill", "--signal=TERM", container.name)
    status = container.exit_status()
    took_s = time.monotonic() - began
    with capsys.disabled():
        print(f"\nfrom SIGTERM to the end: {took_s:.2f} s")
    assert status == 0, container.logs()
    assert took_s < 10
    assert not container.is_listening()
    logs = container.logs()
    assert "Traceback" not in logs
    assert SECRET_KEY not in logs


def test_in_development_mode_the_same_image_shows_the_admin_without_tls(start: StartContainer) -> None:
    container = start("rupaya", RUPAYA_ENV="development", SECRET_KEY=None, ALLOWED_HOSTS=None)
    container.wait_until_ready()
    page = container.get("/admin/login/")
    assert page.status == 200
    found = re.search(r'href="(/static/admin/css/base[^"]*\.css)"', page.body.decode())
    assert found
    assert container.get(found[1]).status == 200
