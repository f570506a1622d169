"""A command whose errors are lines of the log."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from rupaya.migrator.conf import require_configuration
from rupaya.migrator.output import JsonStream, logs_json


class LoggedCommand(BaseCommand):
    """Writes its errors in the format of the log, and names invalid MIGRATE_* settings before anything else."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command.

        Raises:
            EnvironmentUnfit: if a MIGRATE_* setting is invalid.
        """
        if logs_json():
            self.stderr = JsonStream(options.get("stderr") or sys.stderr)
            options["stderr"] = None
        require_configuration()
        return super().execute(*args, **options)
