"""What a command shows on a terminal: run on a real one of a fixed size, its screen read at the right moment."""

from __future__ import annotations

import errno
import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

_ESCAPES = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
COLUMNS, LINES = 110, 24
PAGE = """<!doctype html><style>
body { margin: 0; padding: 16px 20px; background: #16181d; color: #d8dce4; width: max-content }
pre { margin: 0; font: 14px/1.5 "DejaVu Sans Mono", monospace } b { color: #8f98a8; font-weight: normal }
</style><pre><b>$ %s</b>
%s</pre>"""


def screen_of(command: Sequence[str], env: Mapping[str, str], until: Callable[[str], bool]) -> list[str]:
    """Run a command to its end; the lines that were on its terminal when the last of them was so for the first time.

    Raises:
        AssertionError: if it never was.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(command, env=dict(env), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text, found = "", list[str]()
    try:
        while chunk := _read(ours):
            text += chunk
            plain = _ESCAPES.sub("", text).replace("\r\n", "\n").rstrip("\r")
            lines = [line.rpartition("\r")[2] for line in plain.split("\n")]
            if not found and until(lines[-1]):
                found = lines
    finally:
        process.wait()
        os.close(ours)
    assert found, repr(text)
    return found


def _read(descriptor: int) -> str:
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    except OSError as error:
        if error.errno == errno.EIO:  # Linux: nobody has the other end any more
            return ""
        raise


def page_of(command: str, lines: Sequence[str]) -> str:
    """A page that looks like that terminal."""
    return PAGE % (html.escape(command), html.escape("\n".join(lines)))
