"""Processes that start in a hundredth of a second: forks of one Python that has loaded Django and the migrator already.

Starting Python and loading Django takes longer than most migrations of a test. Here that is done once for each process
that runs tests; a fork of it is a real process with connections, signals and an end of its own. It knows no settings
and no app before it is forked, so each is of whatever project its environment names.

`python -m tests.warm SOCKET` serves until its standard input ends; `python(…)` and `Fork` below ask it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests import processes
from tests.patience import HANGING_S

SET_AFTERWARDS = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
GROUNDWORK = (
    "django.apps",
    "django.contrib.postgres.operations",
    "django.core.management.commands.makemigrations",
    "django.core.management.commands.migrate",
    "django.core.management.commands.showmigrations",
    "django.db.backends.postgresql.base",
    "django.db.models",
)

_servers: dict[int, _Server] = {}
_starting = threading.Lock()


def python(
    *arguments: str, cwd: Path = processes.PROJECT, answer: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end as `processes.python` does, in a fork where that comes to the same."""
    return run(arguments, processes.inherited(**variables), cwd, answer)


def run(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """As `python`, with exactly these variables."""
    if not comes_to_the_same(env):
        return processes.run(arguments, env, cwd, answer)
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        asked.write(answer.encode())
        asked.seek(0)
        fork = Fork(arguments, env, cwd, asked.fileno(), output.fileno(), errors.fileno())
        status = fork.wait(HANGING_S)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(fork.args, status, output.read().decode(), errors.read().decode())


def start(arguments: Sequence[str], env: Mapping[str, str], output: int) -> subprocess.Popen[bytes] | Fork:
    """Start Python in the project's folder, with nothing to read; all that it says goes into one file."""
    with open(os.devnull, "rb") as nothing:
        if comes_to_the_same(env):
            return Fork(arguments, env, processes.PROJECT, nothing.fileno(), output, output)
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, cwd=processes.PROJECT, env=env, stdin=nothing, stdout=output, stderr=output)


def comes_to_the_same(env: Mapping[str, str]) -> bool:
    """Whether a fork is as a new Python would be: started with the same variables, and nothing counts its lines."""
    warm_one = read_at_start(processes.inherited())
    return read_at_start(env) == warm_one and not any(name.startswith("COVERAGE_") for name in env)


def read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter reads when it starts, but for those that a fork can still follow."""
    return {name: value for name, value in env.items() if name.startswith("PYTHON") and name not in SET_AFTERWARDS}


class _Server:
    """The process that is forked, for as long as this one lives."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rupaya-warm-")
        self.address = str(Path(self._folder.name) / "socket")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", self.address],
            cwd=processes.PROJECT,
            env=processes.inherited(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        atexit.register(self.stop)

    def stop(self) -> None:
        """End it; what it has forked goes on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(HANGING_S)
        self._folder.cleanup()


class Fork:
    """A Python with its own arguments, environment and files, as `subprocess.Popen` is one, as far as tests ask it."""

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, stdin: int, stdout: int, stderr: int
    ) -> None:
        self.args = [sys.executable, *arguments]
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(HANGING_S)
        self._connection.connect(_server().address)
        request = json.dumps([list(arguments), dict(env), str(cwd)]).encode()
        socket.send_fds(self._connection, [len(request).to_bytes(8)], [stdin, stdout, stderr])
        self._connection.sendall(request)
        self.pid = self._told()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative after a signal.

        Raises:
            TimeoutExpired: if it does not end; it is killed then.
        """
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = self._told()
            except TimeoutError:
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._connection.close()
        return self.returncode

    def _told(self) -> int:
        """What the process that waits for it tells: its id first, its status when it has ended."""
        told = self._connection.recv(8, socket.MSG_WAITALL)
        if len(told) != 8:
            raise ConnectionError("whoever waits for the process is gone")
        return int.from_bytes(told, signed=True)

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        if self.returncode is None and self.has_told():
            self.wait()
        return self.returncode

    def has_told(self) -> bool:
        """Whether the exit status is there to be read."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def _server() -> _Server:
    """The one that this process has started."""
    with _starting:
        if os.getpid() not in _servers:
            _servers[os.getpid()] = _Server()
        return _servers[os.getpid()]


def serve(address: str) -> None:
    """Fork a process for each command until standard input ends; returns in the process that is to run one."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a command
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            raise SystemExit
        connection, _address = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection)
            return
        connection.close()


def _attend(connection: socket.socket) -> None:
    """Read a command, fork, and tell how the fork ended; returns in the fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    start, files, _flags, _address = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as asked:
        arguments, env, cwd = json.loads(asked.read(int.from_bytes(start)))
    if pid := os.fork():
        connection.sendall(pid.to_bytes(8, signed=True))
        for file in files:
            os.close(file)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its id stays its own until whoever asked knows
        assert ended is not None
        status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        with suppress(OSError):  # whoever asked may be gone
            connection.sendall(status.to_bytes(8, signed=True))
            connection.recv(1)
        os.waitpid(pid, 0)
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=bool(env.get("PYTHONUNBUFFERED")))
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    os.chdir(cwd)
    first = str(Path(arguments[0]).absolute().parent) if is_script(arguments) else cwd
    sys.path[:1] = [first, *(env["PYTHONPATH"].split(os.pathsep) if env.get("PYTHONPATH") else [])]
    sys.argv = arguments if is_script(arguments) else [arguments[0], *arguments[2:]]
    sys.orig_argv = [sys.executable, *arguments]


def is_script(arguments: Sequence[str]) -> bool:
    """Whether a file is to be run, not a module or a line."""
    return not arguments[0].startswith("-")


def load() -> None:
    """Load what any project's commands need, and nothing that asks for settings or for apps."""
    for name in GROUNDWORK:
        importlib.import_module(name)
    import rupaya.migrator as package

    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.ispkg and ".management." not in module.name:
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Serve; then, in a fork, be the process that was asked for."""
    load()
    serve(sys.argv[1])
    what, *_rest = arguments = sys.orig_argv[1:]
    if what == "-c":
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as `python -c` would
    elif what == "-m":
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    main()
