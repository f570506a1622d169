"""Containers of the production image, hardened as they are in production, and the questions that tests ask of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.image.engine import Engine
from tests.server.service import free_port

SECRET_KEY = "image-test-only-Zk3vQ9w1Xr7Lm2Np8Ty5Ub4Hc6Gd0Fe-do-not-use"
SOCKET_DIR = "/run/postgresql"
# What the task definition says, and nothing that it does not: what passes here must pass there.
TASK = json.loads((Path(__file__).parents[2] / "infra" / "container.json").read_text())


def hardening(engine: Engine) -> tuple[str, ...]:
    """The options that make a container what ECS makes of it."""
    options = [
        f"--user={TASK['user']}",
        f"--stop-timeout={TASK['stopTimeout']}",
        *(f"--cap-drop={name}" for name in TASK["linuxParameters"]["capabilities"]["drop"]),
        *(f"--tmpfs={mount['containerPath']}" for mount in TASK["linuxParameters"].get("tmpfs", [])),
    ]
    if TASK["readonlyRootFilesystem"]:
        # Fargate gives a read-only task no /tmp; podman would, unasked. /dev/shm is there on both.
        options += ["--read-only"]
        options += ["--read-only-tmpfs=false", "--tmpfs=/dev/shm:rw,mode=1777"] if engine.is_podman else []
    return (*options, "--security-opt=no-new-privileges")


START_TIMEOUT_S = 30


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


@dataclass
class Container:
    """A container, running or ended, that is to serve on `port` of this machine."""

    engine: Engine
    name: str
    port: int
    started_at: float = field(default_factory=time.monotonic)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": "localhost"} | (headers or {}))
            response = connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def wait_until_ready(self) -> float:
        """Poll readiness until it is 200; returns the seconds since the container was started."""
        answer = "nothing"
        while self.age_s() < START_TIMEOUT_S:
            try:
                response = self.get("/health/ready")
            except (OSError, http.client.HTTPException) as error:
                answer = str(error)
                if not self.is_running():
                    break
            else:
                if response.status == 200:
                    return self.age_s()
                answer = f"{response.status} {response.body.decode()}"
            time.sleep(0.02)
        pytest.fail(f"The container did not become ready: {answer}\n{self.logs()[-4000:]}")

    def age_s(self) -> float:
        return time.monotonic() - self.started_at

    def is_running(self) -> bool:
        return self.engine("inspect", "--format={{.State.Running}}", self.name).strip() == "true"

    def is_listening(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def execute(self, *command: str) -> str:
        """Run a command in it and return what that prints."""
        return self.engine("exec", self.name, *command)

    def exit_status(self) -> int:
        """Wait for its end."""
        return int(self.engine("wait", self.name).strip())

    def logs(self) -> str:
        """What it printed, to either stream."""
        return subprocess.run(
            [self.engine.program, "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout


StartContainer = Callable[..., Container]


@contextlib.contextmanager
def started_containers(engine: Engine, image: str, socket_dir: Path) -> Iterator[StartContainer]:
    """Gives a function that starts containers, and removes them all at the end."""
    names: list[str] = []

    def start(
        database: str, *, command: tuple[str, ...] = (), options: tuple[str, ...] = (), **variables: str | None
    ) -> Container:
        """Start a container in production mode on a database; variables that are None are left out."""
        name = f"rupaya-image-test-{uuid.uuid4().hex[:8]}"
        port = free_port()
        environment = {
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": "localhost",
            "DATABASE_URL": f"postgresql://rupaya@/{database}?host={SOCKET_DIR}&sslmode=disable",
            "PORT": str(port),
        } | variables
        arguments = [f"--env={key}={value}" for key, value in environment.items() if value is not None]
        names.append(name)
        # A test may mount something else where a task has memory.
        replaced = any("/dev/shm" in option for option in options)
        hard = [option for option in hardening(engine) if not (replaced and "/dev/shm" in option)]
        container = Container(engine, name, port)
        engine(
            "run", "--detach", f"--name={name}", "--network=host", f"--volume={socket_dir}:{SOCKET_DIR}",
            *hard, *arguments, *options, image, *command,
        )  # fmt: skip
        return container

    try:
        yield start
    finally:
        if names:
            engine.remove(names)
