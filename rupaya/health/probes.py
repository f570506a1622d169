"""Liveness and readiness: what ECS and the load balancer ask, many times a minute, of every task."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.http import JsonResponse

from rupaya.health.sampler import MAX_AGE_S, Sample, sampler

STARTED_AT = datetime.now(UTC).isoformat(timespec="seconds")


def live() -> JsonResponse:
    """The process answers; the database is not touched."""
    return _respond(200, {"status": "alive"})


def ready() -> JsonResponse:
    """The database answers, and nothing that this code needs is unapplied.

    Asymmetric on purpose: a database *ahead* of the code is ready, or an older image could never be rolled back to.
    """
    sample = sampler.latest()
    reason = _unready_reason(sample)
    body: dict[str, object] = {"status": "ready"} if not reason else {"status": "unready", "reason": reason}
    if sample.schema is not None:
        body["migrations"] = {
            "applied": sample.schema.applied,
            "pending": sample.schema.pending,
            "held": sample.schema.held,
            "unknown": sample.schema.unknown,
        }
    return _respond(503 if reason else 200, body)


def _unready_reason(sample: Sample) -> str:
    if sample.schema is None:
        return sample.reason
    if sample.age_s > MAX_AGE_S:
        return f"the database has not answered for more than {MAX_AGE_S:g} s"
    return sample.schema.unready_reason


def _respond(status: int, body: dict[str, object]) -> JsonResponse:
    body |= {"release": settings.RELEASE, "git_sha": settings.GIT_SHA, "started_at": STARTED_AT}
    response = JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})
    # Django would log each 503 as an error, many a minute; the sampler has said it once.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
