"""Run a command beside a new, empty PostgreSQL that is gone afterwards: development tools that need a connection.

With DATABASE_URL or DB_HOST set, that server is used and none is started. With `--superuser` before the command, it
connects as the new server's superuser, and not as one who owns nothing but their database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rupaya import environment
from rupaya.localdb import OWNER, SUPERUSER, LocalPostgres


def run(command: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    user = OWNER
    if command[:1] == ["--superuser"]:
        user, command = SUPERUSER, command[1:]
    if not environment.load().uses_local_database:
        return subprocess.run(command, check=False).returncode
    root = Path(tempfile.mkdtemp(prefix="rupaya-scratch-"))
    root.chmod(0o755)  # the server runs as somebody else when this is root
    server = LocalPostgres(root / "data", root / "socket", {"fsync": "off"})
    try:
        server.start()
        environ = {**os.environ, "DATABASE_URL": server.url(user=user)}
        return subprocess.run(command, check=False, env=environ).returncode
    finally:
        server.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
