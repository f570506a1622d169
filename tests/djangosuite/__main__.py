"""`make django-test`: Django's own tests that execute `migrate`, `makemigrations` or `showmigrations`, with
ours in their place.

Django's sdist is fetched by the version that is locked. Each test runs in a process and with databases of its own, for
a test that stops half-way would take others down with it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django

from rupaya.localdb import LocalPostgres
from tests.djangosuite.differences import EXPECTED

SERVER_SETTINGS = {"fsync": "off", "max_connections": "100"}

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".venv" / "django-suite"
MODULES = (
    "migrations/test_commands.py",
    "migrate_signals/tests.py",
    "swappable_models/tests.py",
    "proxy_model_inheritance/tests.py",
    "multiple_database/tests.py",
    "contenttypes_tests/test_operations.py",
    "postgres_tests/test_array.py",
    "backends/base/test_creation.py",
)
COMMANDS = {"makemigrations", "migrate", "showmigrations"}
SETTINGS = """
import os
from test_sqlite import *  # Django's own, whose defaults change with its versions
def _database(name):
    return {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["SUITE_NAME"] + name,
            "USER": "postgres", "HOST": os.environ["SUITE_HOST"]}
DATABASES = {"default": _database(""), "other": _database("_other")}
"""


def suite() -> Path:
    """Django's sdist, unpacked, with the migrator among the apps that its tests always install."""
    version = django.get_version()
    tree = CACHE / f"django-{version}"
    if tree.is_dir():
        return tree / "tests"
    CACHE.mkdir(parents=True, exist_ok=True)
    locked = f"django=={version}"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary=:all:",
            f"--dest={CACHE}",
            locked,
        ],
        check=True,
    )
    (archive,) = CACHE.glob(f"[dD]jango-{version}.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(CACHE, filter="data")
    runner = tree / "tests" / "runtests.py"
    text = runner.read_text()
    runner.write_text(text.replace("ALWAYS_INSTALLED_APPS = [", 'ALWAYS_INSTALLED_APPS = [\n    "rupaya.migrator",', 1))
    return tree / "tests"


def tests(folder: Path) -> Iterator[str]:
    """The names of the tests whose text, or whose class's `setUp`, executes one of the commands."""
    for module in MODULES:
        tree = ast.parse((folder / module).read_text())
        for case in (node for node in tree.body if isinstance(node, ast.ClassDef)):
            methods = [node for node in case.body if isinstance(node, ast.FunctionDef)]
            shared = any(_executes(method) for method in methods if not method.name.startswith("test"))
            for method in methods:
                if method.name.startswith("test") and (shared or _executes(method)):
                    yield f"{module.removesuffix('.py').replace('/', '.')}.{case.name}.{method.name}"


def _executes(method: ast.FunctionDef) -> bool:
    return any(
        (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "call_command"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value in COMMANDS
        )
        or (isinstance(node, ast.Attribute) and node.attr == "create_test_db")
        for node in ast.walk(method)
    )


def run(folder: Path, name: str, host: str) -> tuple[str, bool, str]:
    """Run one test; its name, whether it passed, and its output."""
    env = os.environ | {
        "PYTHONPATH": f"{PROJECT}:{folder}:{CACHE}",
        "SUITE_HOST": host,
        "SUITE_NAME": f"suite_{uuid.uuid4().hex[:12]}",
    }
    ran = subprocess.run(
        [sys.executable, "runtests.py", "--settings=suite_settings", "--parallel=1", "--verbosity=0", name],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    output = ran.stdout + ran.stderr
    return name, ran.returncode == 0 and bool(re.search(r"Ran [1-9]", output)), output


def main() -> int:
    """Print what failed and was not expected to, and what passed and was; 1 if there is any of either."""
    folder = suite()
    (folder / "suite_settings.py").write_text(SETTINGS)
    root = CACHE / f"server-{os.getpid()}"
    root.mkdir()
    root.chmod(0o755)
    socket = Path("/tmp") / f"django-suite-{os.getpid()}"
    server = LocalPostgres(root / "data", socket, SERVER_SETTINGS)
    server.start()
    try:
        names = sorted(set(tests(folder)))
        chosen = [name for name in names if not sys.argv[1:] or any(part in name for part in sys.argv[1:])]
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda name: run(folder, name, str(socket)), chosen))
    finally:
        server.stop("immediate")
    failed = {name: output for name, passed, output in results if not passed}
    for name, output in failed.items():
        if name not in EXPECTED:
            print(f"--- {name}\n{output[-3000:]}")
    surprising = [name for name in EXPECTED if name in chosen and name not in failed]
    for name in surprising:
        print(f"{name} passes now: take it out of tests/djangosuite/differences.py")
    expected = sum(name in EXPECTED for name in failed)
    print(f"{len(results) - len(failed)} passed, {len(failed) - expected} failed, {expected} fail as expected")
    return 1 if surprising or len(failed) > expected else 0


if __name__ == "__main__":
    sys.exit(main())
