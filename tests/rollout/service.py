"""What ECS does with a service, on one machine: start new tasks, wait for health, drain and stop the old."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.containers import SECRET_KEY, SOCKET_DIR, Container, free_port, hardening
from tests.image.engine import Engine
from tests.rollout.balancer import Balancer

TASKS = 2
# ECS' circuit breaker gives up after this many failed tasks at the least.
FAILURES_BEFORE_GIVING_UP = 3
GRACE_PERIOD_S = 120
STOP_TIMEOUT_S = 30
POLL_S = 0.1
# Of a task beside as many others of 100: 5 of 105 requests.
CANARY_WEIGHT = 5


@dataclass
class Task:
    """A container of a release, where the load balancer keeps it, and how it ended."""

    name: str
    release: str
    container: Container
    slot: int = 0
    exit_code: int | None = None
    ready_after_s: float | None = None
    log: str = ""


class RolloutFailed(Exception):
    """The circuit breaker has given up; the old tasks serve as if nothing had been."""


@dataclass
class Service:
    """The service's tasks, and the verbs that change them."""

    engine: Engine
    balancer: Balancer
    socket_dir: Path
    database: str
    serving: list[Task] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    def deploy(self, image: str, release: str, canary: Callable[[], bool] | None = None) -> float:
        """Roll a release out: twice as many tasks for a while, never fewer. Returns how long that took.

        With a canary, the new tasks get 5 % of the requests first, and the rest if it returns true.

        Raises:
            RolloutFailed: after the old tasks have been left as they were.
        """
        weight = 100 if canary is None else CANARY_WEIGHT
        began = time.monotonic()
        new = [self._start(image, release) for _ in range(TASKS)]
        failures = 0
        try:
            while not all(task.ready_after_s is not None for task in new):
                assert time.monotonic() - began < GRACE_PERIOD_S, self.logs(new)
                for index, task in enumerate(new):
                    if task.ready_after_s is None and self._has_ended(task):
                        failures += 1
                        if failures >= FAILURES_BEFORE_GIVING_UP:
                            raise RolloutFailed(self.logs([task]))
                        new[index] = self._start(image, release)
                    elif task.ready_after_s is None and self.balancer.is_healthy(task.slot):
                        task.ready_after_s = task.container.age_s()
                        self.balancer.send_traffic(task.slot, weight)
                time.sleep(POLL_S)
            if canary is not None and not canary():
                raise RolloutFailed("the canary was taken back")
            for task in new:
                self.balancer.send_traffic(task.slot)
        except RolloutFailed:
            for task in new:
                if task.exit_code is None:
                    self.stop(task)
            raise
        old, self.serving = self.serving, new
        for task in old:
            self.stop(task)
        return time.monotonic() - began

    def stop(self, task: Task) -> None:
        """As ECS does: out of the load balancer first, then SIGTERM, then SIGKILL."""
        self.balancer.drain(task.slot)
        self.engine("stop", f"--time={STOP_TIMEOUT_S}", task.container.name)
        assert self._has_ended(task)

    def stop_all(self) -> None:
        """End what still runs, for the end of the rehearsal."""
        for task in self.serving:
            self.stop(task)
        self.serving = []
        self.engine.remove([task.container.name for task in self.tasks])

    def run(self, image: str, release: str, *command: str, **variables: str) -> Task:
        """A one-off task, which no load balancer knows; returns when it has ended."""
        options = ("--entrypoint=dumb-init", *(f"--env={key}={value}" for key, value in variables.items()))
        container = self._container(image, options, ("--", "python", "manage.py", *command))
        task = Task(f"{release} {' '.join(command)}", release, container)
        self.tasks.append(task)
        task.exit_code = container.exit_status()
        task.log = container.logs()
        return task

    @staticmethod
    def logs(tasks: Sequence[Task]) -> str:
        return "\n".join(f"--- {task.name}\n{task.log or task.container.logs()}" for task in tasks)

    def _start(self, image: str, release: str) -> Task:
        container = self._container(image)
        number = sum(task.release == release for task in self.tasks) + 1
        task = Task(f"{release} #{number}", release, container, slot=self.balancer.register(container.port))
        self.tasks.append(task)
        return task

    def _container(self, image: str, options: tuple[str, ...] = (), command: tuple[str, ...] = ()) -> Container:
        port = free_port()
        name = f"rupaya-rollout-{port}-{len(self.tasks)}"
        variables = {
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": "localhost",
            "DATABASE_URL": f"postgresql://rupaya@/{self.database}?host={SOCKET_DIR}&sslmode=disable",
            "PORT": str(port),
            "WEB_CONCURRENCY": "1",
            "LOG_FORMAT": "text",
        }
        self.engine(
            "run", "--detach", f"--name={name}", "--network=host", f"--volume={self.socket_dir}:{SOCKET_DIR}",
            *hardening(self.engine),
            *(f"--env={key}={value}" for key, value in variables.items()), *options, image, *command,
        )  # fmt: skip
        return Container(self.engine, name, port)

    def _has_ended(self, task: Task) -> bool:
        if task.exit_code is None and not task.container.is_running():
            task.exit_code = task.container.exit_status()
            task.log = task.container.logs()
            self.balancer.forget(task.slot)
        return task.exit_code is not None
