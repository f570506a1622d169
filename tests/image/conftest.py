"""The image, built once from the tree as it is, and containers of it beside a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rupaya.localdb import LocalPostgres
from tests.image.containers import Container, StartContainer, started_containers
from tests.image.engine import Engine, EngineError, find_engine
from tests.plugin import SERVER_SETTINGS

PROJECT = Path(__file__).resolve().parent.parent.parent
TAG = "rupaya:image-test"
GIT_SHA = "0123456789abcdef0123456789abcdef01234567"
RELEASE = "9.8.7"


@pytest.fixture(scope="session")
def engine() -> Engine:
    if sys.platform != "linux":
        pytest.skip("containers share the machine's network and sockets on Linux only")
    found = find_engine()
    if found is None:
        pytest.skip("neither docker with BuildKit nor podman with buildah works on this machine")
    return found


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The production image's tag."""
    engine.build(PROJECT, TAG, target="production", arguments={"GIT_SHA": GIT_SHA, "RELEASE": RELEASE})
    try:
        engine("run", "--rm", "--network=none", "--entrypoint=true", TAG)
    except EngineError as error:
        if os.environ.get("CI"):  # where a skip would be a green light
            raise
        pytest.skip(f"{engine.program} builds images on this machine but runs no containers: {str(error)[-300:]}")
    return TAG


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalPostgres]:
    """A server whose socket the container's user can reach, where the suite's own lets in nobody else."""
    root = Path(tempfile.mkdtemp(prefix="rupaya-image-", dir="/tmp"))
    root.chmod(0o755)
    server = LocalPostgres(root / "data", root / "socket", SERVER_SETTINGS | {"unix_socket_permissions": "0777"})
    server.start()
    server.socket_dir.chmod(0o755)
    yield server
    server.stop("immediate")
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def empty_database(postgres: LocalPostgres) -> Iterator[str]:
    """The name of a new database that belongs to the service's role."""
    name = f"image_{uuid.uuid4().hex[:12]}"
    postgres.psql(f'CREATE DATABASE "{name}" OWNER rupaya')
    yield name
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def start(engine: Engine, image: str, postgres: LocalPostgres) -> Iterator[StartContainer]:
    """A function that starts containers, which are removed after the test."""
    with started_containers(engine, image, postgres.socket_dir) as start_container:
        yield start_container


@pytest.fixture(scope="session")
def serving(engine: Engine, image: str, postgres: LocalPostgres) -> Iterator[Container]:
    """A container that serves, for the tests that only look."""
    with started_containers(engine, image, postgres.socket_dir) as start_container:
        container: Container = start_container("rupaya")
        container.wait_until_ready()
        yield container
