"""Readers and writers of one table, at a steady pace, and how long each query of theirs took."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

import psycopg2

from bench.server import Database

CLIENTS = 8
QUERIES_PER_SECOND = 300
# One in this many queries writes.
WRITES = 3


@dataclass(frozen=True)
class Query:
    """One query: when it began (`time.monotonic`), and how long it took."""

    began: float
    seconds: float


class Traffic:
    """A context manager: traffic flows inside it; `queries` and `errors` are there to read afterwards."""

    def __init__(self, database: Database, rows: int) -> None:
        self.queries: list[Query] = []
        self.errors: list[str] = []
        self._database = database
        self._rows = rows
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[number]) for number in range(CLIENTS)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - which row, not a secret
        connection = psycopg2.connect(self._database.url)
        connection.autocommit = True
        pause_s = CLIENTS / QUERIES_PER_SECOND
        due = time.monotonic() + pause_s * number / CLIENTS
        try:
            with connection.cursor() as cursor:
                while not self._stop.wait(max(0.0, due - time.monotonic())):
                    key = chance.randint(1, self._rows)
                    began = time.monotonic()
                    if chance.randrange(WRITES) == 0:
                        cursor.execute("UPDATE busy_entry SET amount = amount + 1 WHERE id = %s", [key])
                    else:
                        cursor.execute("SELECT amount FROM busy_entry WHERE id = %s", [key])
                        cursor.fetchone()
                    ended = time.monotonic()
                    self.queries.append(Query(began, ended - began))
                    # After a stall, no rush to catch up: people who waited do not ask twice as often.
                    due = max(due + pause_s, ended)
        except psycopg2.Error as error:
            self.errors.append(str(error).strip())
        finally:
            connection.close()
