"""A package index on loopback that offers what the locks pin, and a newer release of each package to be tempted by."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NEWER = "99999.0"
# An extra that no lock names; every stand-in asks for its neighbours with it, as pytest-cov asks for coverage[toml].
EXTRA = "tempting"
_PIN = re.compile(r"^(?P<name>[\w.-]+)(?P<extras>\[[\w,-]+\])?==(?P<version>[^ \\]+)(?P<marker> ;[^\\]+)? ?\\?$")
_VIA = re.compile(r"^    # (?:via |  )([\w.-]+)$")


@dataclass(frozen=True)
class Pin:
    """One package as a lock pins it."""

    name: str
    extras: str
    version: str
    marker: str
    wanted_by: tuple[str, ...]

    @property
    def line(self) -> str:
        """How a lock writes it, without the hash."""
        return f"{self.name}{self.extras}=={self.version}{self.marker.rstrip()}"


def read_lock(path: Path) -> list[Pin]:
    """What a lock file pins, and which packages each is there for: its comments say so."""
    pins: list[Pin] = []
    current = False
    for line in path.read_text().splitlines():
        if match := _PIN.match(line):
            # A stand-in for pip could install nothing more.
            current = match["name"] != "pip"
            if not current:
                continue
            pins.append(Pin(match["name"], match["extras"] or "", match["version"], match["marker"] or "", ()))
        elif (match := _VIA.match(line)) and pins and current:
            last = pins[-1]
            pins[-1] = Pin(last.name, last.extras, last.version, last.marker, (*last.wanted_by, match[1]))
    return pins


def wheel(name: str, version: str, needs: Iterable[str]) -> bytes:
    """A package without content that needs others; the same bytes each time."""
    stem = f"{name.replace('-', '_').replace('.', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: {EXTRA}\n"
    metadata += "".join(f"Requires-Dist: {need}\n" for need in needs)
    content = {
        "METADATA": metadata,
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, text in content.items():
            archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{file}"), text)
    return buffer.getvalue()


class Index:
    """Stand-ins for all that some locks pin, and the same locks, rewritten to these stand-ins' hashes."""

    def __init__(self, locks: Iterable[Path]) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.url = ""
        self.asked_for: list[str] = []
        self._locks = {path.name: read_lock(path) for path in locks}
        needs: dict[str, set[str]] = {}
        pins = {(pin.name, pin.version): pin for lock in self._locks.values() for pin in lock}
        for pin in pins.values():
            for other in pin.wanted_by:
                needs.setdefault(other, set()).add(f"{pin.name}[{EXTRA}]{pin.marker.rstrip()}")
        for name, version in pins:
            for each in (version, NEWER):
                content = wheel(name, each, sorted(needs.get(name, ())))
                stem = name.replace("-", "_").replace(".", "_")
                self.files.setdefault(name, {})[f"{stem}-{each}-py3-none-any.whl"] = content

    def pins(self, lock: str) -> list[Pin]:
        """What that lock pins."""
        return self._locks[lock]

    def write_lock(self, lock: str, path: Path) -> None:
        """The lock as it is, but for the hashes."""
        lines = []
        for pin in self._locks[lock]:
            stem = pin.name.replace("-", "_").replace(".", "_")
            digest = hashlib.sha256(self.files[pin.name][f"{stem}-{pin.version}-py3-none-any.whl"]).hexdigest()
            lines.append(f"{pin.line} --hash=sha256:{digest}\n")
        path.write_text("".join(lines))

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answer on loopback as an index does (https://peps.python.org/pep-0503/)."""
        files, asked_for = self.files, self.asked_for

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, project, *file = self.path.split("?")[0].split("/")[1:]
                asked_for.append("/".join([project, *file]))
                offered = files.get(project.lower().replace("_", "-").replace(".", "-"), files.get(project, {}))
                if file and file[0]:
                    self.answer("application/octet-stream", offered.get(file[0]))
                else:
                    links = "".join(f'<a href="/simple/{project}/{name}">{name}</a>' for name in offered)
                    self.answer("text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

            def answer(self, kind: str, content: bytes | None) -> None:
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/simple"
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
