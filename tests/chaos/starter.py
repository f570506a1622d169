"""Starts migrators quickly: a process that has imported Django and forks a child for each command that it is told."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# What a command imports in any case, and that does not read the settings: of those, each child has its own.
PRELOADED = (
    "psycopg2.extras",
    "django.core.management.commands.migrate",
    "django.core.management.commands.showmigrations",
    "django.db.backends.postgresql.base",
    "django.contrib.postgres.operations",
    "django_pg_migration_tools.operations",
    "rupaya.migrator.management.commands.migrate",
    "rupaya.migrator.management.commands.showmigrations",
    "rupaya.migrator.operations",
)


class Process:
    """A command that was started: its output so far, and how it ended."""

    def __init__(self, pid: int, output: Path, what: str) -> None:
        self.pid = pid
        self.path = output
        self.what = what
        self.status: int | None = None

    @property
    def output(self) -> str:
        return self.path.read_text(errors="replace") if self.path.exists() else ""

    def kill(self, number: int) -> None:
        """Send a signal, if it is still there."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Starter:
    """The driver's side of it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.starter", str(theirs.fileno())],
            cwd=PROJECT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._read = b""
        self._answers: list[dict[str, int]] = []
        self._running: dict[int, Process] = {}

    def start(self, arguments: list[str], env: dict[str, str], output: Path, what: str) -> Process:
        """Start a management command; its output goes to a file."""
        request = {"arguments": arguments, "env": env, "output": str(output)}
        self._ours.sendall(json.dumps(request).encode() + b"\n")
        while not (started := [answer for answer in self._answers if "started" in answer]):
            self._receive(None)
        self._answers = [answer for answer in self._answers if "started" not in answer]
        process = Process(started[0]["started"], output, what)
        self._running[process.pid] = process
        return process

    def poll(self) -> None:
        """Learn which processes have ended."""
        self._receive(0)
        for answer in self._answers:
            if "ended" in answer and answer["ended"] in self._running:
                self._running.pop(answer["ended"]).status = answer["status"]
        self._answers = [answer for answer in self._answers if "started" in answer]

    def close(self) -> None:
        """End it."""
        self._ours.close()
        self._process.wait()

    def _receive(self, timeout_s: float | None) -> None:
        while select.select([self._ours], [], [], timeout_s)[0]:
            received = self._ours.recv(65536)
            if not received:
                raise RuntimeError("the starter ended")
            self._read += received
            *lines, self._read = self._read.split(b"\n")
            self._answers += [json.loads(line) for line in lines]
            if timeout_s is None and self._answers:
                return


def serve(channel: socket.socket) -> None:
    """Fork a child for each request until the driver has gone."""
    for name in PRELOADED:
        importlib.import_module(name)
    waker, woken = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    read = b""
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            reap(channel)
        if channel in ready:
            received = channel.recv(65536)
            if not received:
                return
            read += received
            *lines, read = read.split(b"\n")
            for line in lines:
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for opened in (channel, waker, woken):
                        opened.close()
                    run(**json.loads(line))
                channel.sendall(json.dumps({"started": pid}).encode() + b"\n")


def reap(channel: socket.socket) -> None:
    """Tell of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            answer = {"ended": pid, "status": os.waitstatus_to_exitcode(status)}
            channel.sendall(json.dumps(answer).encode() + b"\n")


def run(arguments: list[str], env: dict[str, str], output: str) -> None:
    """Be the command; never returns."""
    code = 1
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ.clear()
        os.environ.update(env)
        sys.path[:0] = env["PYTHONPATH"].split(os.pathsep)
        sys.argv = ["manage.py", *arguments]
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
