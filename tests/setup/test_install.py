"""Installing installs what the locks pin, whatever an index offers today and however old pip is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.patience import HANGING_S
from tests.setup.index import NEWER, Index

PROJECT = Path(__file__).parents[2]
LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))
# The Makefile's own, and those that each installs.
TARGETS = {".test": "test.txt", ".dev": "dev.txt", ".browser": "browser.txt", "infra/.done": "infra.txt"}
# Everything else that tells somebody, or a machine, to install a lock.
OTHERS = ["Dockerfile", *(str(path.relative_to(PROJECT)) for path in (PROJECT / ".github" / "workflows").glob("*.yml"))]
OTHERS += [str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").glob("*.md")] + ["README.md"]
# What the first release of each Python brings.
OLDEST_PIP = {(3, 11): "22.3", (3, 12): "23.2.1", (3, 13): "24.2"}


def commands() -> list[tuple[str, str]]:
    """Each `pip install` of a lock outside the Makefile: the file, and the command with the lines that continue it."""
    found = []
    for name in OTHERS:
        text = (PROJECT / name).read_text().replace("\\\n", " ")
        found += [(name, line) for line in re.findall(r"pip (?:--python \S+ )?install [^&\n]*requirements/.*", text)]
    return found


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    index = Index(LOCKS)
    with index.serve():
        yield index


@pytest.fixture
def clone(tmp_path: Path, index: Index) -> Path:
    """What installing reads, its locks rewritten to the stand-ins' hashes."""
    for name in ("requirements", ".ci", "tests/browser"):
        (tmp_path / name).mkdir(parents=True)
    for lock in LOCKS:
        index.write_lock(lock.name, tmp_path / "requirements" / lock.name)
    shutil.copy(PROJECT / "Makefile", tmp_path)
    if (PROJECT / ".ci" / "install").exists():
        shutil.copy(PROJECT / ".ci" / "install", tmp_path / ".ci")
    (tmp_path / "tests" / "browser" / "chromium.py").write_text("")
    return tmp_path


@pytest.fixture
def environ(index: Index) -> dict[str, str]:
    """An environment in which pip knows that index and nothing else."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE", "MFLAGS"))}
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**inherited, **alone, "PIP_INDEX_URL": index.url, "PYTHON": sys._base_executable}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python of its own with the oldest pip that this Python came with in any of its releases."""
    wanted = OLDEST_PIP[sys.version_info[:2]]
    folder = tmp_path_factory.mktemp("old")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), f"pip=={wanted}"]
    if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip(f"pip {wanted} cannot be had here: no package index answers")
    python = folder / "venv" / "bin" / "python"
    environ = dict(os.environ)
    run(sys._base_executable, "-m", "venv", str(folder / "venv"), cwd=folder, environ=environ)  # type: ignore[attr-defined]
    (wheel,) = folder.glob("pip-*.whl")
    run(str(python), "-m", "pip", "install", "--no-index", "--force-reinstall", str(wheel), cwd=folder, environ=environ)
    return python


def run(*command: str, cwd: Path, environ: dict[str, str]) -> str:
    # Generous: it only guards against hanging.
    ran = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=HANGING_S, check=False)
    assert ran.returncode == 0, f"{shlex.join(command)}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def installed(python: Path, environ: dict[str, str], *where: str) -> dict[str, str]:
    listed = run(str(python), "-m", "pip", "list", "--format=freeze", *where, cwd=python.parent, environ=environ)
    pairs = (line.split("==") for line in listed.splitlines())
    return {canonical(name): version for name, version in pairs if name not in ("pip", "setuptools", "wheel")}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(index: Index, *locks: str) -> dict[str, str]:
    """What those locks install here, the later ones over the earlier."""
    pins: dict[str, str] = {}
    for lock in locks:
        for pin in index.pins(lock):
            marker = Requirement(pin.line.replace("==", " ==")).marker
            if marker is None or marker.evaluate():
                pins[canonical(pin.name)] = pin.version
    return pins


@pytest.mark.slow
def test_what_the_makefile_installs_is_pinned(clone: Path, index: Index, environ: dict[str, str]) -> None:
    """With the pip that this Python brings."""
    for target, lock in TARGETS.items():
        run("make", f".venv/{target}", cwd=clone, environ=environ)
        shared = (clone / ".venv") if "/" not in target else (clone / ".venv" / "infra")
        before = list(TARGETS.values())[: list(TARGETS).index(target)] if "/" not in target else []
        assert installed(shared / "bin" / "python", environ) == pinned(index, *before, lock)


@pytest.mark.slow
def test_the_oldest_pip_installs_it_too(clone: Path, index: Index, environ: dict[str, str], old_python: Path) -> None:
    venv = old_python.parents[1]
    run("make", f"VENV={venv}", f"{venv}/.test", cwd=clone, environ=environ)
    assert installed(old_python, environ) == pinned(index, "test.txt")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_keeps_the_extras_that_were_asked_for(lock: Path) -> None:
    """Or whoever installs it without --no-deps has them resolved."""
    asked = re.findall(r"^([\w.-]+\[[\w,-]+\])", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert not [each for each in asked if f"{each}==" not in lock.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "command"), commands(), ids=lambda text: text.partition(" ")[0])
def test_every_other_command_that_installs_a_lock_does_likewise(
    file: str, command: str, clone: Path, index: Index, environ: dict[str, str], old_python: Path
) -> None:
    first, _, then = command.partition("&&")
    assert re.search(r"pip (--python \S+ )?check", then + _next_line(file, command)), f"{file}: no `pip check` follows"
    words = [word for word in shlex.split(re.sub(r"--python \S+ ", "", first)) if word != "--quiet"]
    target = ["--target", str(clone / "there")]
    run(str(old_python), "-m", *words, *target, cwd=clone, environ=environ)
    assert installed(old_python, environ, "--path", target[1]) == pinned(index, Path(words[-1]).name)


def _next_line(file: str, command: str) -> str:
    text = (PROJECT / file).read_text().replace("\\\n", " ")
    return text.partition(command)[2].split("\n")[1] if command in text else ""


@pytest.mark.slow
def test_the_index_would_tempt_a_pip_that_resolves(
    clone: Path, index: Index, environ: dict[str, str], old_python: Path
) -> None:
    """Or the tests above would prove nothing."""
    command = [
        "-m",
        "pip",
        "install",
        "--target",
        "there",
        "--require-hashes",
        "--requirement",
        "requirements/test.txt",
    ]
    ran = subprocess.run(
        [old_python, *command], cwd=clone, env=environ, capture_output=True, text=True, timeout=HANGING_S, check=False
    )
    assert ran.returncode != 0
    assert "In --require-hashes mode" in ran.stderr
    assert NEWER in run(str(old_python), "-m", "pip", "download", "packaging", cwd=clone, environ=environ)
