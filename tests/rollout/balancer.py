"""A real load balancer (haproxy) with the rules of the one in production: a task gets traffic only once it is ready."""

from __future__ import annotations

import csv
import io
import shutil
import socket
import subprocess
import time
from pathlib import Path

SLOTS = 12

# Like an AWS load balancer: readiness decides, idle connections last 60 s, and a request that fails is not tried again.
CONFIGURATION = """
global
    stats socket {socket} mode 600 level admin
    maxconn 500
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    retries 0
frontend clients
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Proto https
    default_backend tasks
backend tasks
    balance roundrobin
    option httpchk
    http-check send meth GET uri /health/ready ver HTTP/1.1 hdr Host balancer
    http-check expect status 200
    default-server check inter 500ms rise 2 fall 4
    server-template task {slots} 127.0.0.1:9 disabled weight 0
"""


class Balancer:
    """haproxy, told over its socket what to do; a context manager that ends it."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self._socket = directory / "haproxy.sock"
        configuration = directory / "haproxy.cfg"
        configuration.write_text(CONFIGURATION.format(socket=self._socket, port=port, slots=SLOTS))
        self._log = (directory / "haproxy.log").open("wb")
        self._process = subprocess.Popen(
            [str(program()), "-db", "-f", str(configuration)], stdout=self._log, stderr=subprocess.STDOUT
        )
        self._free = list(range(1, SLOTS + 1))

    def __enter__(self) -> Balancer:
        deadline = time.monotonic() + 10
        while not self._socket.exists():
            assert self._process.poll() is None, Path(self._log.name).read_text()
            assert time.monotonic() < deadline, "haproxy does not start"
            time.sleep(0.02)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def register(self, port: int) -> int:
        """Begin to ask the task on this port whether it is ready; without traffic yet. Returns its slot."""
        slot = self._free.pop(0)
        self._tell(f"set server tasks/task{slot} addr 127.0.0.1 port {port}")
        self._tell(f"set weight tasks/task{slot} 0")
        self._tell(f"set server tasks/task{slot} state ready")
        return slot

    def is_healthy(self, slot: int) -> bool:
        """Whether readiness has answered 200 to the balancer itself."""
        row = self._row(slot)
        return row["status"] == "UP" and row["check_status"] == "L7OK" and row["check_code"] == "200"

    def send_traffic(self, slot: int, weight: int = 100) -> None:
        """From now on the task gets its share, by its weight."""
        self._tell(f"set weight tasks/task{slot} {weight}")

    def drain(self, slot: int) -> None:
        """No new requests; returns when those under way have ended."""
        self._tell(f"set server tasks/task{slot} state drain")
        deadline = time.monotonic() + 30
        while int(self._row(slot)["scur"]):
            assert time.monotonic() < deadline, "requests did not end within the deregistration delay"
            time.sleep(0.05)

    def forget(self, slot: int) -> None:
        """The slot is free for another task."""
        self._tell(f"set server tasks/task{slot} state maint")
        self._free.append(slot)

    def requests(self, slot: int) -> int:
        """How many requests the task has been given so far."""
        return int(self._row(slot)["stot"])

    def _row(self, slot: int) -> dict[str, str]:
        rows = csv.DictReader(io.StringIO(self._tell("show stat").lstrip("# ")))
        return next(row for row in rows if row["svname"] == f"task{slot}")

    def _tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(command.encode() + b"\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
        text = answer.decode().strip()
        assert command.startswith("show") or not text or "changed" in text or "no need" in text, f"{command}: {text}"
        return text


def program() -> str | None:
    """haproxy's path; Debian keeps it where only root's PATH looks."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
