"""PostgreSQL's own log, with the parameters that RDS is given: no password and nobody's data stands in it."""

from __future__ import annotations

import contextlib
import re
import threading
import time

import psycopg2

from rupaya.localdb import SUPERUSER, LocalPostgres
from tests.faults.servers import server_root
from tests.server.service import PROJECT

MARK = "marked"


def parameters() -> dict[str, str]:
    text = (PROJECT / "infra" / "database.tf").read_text()
    return dict(re.findall(r'^ +"(log_\w+)" += "([^"]*)"$', text, re.MULTILINE))


def test_nothing_of_anybody_stands_in_the_servers_log() -> None:
    with server_root() as root:
        server = LocalPostgres(root / "data", root / "socket", parameters() | {"deadlock_timeout": "100ms"})
        server.start()
        try:
            url = server.url("postgres", user=SUPERUSER)
            with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                cursor.execute(f"CREATE ROLE somebody LOGIN PASSWORD '{MARK}-password'")
                cursor.execute("CREATE TABLE people (e text UNIQUE, n int)")
                cursor.execute(f"INSERT INTO people VALUES ('{MARK}@example.com', 1)")
                for failing in (
                    f"INSERT INTO people VALUES ('{MARK}@example.com', 2)",
                    f"SELECT '{MARK}@example.com'::int",
                    f"SELECT nosuch FROM people WHERE e = '{MARK}'",
                    f"DO $$ BEGIN RAISE WARNING '{MARK}'; RAISE EXCEPTION '{MARK}'; END $$",
                ):
                    with contextlib.suppress(psycopg2.Error):
                        cursor.execute(failing)
                cursor.execute(f"SELECT pg_sleep(1.2), '{MARK}'")
                cursor.execute("BEGIN")
                cursor.execute(f"UPDATE people SET n = 2 WHERE e = '{MARK}@example.com'")
                other = psycopg2.connect(url)
                waiting = threading.Thread(
                    target=lambda: other.cursor().execute(f"UPDATE people SET n = 3 WHERE e = '{MARK}@example.com'")
                )
                waiting.start()
                deadline = time.monotonic() + 10
                while "still waiting for" not in server.log_path.read_text():
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                cursor.execute("ROLLBACK")
                waiting.join(10)
                other.close()
            log = server.log_path.read_text()
        finally:
            server.stop("immediate")

    assert "still waiting for" in log  # who waits for whom is told
    assert MARK not in log
