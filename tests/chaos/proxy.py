"""A TCP proxy before the server's socket that can be told to misbehave: drop, delay, cut, half-close, refuse."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

CHUNK_BYTES = 65536
TICK_S = 0.02


@dataclass
class Pipe:
    """One direction of one connection."""

    source: socket.socket
    target: socket.socket
    waiting: list[tuple[float, bytes]] = field(default_factory=list)
    """What is delayed: when to send, and what."""
    is_over: bool = False


class Proxy:
    """Listens on loopback; `url_port` leads to the server, for as long as it is healthy."""

    def __init__(self, server: Path) -> None:
        self.server = server
        self.delay_s = 0.0
        self.swallows = False
        """Whether it takes everything and passes nothing on, in either direction, and says nothing."""
        self.refuses = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._pipes: list[Pipe] = []
        self._lock = threading.RLock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            for pipe in self._pipes:
                with contextlib.suppress(OSError):
                    pipe.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close_all()

    def cut_one(self, chance: random.Random) -> None:
        """Reset one connection of those there are."""
        with self._lock:
            if self._pipes:
                self._end(chance.choice(self._pipes))

    def half_close(self, chance: random.Random) -> None:
        """End one direction of one connection, and go on with the other."""
        with self._lock:
            if self._pipes:
                pipe = chance.choice(self._pipes)
                pipe.is_over = True
                with contextlib.suppress(OSError):
                    pipe.target.shutdown(socket.SHUT_WR)

    def heal(self) -> None:
        """Behave again; what was swallowed is lost, so the connections that lost it are ended."""
        with self._lock:
            lost = self.swallows
            self.swallows, self.refuses, self.delay_s = False, False, 0.0
            if lost:
                self._close_all()

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._thread.join()
        with self._lock:
            self._close_all()
        self._listener.close()

    def _run(self) -> None:
        while not self._closed:
            events = self._selector.select(TICK_S)
            with self._lock:
                for key, _mask in events:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.data in self._pipes:
                        self._pass(key.data)
                now = time.monotonic()
                for pipe in list(self._pipes):
                    while pipe.waiting and pipe.waiting[0][0] <= now:
                        self._send(pipe, pipe.waiting.pop(0)[1])

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _address = self._listener.accept()
            if self.refuses:
                client.close()
                return
            upstream = socket.socket(socket.AF_UNIX)
            try:
                upstream.connect(str(self.server))
            except OSError:
                client.close()
                upstream.close()
                return
            for source, target in ((client, upstream), (upstream, client)):
                pipe = Pipe(source, target)
                self._pipes.append(pipe)
                self._selector.register(source, selectors.EVENT_READ, pipe)

    def _pass(self, pipe: Pipe) -> None:
        try:
            received = pipe.source.recv(CHUNK_BYTES)
        except OSError:
            received = b""
        if not received:
            self._end(pipe)
        elif self.swallows or pipe.is_over:
            return
        elif self.delay_s:
            pipe.waiting.append((time.monotonic() + self.delay_s, received))
        else:
            self._send(pipe, received)

    def _send(self, pipe: Pipe, data: bytes) -> None:
        try:
            pipe.target.sendall(data)
        except OSError:
            self._end(pipe)

    def _end(self, pipe: Pipe) -> None:
        ends = {pipe.source, pipe.target}
        for other in [other for other in self._pipes if other.source in ends]:
            self._pipes.remove(other)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(other.source)
        for end in ends:
            end.close()

    def _close_all(self) -> None:
        while self._pipes:
            self._end(self._pipes[0])
