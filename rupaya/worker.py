"""gunicorn's worker: a request takes a thread only when all of it is here, and probes have threads of their own.

gunicorn's `gthread` reads heads and bodies in the threads that answer; a few clients that send a byte a second then
hold them all, and the load balancer's probes wait behind them. Here one loop reads every connection, each for a limited
time, and what the threads are given never makes them wait for a client's words.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import http
from gunicorn.http.body import LengthReader
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.gthread import TConn, ThreadWorker

from rupaya.probepaths import PROBES

PROBE_THREADS = 2
# From a connection's first moment, or the request's first byte on one that was kept, to the end of its head.
HEAD_S = 10.0
# … and to the end of its body. Shorter than `graceful_timeout`, so that no slow client delays the stop of a task.
REQUEST_S = 20.0
# In which a client must take a piece of an answer: a page, a file, or some thousand rows of an export.
ANSWER_S = 20.0
# Half closed, for the client to read the answer: RFC 9112, section 9.6.
LINGER_S = 2.0
# As Django's DATA_UPLOAD_MAX_MEMORY_SIZE: what is longer it would refuse, and nothing is uploaded here.
BODY_MAX_BYTES = 2_621_440
# What all the requests that are being read may take, in each worker.
READING_MAX_BYTES = 64 * 1024 * 1024
# Requests that wait for a thread or have one; the next is told to come back.
QUEUE_MAX = 500
# A page fits: a client that reads slowly then holds the kernel's memory, not a thread.
SEND_BUFFER_BYTES = 256 * 1024
LOOK_EVERY_S = 0.2
_PIECE_BYTES = 64 * 1024
# Where no head ends, the parser is asked whether it is too long already, at this length and at each doubling.
_LONG_HEAD_BYTES = 8192
_HEAD_END = b"\r\n\r\n"

REFUSALS = {
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    503: "Service Unavailable",
}


class Connection(TConn):  # type: ignore[misc]  # gunicorn is not typed
    """A client's connection, and what has been read from it."""

    def __init__(self, cfg: Any, client_socket: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, client_socket, client, server)
        self.initialized = True  # base class: the parser is ours to make
        self.deadline = 0.0
        self.is_lingering = False
        self.expect_next(b"", HEAD_S)

    def expect_next(self, received: bytes, seconds: float) -> None:
        """Begin to read a request, of which `received` is here already."""
        self.received = bytearray(received)
        self.deadline = time.monotonic() + seconds
        self.began = time.monotonic() if received else 0.0
        self.parsed_bytes = 0
        self.head_bytes = 0
        self.body_bytes = 0
        self.path = ""

    def add(self, piece: bytes) -> None:
        """Take what the client sent; its first byte starts the request's time."""
        if not self.began:
            self.began = time.monotonic()
            self.deadline = min(self.deadline, self.began + HEAD_S)
        self.received += piece

    def is_whole(self) -> bool:
        """Whether the request can be answered: it is all here, or it is one that the parser refuses.

        Raises:
            Refused: if it is one that this server does not read.
        """
        if not self.head_bytes and not self._read_head():
            return False
        return len(self.received) >= self.head_bytes + self.body_bytes

    def _read_head(self) -> bool:
        """Ask gunicorn's own parser, so that nobody reads a request in another way than it will be answered."""
        size = len(self.received)
        ends = self.received.find(_HEAD_END, max(0, self.parsed_bytes - len(_HEAD_END))) >= 0
        if not ends and size < max(_LONG_HEAD_BYTES, 2 * self.parsed_bytes):
            return False
        self.parsed_bytes = size
        parser = http.get_parser(self.cfg, iter((bytes(self.received),)), self.client)
        try:
            request = next(parser)
        except (NoMoreData, StopIteration):
            return False
        except Exception:  # whatever it is, the thread's parser will find and answer the same
            self.head_bytes = size
            return True
        self.head_bytes = size - len(parser.unreader.take_buffered())
        self.path = request.path
        self.deadline = self.began + REQUEST_S
        reader = request.body.reader
        if not isinstance(reader, LengthReader):
            raise Refused(411)
        if reader.length > BODY_MAX_BYTES:
            raise Refused(413)
        self.body_bytes = reader.length
        if request._expected_100_continue and size < self.head_bytes + self.body_bytes:
            self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def hand_over(self) -> None:
        """Make the parser for a thread: it knows what has been read, and never the socket."""
        self.parser = http.get_parser(self.cfg, iter((bytes(self.received),)), self.client)
        self.received = bytearray()


class Refused(Exception):
    """The request is answered with this status, and the connection closed."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn is not typed
    """`gthread`, but for how requests are read and connections closed: in the loop, never in a thread."""

    probes: futures.ThreadPoolExecutor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The connections that the loop listens to.
        self.waiting: dict[Connection, None] = {}
        self.queued = 0
        self.looked_at = 0.0

    def init_process(self) -> None:
        """As the base class; runs in the worker, after the fork."""
        self.probes = futures.ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")
        super().init_process()

    # In the loop

    def accept(self, listener: Any) -> None:
        """Take a connection; where they are too many, let go of another, so that a probe always finds a place."""
        try:
            client_socket, client = listener.accept()
        except OSError as error:  # mostly it is gone again, or another worker's
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        try:
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._listen_to(Connection(self.cfg, client_socket, client, listener.getsockname()))
        except OSError:
            client_socket.close()
            self.nr_conns -= 1

    def _make_room(self) -> None:
        """Let go of the connection with the least time left: slow and silent ones have less than kept ones."""
        if self.waiting:
            self._drop(min(self.waiting, key=lambda connection: connection.deadline))

    def _listen_to(self, connection: Connection) -> None:
        connection.sock.setblocking(False)
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._readable, connection))
        self.waiting[connection] = None

    def _leave(self, connection: Connection) -> None:
        del self.waiting[connection]
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(connection.sock)

    def _drop(self, connection: Connection) -> None:
        if connection in self.waiting:
            self._leave(connection)
        self.nr_conns -= 1
        connection.close()

    def _readable(self, connection: Connection, _socket: Any) -> None:
        if connection not in self.waiting:
            return  # dropped for another one since the loop was told
        try:
            piece = connection.sock.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:  # nobody waits for an answer to half a request
            self._drop(connection)
        elif not connection.is_lingering:
            connection.add(piece)
            self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """Hand the request over if it is whole."""
        try:
            if connection.is_whole():
                self._hand_over(connection)
            elif sum(len(other.received) for other in self.waiting) > READING_MAX_BYTES:
                raise Refused(503)
        except Refused as refused:
            self._refuse(connection, refused.status)
        except OSError:
            self._drop(connection)

    def _hand_over(self, connection: Connection) -> None:
        is_probe = connection.path in PROBES
        if not is_probe and self.queued >= QUEUE_MAX:
            raise Refused(503)
        self._leave(connection)
        connection.hand_over()
        pool = self.probes if is_probe else self.tpool
        self.queued += not is_probe
        done = pool.submit(self.handle, connection)
        done.add_done_callback(lambda future: self.method_queue.defer(self._answered, connection, future, not is_probe))

    def _refuse(self, connection: Connection, status: int) -> None:
        answer = f"HTTP/1.1 {status} {REFUSALS[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        with suppress(OSError):
            connection.sock.send(answer.encode())
        self._linger(connection)

    def _linger(self, connection: Connection) -> None:
        """Say that nothing more comes, and wait for the client to have read: closed at once, it might lose the end."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection)
            return
        connection.received = bytearray()
        connection.is_lingering = True
        connection.deadline = time.monotonic() + LINGER_S
        if connection not in self.waiting:
            self._listen_to(connection)

    def _answered(self, connection: Connection, done: futures.Future[Any], was_queued: bool) -> None:
        self.queued -= was_queued
        try:
            is_kept = not done.cancelled() and bool(done.result())
            if not is_kept:
                self._linger(connection)
                return
            ahead = connection.parser.unreader.take_buffered()
            connection.expect_next(ahead, HEAD_S if ahead else self.cfg.keepalive if self.alive else LINGER_S)
            self._listen_to(connection)
            if ahead:
                self._go_on(connection)
        except Exception:
            self.log.exception("A connection failed after its answer; it is closed")
            self._drop(connection)

    def murder_keepalived(self, force: bool = False) -> None:
        """Let go of every connection whose time is over; the base class calls it at least once a second."""
        now = time.monotonic()
        if now < self.looked_at + LOOK_EVERY_S and not force:
            return
        self.looked_at = now
        for connection in [each for each in self.waiting if force or each.deadline <= now]:
            if connection.began and not connection.is_lingering and not force:
                self._refuse(connection, 408)
            else:
                self._drop(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        """Before a stop: a connection on which nothing has begun stays for a moment only."""
        for connection in self.waiting:
            if not connection.began:
                connection.deadline = min(connection.deadline, deadline)

    # In a thread

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Answer one request, to a client that has limited time to take the answer."""
        req._expected_100_continue = False  # it has been told already, or did not wait
        conn.sock.settimeout(ANSWER_S)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            self.log.info("A client did not take its answer within %g s; its connection is closed", ANSWER_S)
            raise StopIteration from None
