"""The log of a container in production, as a collector gets it: the real entrypoint, migrate, gunicorn and Django."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import new_database
from tests.faults.migrator import wait_for
from tests.patience import HANGING_S
from tests.server.logs import matches, parsed
from tests.server.releases import BEHIND_TLS, PRODUCTION
from tests.server.service import PROJECT, Service, copy_release, free_port, manage

TASK = "0123456789abcdef0123456789abcdef"
IN_PRODUCTION = PRODUCTION | {"ECS_CONTAINER_METADATA_URI_V4": f"http://169.254.170.2/v4/{TASK}-527074092"}
CRASHING_VIEW = """

def crash(request):
    import warnings
    warnings.warn("beware of\\nthis")
    raise RuntimeError("first line\\nsecond line \\u2028 third \\x85 fourth")


urlpatterns.append(path("crash/", crash))
"""

RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text().split("## The first administrator")[0]
PATTERNS = sorted(
    {shlex.split(line)[-1].split("=", 1)[1] for line in RUNBOOK.splitlines() if "--filter-pattern=" in line}
)
(INSIGHTS,) = (text for language, text in re.findall(r"```(\w*)\n(.*?)```", RUNBOOK, re.DOTALL) if not language)
QUERIES = INSIGHTS.split("\n\n")


@pytest.fixture(scope="module")
def first_deployment(server_url: str) -> str:
    """All that a container wrote from its first line to its last, on an empty database."""
    with new_database(server_url) as url, Service(**IN_PRODUCTION, DATABASE_URL=url) as service:
        service.wait_until_ready()
        service.request("/nowhere/", headers=BEHIND_TLS)
        service.signal(signal.SIGTERM)
        assert service.process.wait(HANGING_S) == 0
        return service.output


@pytest.fixture(scope="module")
def production(production_release: Path, module_url: str) -> Iterator[Service]:
    with Service(production_release, **IN_PRODUCTION, DATABASE_URL=module_url) as service:
        service.wait_until_ready()
        yield service


def access(service: Service, start: str) -> list[dict[str, Any]]:
    """The access log's lines of requests for what begins so; awaited, for they are written after the answer is sent."""

    def found() -> list[dict[str, Any]]:
        return [line for line in parsed(service.output) if line.get("path", "").startswith(start)]

    lines: list[dict[str, Any]] = wait_for(found, f"a line about {start}")
    return lines


def test_every_line_from_the_first_migration_to_the_last_goodbye_is_one_object(first_deployment: str) -> None:
    lines = parsed(first_deployment)

    for line in lines:
        assert {"message", "time", "level", "logger", "release", "task"} <= set(line), line
        assert (line["release"], line["task"]) == ("v7-abc1234", TASK)
        taken = datetime.fromisoformat(line["time"])
        assert taken.utcoffset() == timedelta(0)
        assert abs(taken - datetime.now(UTC)) < timedelta(minutes=5)
    messages = [line["message"] for line in lines]
    said = [
        next(index for index, message in enumerate(messages) if message.startswith(start))
        for start in (
            "Running database migrations...",
            "Using environment: production",
            "Batch 1 run: ",
            "✓ accounts.0001_initial (",
            "Starting server...",
            "Starting gunicorn",
            "GET /nowhere/ 404",
        )
    ]
    assert said == sorted(said)


@pytest.mark.parametrize(
    "pattern", ["Running database migrations", '"Running database migrations"', "migration", '"✓"', '"Batch 1 run"']
)
def test_the_originals_filter_patterns_still_find_what_they_did(first_deployment: str, pattern: str) -> None:
    found = [event for event in first_deployment.splitlines() if matches(pattern, event)]

    assert found, pattern
    assert all(json.loads(event)["logger"] == "migration" for event in found)
    if pattern == "migration":
        messages = [json.loads(event)["message"] for event in found]
        assert messages[0] == "Running database migrations..."
        assert messages[-1] == "Starting server..."


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_the_runbook_searches_for_is_in_the_log(first_deployment: str, pattern: str) -> None:
    lines = parsed(first_deployment)

    if not pattern.startswith("{"):
        assert any(matches(pattern, event) for event in first_deployment.splitlines())
        return
    compared = re.findall(r'\$\.(\w+) = "([^"]+)"', pattern)
    assert len(compared) == pattern.count("$.")
    for name, value in compared:
        said = {str(line[name]) for line in lines if name in line}
        assert said, name
        assert value in logging.getLevelNamesMapping() if name == "level" else name == "request_id"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.splitlines()[0].lstrip("# "))
def test_what_the_runbook_asks_of_the_log_is_in_it(first_deployment: str, query: str) -> None:
    lines = parsed(first_deployment)
    names = {name for line in lines for name in line} | {"exc_info"}  # nothing failed here
    steps = [step.strip() for line in query.splitlines() if not line.startswith("#") for step in line.split("|")]
    shown = [step.removeprefix("fields ").split(", ") for step in steps if step.startswith("fields ")]
    filters = " and ".join(step.removeprefix("filter ") for step in steps if step.startswith("filter "))
    grouped = [step.rsplit(" by ", 1)[1] for step in steps if step.startswith("stats ")]
    by = [name for text in grouped for name in re.sub(r",? ?bin\(\w+\)", "", text).split(", ")]
    measured = [name for step in steps for name in re.findall(r"pct\((\w+),", step)]

    asked = [name for names_shown in shown for name in names_shown] + by + measured
    assert set(asked) | set(re.findall(r"(\w+) (?:=|!=|in) ", filters)) <= names
    for logger in re.findall(r'logger = "([\w.]+)"', filters):
        assert any(line["logger"] == logger for line in lines), logger
    for level in re.findall(r'"([A-Z]+)"', "".join(re.findall(r"level in \[(.*?)\]", filters))):
        assert level in logging.getLevelNamesMapping()


def test_a_failing_migration_is_told_in_lines_too(migrated_url: str, failing_release: Path) -> None:
    with Service(failing_release, **IN_PRODUCTION, MIGRATE_PHASE="all", DATABASE_URL=migrated_url) as service:
        assert service.wait_until_ended() == 13
        lines = parsed(service.output)

    errors = [line["message"] for line in lines if line["level"] == "ERROR"]
    assert any("there_is_no_such_table" in message for message in errors)
    assert errors[-1] == "Migrations failed with exit status 13; the server was not started."
    assert all(line["logger"] == "migration" for line in lines)


def test_a_killed_migration_is_told_in_lines_too(migrated_url: str, tmp_path: Path) -> None:
    tree = copy_release(tmp_path / "killed")
    (tree / "manage.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")

    with Service(tree, **IN_PRODUCTION, DATABASE_URL=migrated_url) as service:
        assert service.wait_until_ended() == 137
        assert parsed(service.output)[-1]["message"] == (
            "Migrations failed with exit status 137; the server was not started."
        )


@pytest.mark.parametrize("command", [("./entrypoint.sh", "gunicorn", "rupaya.wsgi"), ("gunicorn", "rupaya.wsgi")])
def test_a_refused_environment_is_told_in_lines_too(migrated_url: str, command: tuple[str, ...]) -> None:
    with Service(command=command, **IN_PRODUCTION | {"SECRET_KEY": "short"}, DATABASE_URL=migrated_url) as service:
        assert service.wait_until_ended() == 16
        lines = parsed(service.output)

    assert any("SECRET_KEY is a default or too weak" in line["message"] for line in lines)


@pytest.mark.parametrize("command", [("./entrypoint.sh", "gunicorn", "rupaya.wsgi"), ("gunicorn", "rupaya.wsgi")])
def test_code_that_cannot_even_be_loaded_is_told_in_lines_too(
    migrated_url: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    tree = copy_release(tmp_path / "broken")
    (tree / "accounts" / "models.py").write_text("def broken(:\n")
    (tree / "accounts" / "migrations" / "0100_new.py").write_text("def broken(:\n")

    with Service(tree, command, **IN_PRODUCTION, DATABASE_URL=migrated_url) as service:
        assert service.wait_until_ended() != 0
        lines = parsed(service.output)

    assert any("SyntaxError" in line.get("exc_info", "") for line in lines), lines


def test_a_crashing_view_leaves_its_traceback_on_one_line_with_its_request(
    migrated_url: str, production_release: Path, tmp_path: Path
) -> None:
    tree = shutil.copytree(production_release, tmp_path / "crashing")
    with (tree / "rupaya" / "urls.py").open("a") as urls:
        urls.write(CRASHING_VIEW)
    with Service(tree, **IN_PRODUCTION, DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()
        trace = {"X-Amzn-Trace-Id": "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678"}
        response = service.request("/crash/?token=hush", headers=BEHIND_TLS | trace)
        lines = parsed(service.output)
        (logged,) = access(service, "/crash/")

        assert response.status == 500
        assert b"RuntimeError" not in response.body
        (error,) = [line for line in lines if line["logger"] == "django.request" and line["level"] == "ERROR"]
        assert "RuntimeError: first line\nsecond line \u2028 third \x85 fourth" in error["exc_info"]
        (warning,) = [line for line in lines if line["logger"] == "py.warnings"]
        assert "beware of\nthis" in warning["message"]
        assert (
            error["request_id"]
            == logged["request_id"]
            == warning["request_id"]
            == "1-67891233-abcdef012345678912345678"
        )
        assert response.headers["X-Request-Id"] == error["request_id"]
        assert "hush" not in service.output


def test_the_access_log_tells_who_asked_for_what_and_no_secret(production: Service) -> None:
    production.request(
        "/admin/login/?next=/admin/&token=hush1",
        headers=BEHIND_TLS
        | {
            "Authorization": "Bearer hush2",
            "Cookie": "sessionid=hush3",
            "Referer": "https://api.example.com/?token=hush4",
            "User-Agent": "Mozilla/5.0 \u00a0(Test)",
            "X-Forwarded-For": "203.0.113.9",
        },
    )
    line = access(production, "/admin/login/")[0]

    assert (line["method"], line["status"], line["client"]) == ("GET", 200, "203.0.113.9")
    assert line["message"].startswith("GET /admin/login/ 200 ")
    assert line["bytes"] > 0
    assert line["duration_ms"] > 0
    assert len(line["request_id"]) >= 16
    assert "hush" not in production.output


@pytest.mark.parametrize("trace", ["", "Root=a b", "Root=" + "x" * 500, 'Root="; DROP', "Self=1"])
def test_a_request_without_a_usable_trace_is_given_an_id(production: Service, trace: str) -> None:
    response = production.request("/admin/login/", headers=BEHIND_TLS | {"X-Amzn-Trace-Id": trace})

    assert len(response.headers["X-Request-Id"]) == 24


def test_a_healthy_probe_is_not_worth_a_line_and_an_unhealthy_one_is(production: Service) -> None:
    for path in ("/health/live", "/health/ready", "/health/ready/", "/health/live?x=1"):
        assert production.request(path).status == 200
    production.request("/health/ready", "POST")

    assert [line["status"] for line in access(production, "/health")] == [405]


def test_migrate_by_hand_tells_an_unexpected_error_on_one_line(migrated_url: str, tmp_path: Path) -> None:
    tree = copy_release(tmp_path / "broken")
    (tree / "rupaya" / "migrator" / "run" / "order.py").write_text("raise RuntimeError('one\\ntwo')")

    ran = manage(tree, "migrate", "--retry-failed", **IN_PRODUCTION, DATABASE_URL=migrated_url)

    assert ran.returncode == 1
    (line,) = parsed(ran.stderr)
    assert line["message"] == "RuntimeError: one\ntwo"
    assert "Traceback" in line["exc_info"]


@pytest.mark.parametrize(
    "arguments", ["rollback", "attic list", "schemadiff", "showmigrations --audit --check", "adopt --plan"]
)
def test_a_command_by_hand_tells_its_errors_in_lines_too(arguments: str) -> None:
    nobody = f"postgresql://rupaya:hush@127.0.0.1:{free_port()}/rupaya"

    ran = manage(PROJECT, *arguments.split(), **IN_PRODUCTION, DATABASE_URL=nobody, MIGRATE_DB_WAIT_S="1")

    assert ran.returncode == 10
    *waiting, error = [line for output in (ran.stdout, ran.stderr) for line in parsed(output)]
    assert error["level"] == "ERROR"
    assert "could not be reached within 1 s" in error["message"]
    assert {line["level"] for line in waiting} <= {"INFO", "WARNING"}
    assert not any(line["message"].startswith("{") for line in waiting)


def test_text_is_for_people(migrated_url: str) -> None:
    with Service(LOG_FORMAT="text", DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()
        assert service.output.startswith("Running database migrations...\nUsing environment: test\n")
        phrases = [pattern for pattern in PATTERNS if pattern.startswith('"')]
        assert phrases
        assert all(matches(pattern, service.output) for pattern in phrases)
        assert "Starting server...\n" in service.output


def test_the_entrypoint_escapes_what_would_break_its_lines() -> None:
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **IN_PRODUCTION,
        "RELEASE": 'v7 "beta"\n',
        "DEBUG": "1",
    }
    ran = subprocess.run(
        ["./entrypoint.sh", "true"],
        cwd=PROJECT,
        env=environ,
        text=True,
        capture_output=True,
        timeout=HANGING_S,
        check=False,
    )

    assert ran.returncode == 16
    assert parsed(ran.stdout)[0]["release"] == "v7??beta??"
    assert parsed(ran.stderr)


def test_the_entrypoint_without_a_server_to_start_does_nothing() -> None:
    ran = subprocess.run(["./entrypoint.sh"], cwd=PROJECT, env={}, text=True, capture_output=True, check=False)

    assert (ran.returncode, ran.stderr) == (16, "")
    assert "no server to start" in ran.stdout
    assert "Running database migrations" not in ran.stdout
