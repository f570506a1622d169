"""The migrator's ledger as models, to list and search: its tables are the migrator's, and nothing writes them here."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models

OUTCOMES = {
    "started": "under way",
    "succeeded": "succeeded",
    "failed": "failed",
    "interrupted": "interrupted",
    "rolled back": "rolled back",
}


class _Timed(models.Model):
    """What begins, and ends in one way or another."""

    started_at: models.DateTimeField[datetime, datetime] = models.DateTimeField()
    finished_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(null=True)
    outcome = models.TextField(choices=OUTCOMES)
    error = models.TextField(null=True)  # noqa: DJ001 - the ledger's NULL

    class Meta:
        abstract = True

    @property
    def duration(self) -> timedelta | None:
        """How long it took; None while it is under way."""
        return self.finished_at - self.started_at if self.finished_at else None


class Run(_Timed):
    """One `migrate`, `rollback` or `adopt` that had something to do."""

    run_id = models.BigIntegerField(primary_key=True)
    command = models.TextField()
    release = models.TextField()
    git_sha = models.TextField()
    environment = models.TextField()
    task = models.TextField()
    python_version = models.TextField()
    django_version = models.TextField()
    database_user = models.TextField()
    backend_pid = models.IntegerField()
    exit_code = models.IntegerField(null=True)

    class Meta:
        managed = False
        db_table = "migrator_runs"
        verbose_name = "migration run"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"Run {self.run_id}"


class Attempt(_Timed):
    """One attempt at one migration."""

    attempt_id = models.BigIntegerField(primary_key=True)
    run = models.ForeignKey(Run, models.DO_NOTHING, related_name="attempts")
    batch = models.IntegerField()
    app = models.TextField()
    name = models.TextField()
    direction = models.TextField()
    phase = models.TextField()
    faked = models.BooleanField()
    atomic = models.BooleanField()
    tries = models.IntegerField()
    sqlstate = models.TextField(null=True)  # noqa: DJ001 - the ledger's NULL

    class Meta:
        managed = False
        db_table = "migrator_attempts"
        verbose_name = "migration attempt"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.app}.{self.name}"


class AcceptedDrift(models.Model):
    """A change by hand that somebody declared as intended."""

    acceptance_id = models.BigIntegerField(primary_key=True)
    line = models.TextField()
    reason = models.TextField()
    accepted_by = models.TextField()
    accepted_at: models.DateTimeField[datetime, datetime] = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "migrator_accepted_drift"
        verbose_name = "accepted drift"
        verbose_name_plural = "accepted drift"
        # To declare one is to add one.
        default_permissions = ("add",)

    def __str__(self) -> str:
        return self.line
