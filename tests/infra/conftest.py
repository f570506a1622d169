"""AWS on loopback, for Terraform and for the deployment alike; whatever is missing here is a skip with its reason."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra import moto_server

PROJECT = Path(__file__).resolve().parents[2]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": moto_server.REGION,
    "AWS_REGION": moto_server.REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def require(program: str, reason: str = "is not installed") -> str:
    """The path of a program, beside this Python or on PATH; without it the test is skipped."""
    found = shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{program} {reason}")
    return found


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[moto_server.Aws]:
    """An empty AWS on loopback, which every SDK in this process and its children takes for the real one."""
    pytest.importorskip("moto", reason="moto is installed by `make infra-test`")
    with moto_server.running() as aws:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": aws.url}).items():
            monkeypatch.setenv(name, value)
        yield aws
