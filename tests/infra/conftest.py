"""AWS on loopback, for Terraform and for the deployment alike; whatever is missing here is a skip with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.infra import moto_server, terraform
from tests.infra.staging import deployed, site, staging  # noqa: F401 - fixtures

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": moto_server.REGION,
    "AWS_REGION": moto_server.REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    # What loopback refuses is refused for good; the 25 tries that the provider has by itself would hide it for minutes.
    "AWS_MAX_ATTEMPTS": "3",
}


@contextmanager
def aws_on_loopback() -> Iterator[moto_server.Aws]:
    """An empty AWS on loopback, which every SDK in this process and its children takes for the real one."""
    pytest.importorskip("moto", reason="moto is installed by `make infra-test`")
    with moto_server.running() as aws, pytest.MonkeyPatch.context() as monkeypatch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": aws.url}).items():
            monkeypatch.setenv(name, value)
        yield aws


@pytest.fixture
def aws() -> Iterator[moto_server.Aws]:
    """`aws_on_loopback`, for one test."""
    with aws_on_loopback() as aws:
        yield aws


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> terraform.Applied:
    """Both roots' life in an AWS that is gone by now; minutes long, for the provider waits as it would for AWS."""
    with aws_on_loopback() as aws:
        return terraform.whole_life(aws, tmp_path_factory.mktemp("applied"))
