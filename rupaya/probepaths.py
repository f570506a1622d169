"""The addresses that load balancers and orchestrators ask; for middleware, worker and access log alike."""

from __future__ import annotations

LIVE = ("/health/live", "/health/live/")
# The last two are those of the original system, whose target groups these tasks may be hung into.
READY = ("/health/ready", "/health/ready/", "/health", "/healthz")
PROBES = LIVE + READY
