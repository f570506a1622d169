"""Whether the server will be able to begin, asked before migrating: a release that cannot serve must change nothing.

No Django, and nothing that is slow to import: `migrate` asks when entrypoint.sh says that gunicorn comes after it, by
RUPAYA_SERVES_NEXT.
"""

from __future__ import annotations

import errno
import os
import time
from _socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

from rupaya.environment import Environment, EnvironmentRefused

# As long as gunicorn itself tries, for the server before this one may still be closing.
TAKEN_AT_MOST_S, LOOK_EVERY_S = 5.0, 0.2


def place_for_workers() -> str | None:
    """Where gunicorn's workers may show that they live: in memory, or where temporary files go; None is nowhere."""
    told = (os.environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP"))
    for path in ("/dev/shm", *told, "/tmp", "/var/tmp", "/usr/tmp", os.curdir):  # noqa: S108 - only its owner opens them
        if path and os.access(path, os.R_OK | os.W_OK | os.X_OK) and os.path.isdir(path):
            return os.path.abspath(path)
    return None


def refuse_where_nothing_can_listen(env: Environment) -> None:
    """Take the address and port that gunicorn will, and let go of them; and see that it may write what it must.

    Raises:
        EnvironmentRefused: if that fails, with the system's own reason.
    """
    if place_for_workers() is None:
        raise EnvironmentRefused(
            [
                "No folder can be written to, not even /dev/shm or /tmp, and the server's workers show there that they "
                "live. Mount a tmpfs, and set TMPDIR to it."
            ]
        )
    deadline = time.monotonic() + TAKEN_AT_MOST_S
    while (error := _failure(env.bind_address, env.port)) is not None:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        if taken and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            continue
        reason = getattr(error, "strerror", None) or str(error)
        raise EnvironmentRefused(
            [
                f"BIND_ADDRESS={env.bind_address!r} PORT={env.port}: the server could not listen there ({reason}). "
                + (
                    "Stop what listens there, or set another PORT."
                    if taken
                    else "Set them to an address of this machine, such as 0.0.0.0, and a port that this user may take."
                )
            ]
        )


def _failure(address: str, port: int) -> Exception | None:
    """Why gunicorn could not listen there; it takes what has a colon for IPv6."""
    try:
        listener = socket(AF_INET6 if ":" in address else AF_INET, SOCK_STREAM)
    except OSError as error:
        return error
    try:
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        listener.bind((address, port))
        # Two that only bind do not hinder each other; where somebody listens, Linux says so at once.
        listener.listen(1)
    except (OSError, TypeError, UnicodeError, ValueError) as error:
        return error
    finally:
        listener.close()
    return None
