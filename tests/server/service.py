"""A release of the service, run as a container runs it: the real entrypoint.sh, gunicorn, and HTTP from outside."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import processes, warm
from tests.patience import HANGING_S
from tests.processes import PROJECT, inherited

RELEASE_FILES = ("manage.py", "gunicorn.conf.py", "entrypoint.sh", "schema.sql", "rupaya", "accounts", "transactions")
START_TIMEOUT_S = HANGING_S


@dataclass(frozen=True)
class Response:
    """An HTTP response, read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def copy_release(destination: Path) -> Path:
    """Copy the code as an image holds it, for a test to turn into an older or newer release."""
    for name in RELEASE_FILES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            destination.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination / name)
    return destination


def last_migration(app: str, tree: Path = PROJECT) -> str:
    """The name of an app's last migration, after which another one comes."""
    return (tree / app / "migrations" / "max_migration.txt").read_text().strip()


def release_environment(tree: Path, **variables: str) -> dict[str, str]:
    """The environment of a container that holds `tree`."""
    env = inherited(RUPAYA_ENV="test", PYTHONUNBUFFERED="1", WEB_CONCURRENCY="1")
    if tree != PROJECT:  # only this tree's lines count for coverage
        env = {name: value for name, value in env.items() if not name.startswith("COVERAGE_")}
    env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if "DATABASE_URL" in os.environ:
        env["DATABASE_URL"] = os.environ["DATABASE_URL"]
    return env | variables


def manage(tree: Path, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` of a release; this one's is forked."""
    run = warm.run if tree == PROJECT else processes.run
    return run(["manage.py", *arguments], release_environment(tree, **variables), tree, stdin)


class Service:
    """`entrypoint.sh gunicorn rupaya.wsgi` in a process group of its own; a context manager that always ends it."""

    def __init__(
        self,
        tree: Path = PROJECT,
        command: Sequence[str] = ("./entrypoint.sh", "gunicorn", "rupaya.wsgi"),
        **variables: str,
    ) -> None:
        self.port = free_port()
        self.tree = tree
        self.variables = variables
        self._output_path = Path(os.environ.get("TMPDIR", "/tmp")) / f"rupaya-service-{os.getpid()}-{self.port}.log"
        self._output = self._output_path.open("wb")
        self.process = subprocess.Popen(
            command,
            cwd=tree,
            env=release_environment(tree, PORT=str(self.port), **variables),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(HANGING_S)
        self._output.close()
        self._output_path.unlink()

    @property
    def output(self) -> str:
        """Everything written so far, as the log collector sees it."""
        return self._output_path.read_text()

    def signal(self, number: int) -> None:
        """Signal the whole group, as dumb-init does."""
        os.killpg(self.process.pid, number)

    def request(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        source: str = "127.0.0.1",
    ) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGING_S, source_address=(source, 0))
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def wait_until_ready(self) -> Response:
        """Poll readiness; fails with the output if the service ends or takes too long."""
        response = self.poll("/health/ready", lambda response: response.status == 200)
        assert response is not None, f"not ready after {START_TIMEOUT_S} s:\n{self.output}"
        return response

    def poll(self, path: str, accept: Any, timeout_s: float = START_TIMEOUT_S) -> Response | None:
        """Ask until `accept(response)` holds; None after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            try:
                response = self.request(path)
            except (OSError, http.client.HTTPException):
                pass
            else:
                if accept(response):
                    return response
            time.sleep(0.05)
        return None

    def wait_until_ended(self, timeout_s: float = START_TIMEOUT_S) -> int:
        """The exit status; asserts all along that the port stays closed."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running after {timeout_s} s:\n{self.output}"
            assert not self.port_is_open(), f"the port was opened:\n{self.output}"
            time.sleep(0.02)
        return self.process.returncode

    def health(self) -> subprocess.CompletedProcess[str]:
        """Run the container's own health check."""
        return subprocess.run(
            [sys.executable, "-m", "rupaya.health.command"],
            cwd=self.tree,
            env=release_environment(self.tree, PORT=str(self.port), **self.variables),
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )

    def port_is_open(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    """A TCP port that nothing listens on.

    Below the range that the kernel gives to clients: one that polls a closed port may otherwise be given that very
    port, and connect to itself.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as server:
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
