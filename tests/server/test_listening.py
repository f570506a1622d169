"""What the server could not listen on, or not begin with, is known before a release migrates."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rupaya.environment import Environment
from tests.faults.migrator import query
from tests.patience import HANGING_S
from tests.server.service import PROJECT, Service, copy_release, release_environment


def start(
    *server: str, script: Sequence[str] = ("./entrypoint.sh",), **variables: str
) -> subprocess.CompletedProcess[str]:
    """The entrypoint with that server, which is expected to end by itself."""
    return subprocess.run(
        [*script, *server],
        cwd=PROJECT,
        env=release_environment(PROJECT) | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=HANGING_S,
        check=False,
    )


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize("address", ["203.0.113.7", "unix:/tmp/rupaya.sock", "[::1", pytest.param("ü" * 80, id="ü")])
def test_an_address_that_nothing_can_listen_on_stops_it_before_it_migrates(database_url: str, address: str) -> None:
    ended = start("gunicorn", "rupaya.wsgi", DATABASE_URL=database_url, BIND_ADDRESS=address)

    assert ended.returncode == 16, ended.stdout
    assert f"BIND_ADDRESS={address!r} PORT=8000: the server could not listen there (" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert query(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_a_port_that_is_taken_stops_it_before_it_migrates(database_url: str, taken_port: str) -> None:
    ended = start("gunicorn", "rupaya.wsgi", DATABASE_URL=database_url, PORT=taken_port)

    assert ended.returncode == 16, ended.stdout
    assert "Stop what listens there, or set another PORT." in ended.stdout
    assert query(database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "variables"),
    [
        (["true"], {}),
        (["gunicorn", "--check-config", "--bind=127.0.0.1:0", "rupaya.wsgi"], {}),
        (["gunicorn", "--check-config", "--config=gunicorn.conf.py", "rupaya.wsgi"], {}),
        (["gunicorn", "--check-config", "rupaya.wsgi"], {"GUNICORN_CMD_ARGS": "--bind=127.0.0.1:0"}),
    ],
)
def test_a_server_that_listens_elsewhere_is_not_asked_about(
    migrated_url: str, taken_port: str, server: list[str], variables: dict[str, str]
) -> None:
    ended = start(*server, DATABASE_URL=migrated_url, PORT=taken_port, **variables)

    assert ended.returncode == 0, ended.stdout


@pytest.mark.slow
def test_who_migrates_by_hand_beside_a_server_needs_no_port(migrated_url: str, taken_port: str) -> None:
    ended = start("python", "manage.py", "check", DATABASE_URL=migrated_url, PORT=taken_port)

    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_number_of_workers_is_one_that_is_not_set(migrated_url: str, empty: str) -> None:
    with Service(DATABASE_URL=migrated_url, WEB_CONCURRENCY=empty) as service:
        service.wait_until_ready()


def test_an_entrypoint_that_is_called_by_another_name_finds_its_code(migrated_url: str, tmp_path: Path) -> None:
    (tmp_path / "start").symlink_to(PROJECT / "entrypoint.sh")

    ended = start("true", script=[str(tmp_path / "start")], DATABASE_URL=migrated_url)

    assert ended.returncode == 0, ended.stdout


def test_an_entrypoint_is_not_led_astray_by_cdpath(migrated_url: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()

    ended = start("true", script=["sh", "tests/../entrypoint.sh"], DATABASE_URL=migrated_url, CDPATH=str(tmp_path))

    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(("written", "meant"), [("[::1]", "::1"), ("::", "::"), (" 127.0.0.1\n", "127.0.0.1")])
def test_an_address_may_be_written_as_in_a_url(written: str, meant: str) -> None:
    assert Environment({"BIND_ADDRESS": written}).bind_address == meant


@pytest.mark.slow
def test_ctrl_c_while_the_server_loads_its_code_leaves_no_traceback(migrated_url: str, tmp_path: Path) -> None:
    tree = copy_release(tmp_path / "slow")
    with (tree / "rupaya" / "wsgi.py").open("a") as wsgi:
        wsgi.write('\nprint("loading", flush=True)\nimport time\ntime.sleep(600)\n')
    with Service(tree, DATABASE_URL=migrated_url) as service:
        deadline = time.monotonic() + HANGING_S
        while "loading" not in service.output:
            assert time.monotonic() < deadline, service.output
            time.sleep(0.05)

        service.signal(signal.SIGINT)

        assert service.process.wait(HANGING_S) == -signal.SIGINT
        assert "Traceback" not in service.output


@pytest.mark.slow
def test_ctrl_c_in_a_command_leaves_no_traceback(migrated_url: str) -> None:
    code = "print('begun', flush=True); import time; time.sleep(600)"
    with subprocess.Popen(
        ["python", "manage.py", "shell", "--no-imports", "-c", code],
        cwd=PROJECT,
        env=release_environment(PROJECT) | {"DATABASE_URL": migrated_url},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "begun\n"
        command.send_signal(signal.SIGINT)

        assert command.stdout.read() == ""
        assert command.wait(HANGING_S) == 130
