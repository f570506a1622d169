"""Whatever clients hold, probes are answered, and a request's time to be read is limited."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from rupaya import worker
from tests.patience import HANGING_S
from tests.server.hurried import HEAD_S, REQUEST_S
from tests.server.service import Service
from tests.server.slow import BODY, HEAD, KINDS, slow_clients, slowest_s

PROBE_S = 1.0


@pytest.fixture(scope="module")
def service(module_url: str) -> Iterator[Service]:
    with Service(DATABASE_URL=module_url, ALLOWED_HOSTS="api.example.com,127.0.0.1") as service:
        service.wait_until_ready()
        yield service


@pytest.mark.parametrize("how_many", [8, 40])
@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_slow_clients_keep_no_probe_waiting(service: Service, kind: str, how_many: int) -> None:
    finished = threading.Event()
    clients = slow_clients(service.port, list(KINDS) if kind == "all" else [kind], how_many, finished)
    try:
        for path in ("/health/ready", "/health/live"):
            assert slowest_s(service, path, 15, time.monotonic) < PROBE_S
        assert service.health().returncode == 0
        if kind in ("heads", "bodies", "silence", "closers"):  # those hold no thread: people are answered too
            assert service.request("/admin/login/").status == 200
    finally:
        finished.set()
        for client in clients:
            client.join(10)


def answer(port: int, request: bytes, then: bytes = b"") -> tuple[bytes, float]:
    """All that is answered until the server closes, and after how many seconds it began."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=worker.REQUEST_S + 10) as client:
        client.sendall(request)
        got = client.recv(65536)
        after_s = time.monotonic() - began
        if then:
            client.sendall(then)
        while piece := client.recv(65536):
            got += piece
    return got, after_s


@pytest.mark.slow
def test_a_request_has_a_time_to_be_read_in(module_url: str) -> None:
    assert (worker.HEAD_S, worker.REQUEST_S) == (10, 20)
    hurried = "--worker-class=tests.server.hurried.HurriedWorker"
    with Service(DATABASE_URL=module_url, GUNICORN_CMD_ARGS=hurried) as service:
        service.wait_until_ready()
        for beginning, limit_s in ((HEAD, HEAD_S), (BODY, REQUEST_S)):
            got, after_s = answer(service.port, beginning)

            assert got.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert limit_s - 1 < after_s < HANGING_S


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 2621441\r\n", 413),
        (b"Transfer-Encoding: chunked\r\n", 411),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"X: " + b"y" * 9000 + b"\r\n", 431),
    ],
)
def test_what_is_not_read_is_refused_at_once(service: Service, headers: bytes, status: int) -> None:
    got, after_s = answer(service.port, HEAD + headers + b"\r\n")

    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert after_s < 2


def test_a_line_that_never_ends_is_refused_before_its_time_is_over(service: Service) -> None:
    got, after_s = answer(service.port, b"GET /" + b"a" * 20_000)

    assert got.startswith(b"HTTP/1.1 414 ")
    assert after_s < 2


def test_a_client_that_asks_before_it_sends_its_body_is_told_once_to_go_on(service: Service) -> None:
    got, after_s = answer(
        service.port, HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", then=b"a=b"
    )

    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"100", b"403"]  # without a CSRF token
    assert after_s < 2


def test_requests_sent_ahead_are_answered_in_turn_on_one_connection(service: Service) -> None:
    one = b"GET %s HTTP/1.1\r\nHost: api.example.com\r\n%s\r\n"
    body = b"POST /admin/login/ HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 3\r\n\r\na=b"
    got, after_s = answer(
        service.port,
        one % (b"/health/live", b"") + body + one % (b"/admin/login/", b"") + b"GET /health",
        then=b"/ready HTTP/1.1\r\nConnection: close\r\n\r\n",
    )

    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [b"200", b"403", b"200", b"200"]
    assert after_s < 2


def test_many_silent_connections_leave_room_for_a_probe(module_url: str) -> None:
    with Service(DATABASE_URL=module_url, GUNICORN_CMD_ARGS="--worker-connections=50") as service:
        service.wait_until_ready()
        crowd = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
        try:
            assert slowest_s(service, "/health/ready", 10, time.monotonic) < PROBE_S
        finally:
            for client in crowd:
                client.close()


def test_a_proxy_cannot_say_where_the_service_is_mounted(service: Service) -> None:
    for header in ("SCRIPT_NAME", "PATH_INFO"):
        assert service.request("/health/ready", headers={header: "/x"}).status == 200
