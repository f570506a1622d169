"""A network that swallows what is sent, and says nothing: the service notices, and comes back by itself."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psycopg2
import pytest

from rupaya.environment import Environment
from tests.server.service import Service


class Relay:
    """Between the service and its database, until `cut`: what it carried then stands still; what is new does not."""

    def __init__(self, database_url: str) -> None:
        url = urlsplit(database_url)
        query = parse_qs(url.query)
        self._host = url.hostname or query["host"][0]
        self._port = url.port or int(query.get("port", ["5432"])[0])
        self._cut: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        rest = "&".join(f"{key}={values[0]}" for key, values in query.items() if key not in ("host", "port"))
        user = url.netloc.rpartition("@")[0] or query.get("user", ["postgres"])[0]
        place = f"{user}@127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(
            url._replace(netloc=place, query=f"{rest}&sslmode=disable" if rest else "sslmode=disable")
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Carry nothing more on the connections that there are."""
        self._cut |= self._open

    def close(self) -> None:
        """End it and all that it carries."""
        self._listener.close()
        for each in list(self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = self._connect()
                self._open |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source not in self._cut:
                    target.sendall(data)
            if source not in self._cut:
                target.shutdown(socket.SHUT_WR)


@pytest.mark.slow
def test_readiness_comes_back_after_a_silent_cut(migrated_url: str) -> None:
    relay = Relay(migrated_url)
    try:
        with Service(DATABASE_URL=relay.url) as service:
            service.wait_until_ready()
            relay.cut()
            began = time.monotonic()
            assert service.poll("/health/ready", lambda response: response.status == 503, timeout_s=5)
            assert service.poll("/health/ready", lambda response: response.status == 200, timeout_s=20)
            assert time.monotonic() - began < 15
    finally:
        relay.close()


@pytest.mark.parametrize("variable", ["DATABASE_URL", "MIGRATION_DATABASE_URL", "REPLICA_DATABASE_URL"])
def test_every_connection_notices_a_peer_that_is_gone(migrated_url: str, variable: str) -> None:
    relay = Relay(migrated_url)
    try:
        environ = Environment({"DATABASE_URL": relay.url, variable: relay.url})
        database = {
            "DATABASE_URL": environ.database,
            "MIGRATION_DATABASE_URL": environ.migration_database,
            "REPLICA_DATABASE_URL": environ.replica_database,
        }[variable]
        assert database is not None
        connection = psycopg2.connect(**database.connect_kwargs())
        with socket.socket(fileno=connection.fileno()) as wire:
            told = [
                wire.getsockopt(level, option)
                for level, option in (
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                )
            ]
            wire.detach()
        connection.close()
        assert told == [1, 10, 5, 3, 25_000]
    finally:
        relay.close()


def test_an_address_may_say_otherwise() -> None:
    options = Environment({"DATABASE_URL": "postgresql://u@h/d?keepalives_idle=60"}).database.options

    assert options["keepalives_idle"] == "60"
    assert options["tcp_user_timeout"] == "25000"
