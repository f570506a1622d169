"""Liveness and readiness: what ECS and the load balancer ask, many times a minute, of every task."""

from __future__ import annotations

import dataclasses
import hmac
import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from rupaya.health import figures
from rupaya.health.sampler import MAX_AGE_S, Sample, sampler


def live(_request: HttpRequest) -> HttpResponse:
    """The process answers; the database is not touched."""
    return _respond(200, {"status": "alive"})


def ready(_request: HttpRequest) -> HttpResponse:
    """The database answers, and nothing that this code needs is unapplied.

    Asymmetric on purpose: a database *ahead* of the code is ready, or an older image could never be rolled back to.
    """
    sample = sampler.latest()
    reason = unready_reason(sample)
    body: dict[str, object] = {"status": "ready"} if not reason else {"status": "unready", "reason": reason}
    if sample.schema is not None:
        body["migrations"] = dataclasses.asdict(sample.schema)
    return _respond(503 if reason else 200, body)


def metrics(request: HttpRequest) -> HttpResponse | None:
    """Figures for a scraper that shows METRICS_TOKEN; None, as if there were no such address, for anybody else."""
    expected = f"Bearer {settings.METRICS_TOKEN}"
    given = request.META.get("HTTP_AUTHORIZATION", "")
    if not settings.METRICS_TOKEN or not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        return None
    return HttpResponse(
        figures.openmetrics(sampler.latest()) + "# EOF\n",
        content_type="application/openmetrics-text; version=1.0.0; charset=utf-8",
        headers={"Cache-Control": "no-store"},
    )


def unready_reason(sample: Sample) -> str:
    """Why not to send requests here; empty if nothing speaks against it."""
    if sample.schema is None:
        return sample.reason
    if sample.age_s > MAX_AGE_S:
        return f"the database has not answered for more than {MAX_AGE_S:g} s"
    return sample.schema.unready_reason


def _respond(status: int, body: dict[str, object]) -> HttpResponse:
    response = HttpResponse(
        json.dumps(body | figures.release_figures()),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
    # Django would log each 503 as an error, many a minute; the sampler has logged it once.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
