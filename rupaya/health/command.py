"""The container's own health check, ``python -m rupaya.health.command``: the image has no curl, and needs none.

While `migrate` works nothing listens, so it looks at the file that `migrate` touches; afterwards it asks for liveness,
not readiness. It imports no Django: it starts every few seconds, on the service's own CPU.
"""

from __future__ import annotations

import http.client
import sys

from rupaya import environment
from rupaya.migrator.session import heartbeatfile

PATH = "/health/live"
# Shorter than the three seconds after which the container runtime kills the check, and with it the reason.
TIMEOUT_S = 2.5


def address_of(bind_address: str) -> str:
    """Where a server that listens there can be reached from its own machine: who listens on all, on the loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind_address, bind_address)  # noqa: S104 - asked, not listened on


def unhealthy_reason(port: int, address: str = "127.0.0.1") -> str:
    """Why the server on this machine's `port` is not alive; empty if it is."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", PATH, headers={"Connection": "close"})
        status = connection.getresponse().status
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"it answered {status}"


def main() -> int:
    """Print the verdict, for the container's health log; 0 is healthy, 1 is not."""
    try:
        env = environment.load()
    except environment.EnvironmentRefused as refused:
        print(refused)
        return 1
    if env.heartbeat_file and heartbeatfile.age_s(env.heartbeat_file) < heartbeatfile.FRESH_S:
        print("migrating: the heartbeat is fresh")
        return 0
    address = address_of(env.bind_address)
    reason = unhealthy_reason(env.port, address)
    host = f"[{address}]" if ":" in address else address
    print(f"http://{host}:{env.port}{PATH}: {reason or 'alive'}")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
