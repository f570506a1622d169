"""Probes, answered before host checks, redirects, sessions and authentication.

A load balancer sends the task's address as Host, speaks plain http behind TLS, and must never be redirected, throttled
or asked who it is.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from rupaya import probepaths
from rupaya.health import probes

GetResponse = Callable[[HttpRequest], HttpResponseBase]

PROBES: dict[str, Callable[[HttpRequest], HttpResponse | None]] = {
    **dict.fromkeys(probepaths.LIVE, probes.live),
    **dict.fromkeys(probepaths.READY, probes.ready),
    "/metrics": probes.metrics,
}


class ProbeMiddleware:
    """Answer `/health/live` and `/health/ready`, with or without a trailing slash, and the original's probes."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        return probe(request) or self.get_response(request)
