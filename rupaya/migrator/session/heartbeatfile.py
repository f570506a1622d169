"""The file of the heartbeat: who migrates touches it, the container's health check reads its age.

Both do so in places that load neither Django nor a database driver, and nothing else that takes long to import.
"""

from __future__ import annotations

import os
import time

FRESH_S = 30.0
"""How old the last beat may be: as long as the server may leave the lock connection without an answer."""


def touch(path: str) -> None:
    """Beat: make the file, or make it new. Follows no link.

    Raises:
        OSError: it can't be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def age_s(path: str) -> float:
    """Seconds since the last beat; infinity if there was none."""
    try:
        return time.time() - os.stat(path).st_mtime  # noqa: PTH116 - importing pathlib is a tenth of an early exit
    except OSError:
        return float("inf")
