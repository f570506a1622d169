"""The checks behind the status page, in django-health-check's protocol."""

from __future__ import annotations

from dataclasses import dataclass

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from rupaya.health.sampler import MAX_AGE_S, sampler


@dataclass
class Schema(HealthCheck):  # type: ignore[misc]  # the library is not typed
    """The database answers and has every migration that this release needs."""

    def run(self) -> None:  # the library awaits coroutines and runs functions in a thread
        sample = sampler.latest()
        if sample.schema is None:
            raise ServiceUnavailable(sample.reason)
        if sample.age_s > MAX_AGE_S:
            raise ServiceUnavailable(f"The database has not answered for more than {MAX_AGE_S:g} s")
        if sample.schema.unready_reason:
            raise ServiceUnavailable(sample.schema.unready_reason)
