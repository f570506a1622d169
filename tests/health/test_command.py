"""`python -m rupaya.health.command`, against real sockets."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rupaya.health import command


@contextlib.contextmanager
def answering(status: int, address: str = "127.0.0.1") -> Iterator[int]:
    """A server that answers every request with one status; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == command.PATH else 404)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}{command.PATH}")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.HTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def speaking(text: bytes | None) -> Iterator[int]:
    """A server that takes a connection and says something that is not HTTP, or nothing; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            if text is not None:
                client, _ = server.accept()
                with client:
                    client.recv(1000)
                    client.sendall(text)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_it_asks_where_the_server_listens() -> None:
    """Another address of this machine, on which nothing but the server under test answers."""
    with answering(200, "127.0.0.7") as port:
        asked = run(port, BIND_ADDRESS="127.0.0.7")
        elsewhere = run(port, BIND_ADDRESS="127.0.0.1")

    assert (asked.returncode, elsewhere.returncode) == (0, 1)
    assert asked.stdout == f"http://127.0.0.7:{port}/health/live: alive\n"


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - nothing listens here
        ("::", "::1"),
        ("::1", "::1"),
        ("10.0.0.5", "10.0.0.5"),
    ],
)
def test_who_listens_on_all_addresses_is_asked_on_the_loopback(listens: str, asked: str) -> None:
    assert command.address_of(listens) == asked


def run(port: int, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rupaya.health.command"],
        env=os.environ | {"PORT": str(port)} | variables,
        text=True,
        capture_output=True,
        timeout=10,
        check=False,
    )


def test_an_answer_of_200_is_healthy() -> None:
    with answering(200) as port:
        completed = run(port)
    assert completed.returncode == 0
    assert completed.stdout == f"http://127.0.0.1:{port}/health/live: alive\n"
    assert completed.stderr == ""


@pytest.mark.parametrize("status", [204, 301, 404, 500, 503])
def test_every_other_status_is_unhealthy_and_named(status: int) -> None:
    with answering(status) as port:
        assert command.unhealthy_reason(port) == f"it answered {status}"


def test_a_port_that_nobody_listens_on_is_unhealthy() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        completed = run(unheard.getsockname()[1])
    assert completed.returncode == 1
    assert "Connection refused" in completed.stdout
    assert completed.stderr == ""


def test_a_server_that_hangs_is_unhealthy_before_the_container_runtime_kills_the_check() -> None:
    began = time.monotonic()
    with speaking(None) as port:
        assert command.unhealthy_reason(port) == "no answer within 2.5 s"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("text", [b"", b"SSH-2.0-OpenSSH\r\n"])
def test_a_server_that_does_not_speak_http_is_unhealthy(text: bytes) -> None:
    with speaking(text) as port:
        assert command.unhealthy_reason(port)


def test_a_refused_environment_is_unhealthy_and_explained() -> None:
    completed = run(8000, PORT="eighty")
    assert completed.returncode == 1
    assert "PORT='eighty'" in completed.stdout
    assert "Traceback" not in completed.stderr


def test_it_imports_no_django() -> None:
    script = "import sys, rupaya.health.command; print(*[m for m in sys.modules if m.startswith('django')])"
    completed = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, check=True)
    assert completed.stdout == "\n"
