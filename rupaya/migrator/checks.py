"""System checks of the migrator's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, register

from rupaya.migrator import conf


@register("migrator")
def check_settings(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """What `migrate` would refuse to start with (E…), or what can hardly be meant (W…)."""
    _conf, problems = conf.read()
    return [
        (checks.Error if problem.is_error else checks.Warning)(problem.fact, hint=problem.remedy, id=problem.id)
        for problem in problems
    ]
