"""One thread a worker that asks the database once a second, so that a probe never waits for it.

A frozen server ignores every timeout of a client that waits for it; probes therefore only read the last answer, and
an answer that has grown old is itself the bad news.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass, field

import psycopg2
from django.conf import settings
from django.db import connections

from rupaya.health.schema import SchemaState, read_schema_state

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
MAX_AGE_S = 2.0
# How long the very first probe of a new worker may wait for the first answer.
FIRST_SAMPLE_WAIT_S = 1.5
CONNECT_TIMEOUT_S = 2


@dataclass(frozen=True)
class Sample:
    """What the database last answered: the schema's state, or the kind of failure that kept it from answering."""

    schema: SchemaState | None
    reason: str = ""
    taken_at: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since it was taken."""
        return time.monotonic() - self.taken_at


class Sampler:
    """Samples the database in a daemon thread of the process that first asks for a sample."""

    def __init__(self) -> None:
        self._pid = 0
        self._last: Sample | None = None
        self._sampled = threading.Event()
        self._starting = threading.Lock()

    def latest(self) -> Sample:
        """The last sample; a fresh process waits `FIRST_SAMPLE_WAIT_S` for its first."""
        self.ensure_started()
        if self._last is None:
            self._sampled.wait(FIRST_SAMPLE_WAIT_S)
        if self._last is None:
            return Sample(None, "the database has not answered yet")
        return self._last

    def ensure_started(self) -> None:
        """Start the thread unless this process has it already; threads do not survive gunicorn's fork."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid == os.getpid():
                return
            self._last = None
            self._sampled = threading.Event()
            threading.Thread(target=self._run, name="health-sampler", daemon=True).start()
            self._pid = os.getpid()

    def _run(self) -> None:
        connection = None
        while True:
            started = time.monotonic()
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                self._last = Sample(read_schema_state(connection))
            except psycopg2.Error as error:
                # The driver's text names hosts and users; it goes to the log, never to whoever asks for health.
                if self._last is None or not self._last.reason:
                    logger.warning("The database does not answer health samples: %s", str(error).strip())
                self._last = Sample(None, "the database does not answer")
                if connection is not None:
                    connection.close()
                    connection = None
            except Exception:
                logger.exception("The health sampler failed; it tries again")
                self._last = Sample(None, "the health sampler failed")
            self._sampled.set()
            time.sleep(max(0.05, INTERVAL_S - (time.monotonic() - started)))

    @staticmethod
    def _connect() -> psycopg2.extensions.connection:
        parameters = connections["default"].get_connection_params()
        parameters.pop("cursor_factory", None)
        parameters |= {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": f"release {settings.RELEASE} health"[:63],
        }
        connection: psycopg2.extensions.connection = psycopg2.connect(**parameters)
        connection.autocommit = True
        return connection


sampler = Sampler()
