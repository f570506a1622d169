"""Fixtures of the tests of what makemigrations writes."""

from __future__ import annotations

import subprocess

import pytest

from tests.migrator.authoring.project import Project


@pytest.fixture(scope="module")
def _deployed(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> Project:
    return Project.make(tmp_path_factory.mktemp("shop"), server_url)


@pytest.fixture
def project(_deployed: Project) -> Project:
    """The project as it is deployed."""
    subprocess.run(["git", "clean", "-fdqx"], cwd=_deployed.folder, check=True)
    _deployed.git("checkout", "--quiet", ".")
    return _deployed
