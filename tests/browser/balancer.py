"""What stands before the service in production, in small: it ends TLS, and says so in a header."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

TIMEOUT_S = 30


class _Request(BaseHTTPRequestHandler):
    server: _Balancer
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = dict(self.headers.items()) | {
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": self.client_address[0],
            "Connection": "close",
        }
        service = http.client.HTTPConnection("127.0.0.1", self.server.service_port, timeout=TIMEOUT_S)
        try:
            service.request(self.command, self.path, body or None, headers)
            response = service.getresponse()
            content = response.read()
        finally:
            service.close()
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _forward  # noqa: N815 - so http.server calls them

    def log_message(self, *_arguments: Any) -> None:
        pass


class _Balancer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, service_port: int, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.service_port = service_port
        self.context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a browser opens connections that it says nothing on.
        request.settimeout(TIMEOUT_S)
        try:
            with self.context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)
        except OSError:
            pass  # it hung up


@contextmanager
def balancer(service_port: int) -> Iterator[str]:
    """Serve the service at an https:// address, with a certificate that only browsers told so accept."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with _Balancer(service_port, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
