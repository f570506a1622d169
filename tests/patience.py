"""How long tests wait for what has no promised time.

A bound that the product promises (10 s after SIGTERM, 1.5 s behind a lock) stands in the test of that promise. All
others only guard against hanging, and a busy machine must not meet them.
"""

from __future__ import annotations

HANGING_S = 300
