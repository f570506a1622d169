"""A fork of a Python that is warm already is what a new one would be."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import processes, warm
from tests.faults.migrator import wait_for

WHO = "import os, sys; print(sys.argv, os.getcwd(), os.environ.get('COLOUR'), input(), sys.path[0])"


def test_it_has_its_arguments_environment_folder_and_input(tmp_path: Path) -> None:
    for python in (processes.python, warm.python):
        ran = python("-c", WHO, "now", cwd=tmp_path, answer="yes\n", COLOUR="red")

        assert ran.stdout == f"['-c', 'now'] {tmp_path} red yes {tmp_path if python is warm.python else ''}\n", (
            ran.stderr
        )
        assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        ("raise SystemExit(16)", 16, ""),
        ("raise SystemExit('a sentence')", 1, "a sentence\n"),
        ("raise ValueError('no')", 1, "ValueError: no\n"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import atexit; atexit.register(print, 'ended')", 0, ""),
    ],
)
def test_it_ends_as_a_process_ends(line: str, status: int, error: str) -> None:
    forked, started = warm.python("-c", line), processes.python("-c", line)

    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout) == (status, forked.stdout)
    assert forked.stderr.endswith(error)
    assert ("Traceback" in forked.stderr) == ("Traceback" in started.stderr)


def test_it_knows_no_settings_and_no_app_before_it_is_told() -> None:
    known = "from django.conf import settings; from django.apps import apps; print(settings.configured, apps.ready)"

    assert warm.python("-c", known).stdout == "False False\n"


def test_a_module_and_a_file_are_run_as_the_main_one(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text("import sys; print(__name__, sys.argv[1:])")

    for arguments in (("-m", "shown"), ("shown.py",)):
        assert warm.python(*arguments, "x", cwd=tmp_path, PYTHONPATH="").stdout == "__main__ ['x']\n"


def test_one_that_python_would_start_otherwise_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    optimized = warm.python("-c", "import sys; print(sys.flags.optimize)", PYTHONOPTIMIZE="1")

    assert optimized.stdout == "1\n"


def test_it_takes_signals_and_is_killed_if_it_hangs() -> None:
    with open(os.devnull, "r+b") as nothing:
        files = [nothing.fileno()] * 3
        stopped = warm.Fork(["-c", "import time; time.sleep(999)"], processes.inherited(), Path.cwd(), *files)
        hanging = warm.Fork(["-c", "import time; time.sleep(999)"], processes.inherited(), Path.cwd(), *files)

        assert stopped.poll() is None
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait() == -signal.SIGTERM
        stopped.kill()  # nobody: its id may be another's by now
        with pytest.raises(subprocess.TimeoutExpired):
            hanging.wait(0.1)
        assert wait_for(hanging.poll) == -signal.SIGKILL


def test_its_id_is_its_own_until_it_has_been_waited_for() -> None:
    with open(os.devnull, "r+b") as nothing:
        ended = warm.Fork(["-c", "pass"], processes.inherited(), Path.cwd(), *[nothing.fileno()] * 3)
    stat = Path(f"/proc/{ended.pid}/stat")

    wait_for(ended.has_told, "the end to be told")
    os.kill(ended.pid, signal.SIGKILL)  # as `send_signal` would that looked just before the end

    assert stat.read_text().split()[2] == "Z"
    assert ended.wait() == 0
    wait_for(lambda: not stat.exists(), "the process to be gone")


def test_the_one_that_is_forked_ends_with_whoever_started_it() -> None:
    starts = (
        "import os; from tests import warm; print(warm.python('-c', 'pass').returncode, warm._server().process.pid, "
        "flush=True); os._exit(0)"
    )
    status, pid = processes.python("-c", starts).stdout.split()

    assert status == "0"
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
