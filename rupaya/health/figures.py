"""What is known about this release and its database, as plain figures: for JSON, for a page, and for a scraper."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from rupaya.health.sampler import MAX_AGE_S, Sample

STARTED_AT = datetime.now(UTC)
OUTCOMES = ("started", "succeeded", "failed", "interrupted")


def release_figures() -> dict[str, object]:
    """Which code this is, and since when it runs."""
    return {
        "release": settings.RELEASE,
        "git_sha": settings.GIT_SHA,
        "started_at": STARTED_AT.isoformat(timespec="seconds"),
    }


def disk() -> Any:
    """Room for temporary files, as `shutil.disk_usage` reports it; None if there is no place for any."""
    try:
        return shutil.disk_usage(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def status_figures(sample: Sample) -> dict[str, object]:
    """All that the status page knows."""
    room = disk()
    last = dataclasses.asdict(sample.last_run) if sample.last_run else None
    return {
        **release_figures(),
        "database": {"answers": sample.schema is not None and sample.age_s <= MAX_AGE_S},
        "migrations": dataclasses.asdict(sample.schema) if sample.schema else None,
        "last_run": last,
        "disk": {"free_bytes": room.free, "total_bytes": room.total} if room else None,
    }


def openmetrics(sample: Sample) -> str:
    """The same for a scraper, in the OpenMetrics text format, without its closing line."""
    lines = [
        "# HELP rupaya_release Which release this is.",
        "# TYPE rupaya_release info",
        f"rupaya_release_info{_labels(release=settings.RELEASE, git_sha=settings.GIT_SHA)} 1",
        "# HELP rupaya_start_time_seconds When this server started, in Unix time.",
        "# TYPE rupaya_start_time_seconds gauge",
        f"rupaya_start_time_seconds {STARTED_AT.timestamp():.3f}",
        "# HELP rupaya_database_up Whether the database answered within the last seconds.",
        "# TYPE rupaya_database_up gauge",
        f"rupaya_database_up {sample.schema is not None and sample.age_s <= MAX_AGE_S:d}",
    ]
    if sample.schema is not None:
        lines += [
            "# HELP rupaya_migrations Migrations of this release and of its database, by state.",
            "# TYPE rupaya_migrations gauge",
            *(
                f"rupaya_migrations{_labels(state=field.name)} {getattr(sample.schema, field.name)}"
                for field in dataclasses.fields(sample.schema)
                if isinstance(getattr(sample.schema, field.name), int)
            ),
        ]
    if sample.last_run is not None:
        last = sample.last_run
        lines += [
            "# HELP rupaya_migration_last_run How the last run of migrate that had anything to do ended.",
            "# TYPE rupaya_migration_last_run stateset",
            *(
                f"rupaya_migration_last_run{_labels(rupaya_migration_last_run=outcome)} {outcome == last.outcome:d}"
                for outcome in OUTCOMES
            ),
            "# HELP rupaya_migration_last_run_duration_seconds How long it took, or has taken so far.",
            "# TYPE rupaya_migration_last_run_duration_seconds gauge",
            f"rupaya_migration_last_run_duration_seconds {last.duration_s:.3f}",
            "# HELP rupaya_migration_last_run_start_time_seconds When it began, in Unix time.",
            "# TYPE rupaya_migration_last_run_start_time_seconds gauge",
            f"rupaya_migration_last_run_start_time_seconds {last.started_at.timestamp():.3f}",
        ]
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"
