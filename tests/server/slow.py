"""Clients that hold what they can: bytes of a head, bytes of a body, nothing at all, or an answer they do not read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from tests.server.service import Service

HEAD = b"POST /admin/login/ HTTP/1.1\r\nHost: api.example.com\r\n"
BODY = HEAD + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n"
EVERY_S = 0.5


class SlowClient(threading.Thread):
    """Sends `beginning`, then `drip` again and again, and connects anew when it is shown the door."""

    def __init__(self, port: int, beginning: bytes, drip: bytes, finished: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.beginning, self.drip, self.finished = port, beginning, drip, finished
        self.connected = threading.Event()

    def run(self) -> None:
        while not self.finished.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=EVERY_S) as client:
                    client.sendall(self.beginning)
                    self.connected.set()
                    while not self.finished.wait(EVERY_S):
                        client.sendall(self.drip)
            except OSError:
                self.finished.wait(0.05)


KINDS: dict[str, tuple[bytes, bytes]] = {
    "heads": (HEAD, b"X: y\r\n"),
    "bodies": (BODY, b"a"),
    "silence": (b"", b""),
    "answers": (b"GET /static/admin/js/vendor/jquery/jquery.js HTTP/1.1\r\nHost: api.example.com\r\n\r\n" * 40, b""),
    "closers": (b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n", b"a"),
}


def slow_clients(port: int, kinds: list[str], how_many: int, finished: threading.Event) -> list[SlowClient]:
    """Start that many, of each kind in turn, and wait until each has connected."""
    clients = [SlowClient(port, *KINDS[kinds[number % len(kinds)]], finished) for number in range(how_many)]
    for client in clients:
        client.start()
    for client in clients:
        assert client.connected.wait(20)
    return clients


def slowest_s(service: Service, path: str, times: int, clock: Callable[[], float]) -> float:
    """Ask that often, and how long the slowest answer took; every answer must be 200."""
    slowest = 0.0
    for _ in range(times):
        began = clock()
        assert service.request(path).status == 200
        slowest = max(slowest, clock() - began)
    return slowest
