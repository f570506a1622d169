"""How long to wait before another try."""

from __future__ import annotations

import random

FIRST_S = 0.5
FACTOR = 1.5
MAX_S = 30.0
JITTER = 0.25


def pause_s(tries: int, *, at_most_s: float = MAX_S) -> float:
    """Seconds to wait after so many tries: longer each time, never the same twice, never past a limit."""
    pause = min(MAX_S, FIRST_S * FACTOR ** (tries - 1))
    pause *= 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - jitter, not a secret
    return max(0.0, min(pause, at_most_s))
