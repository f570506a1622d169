"""The checks behind the status page, in django-health-check's protocol; none opens a connection."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from rupaya.health.figures import disk
from rupaya.health.probes import unready_reason
from rupaya.health.sampler import MAX_AGE_S, sampler

DISK_FREE_MIN_PERCENT = 5


@dataclass
class Database(HealthCheck):  # type: ignore[misc]  # the library is not typed
    def run(self) -> None:  # the library awaits coroutines and runs functions in a thread
        sample = sampler.latest()
        if sample.schema is None or sample.age_s > MAX_AGE_S:
            raise ServiceUnavailable(unready_reason(sample))


@dataclass
class Migrations(HealthCheck):  # type: ignore[misc]
    """The database has every migration that this release needs."""

    def run(self) -> None:
        if reason := unready_reason(sampler.latest()):
            raise ServiceUnavailable(reason)


@dataclass
class LastRun(HealthCheck):  # type: ignore[misc]
    """The last run of `migrate` that had anything to do ended well, whichever release's it was."""

    def run(self) -> None:
        last = sampler.latest().last_run
        if last is not None and last.outcome in ("failed", "interrupted"):
            raise ServiceWarning(f"Run {last.run_id} of release {last.release} {last.outcome}: see the ledger")


@dataclass
class Disk(HealthCheck):  # type: ignore[misc]
    """The service has room for its temporary files; it writes nothing else."""

    def run(self) -> None:
        usage = disk()
        if usage is None:
            raise ServiceWarning("There is no place for temporary files: set TMPDIR to a directory that may be written")
        free_percent = 100 * usage.free / usage.total if usage.total else 100.0
        if free_percent < DISK_FREE_MIN_PERCENT:
            raise ServiceWarning(f"Only {free_percent:.0f} % of the disk for temporary files is free")


@dataclass
class Release(HealthCheck):  # type: ignore[misc]
    """Which release this is; never a failure."""

    release: str = ""
    git_sha: str = ""

    def __post_init__(self) -> None:
        self.release, self.git_sha = settings.RELEASE, settings.GIT_SHA

    def run(self) -> None:
        pass
