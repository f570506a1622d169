"""The suite's PostgreSQL: an embedded server of its own, or the one that DATABASE_URL names.

A plugin and not a conftest.py, for it must start before pytest-django reads the settings, which read DATABASE_URL.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from rupaya.localdb import SUPERUSER, LocalPostgres

# Durability is what a test server can do without; what it must have is room for many processes at once.
SERVER_SETTINGS = {"fsync": "off", "max_connections": "200", "shared_buffers": "128MB"}

_server: LocalPostgres | None = None


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    global _server  # noqa: PLW0603 - pytest's hooks have no other place to keep it
    os.environ.setdefault("RUPAYA_ENV", "test")
    if not os.environ.get("DATABASE_URL"):
        root = Path(tempfile.mkdtemp(prefix="rupaya-test-", dir="/tmp"))
        root.chmod(0o755)
        _server = LocalPostgres(root / "data", root / "socket", SERVER_SETTINGS)
        _server.start()
        os.environ["DATABASE_URL"] = _server.url(user=SUPERUSER, database="postgres")
    return (yield)


def pytest_unconfigure() -> None:
    if _server is not None:
        _server.stop("immediate")
        shutil.rmtree(_server.data_dir.parent, ignore_errors=True)
