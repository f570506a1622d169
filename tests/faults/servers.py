"""Servers of a test's own, which it may break, and replicas of them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rupaya import localdb
from rupaya.localdb import SUPERUSER, UNPRIVILEGED_USER, LocalPostgres

SETTINGS = {"fsync": "off", "max_connections": "50", "shared_buffers": "32MB"}
# The owner of the server's processes and files: PostgreSQL and PgBouncer both refuse to be root.
SERVER_USER = UNPRIVILEGED_USER if os.geteuid() == 0 else None
# A process of that user alone: with root's group it could not pass through a folder that is closed to that group.
AS_SERVER_USER: dict[str, Any] = (
    {"user": SERVER_USER, "group": pwd.getpwnam(SERVER_USER).pw_gid, "extra_groups": []} if SERVER_USER else {}
)


@contextmanager
def server_root() -> Iterator[Path]:
    """A folder that belongs to whoever runs the servers, gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="rupaya-own-", dir="/tmp"))
    if SERVER_USER:
        shutil.chown(root, SERVER_USER)
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def streaming_replica(
    primary: LocalPostgres, data_dir: Path, socket_dir: Path, settings: Mapping[str, str] = SETTINGS
) -> Iterator[LocalPostgres]:
    """A copy of a server that follows it, started; stopped and removed afterwards."""
    subprocess.run(
        [localdb.binary("pg_basebackup"), "-D", data_dir, "-h", primary.socket_dir, "-U", SUPERUSER, "-R",
         "--checkpoint=fast", "--no-sync"],
        cwd="/", check=True, **AS_SERVER_USER,
    )  # fmt: skip
    server = LocalPostgres(data_dir, socket_dir, settings)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(data_dir)
