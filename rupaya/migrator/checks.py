"""System checks of the migrator's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.core.checks import CheckMessage, register
from django.core.management import get_commands

from rupaya.migrator import conf

OWN_NAME = "rupaya.migrator"


@register("migrator")
def check_command(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """An app listed earlier that brings a `migrate` of its own would replace all of the safety without a word."""
    owner = get_commands().get("migrate")
    if owner == OWN_NAME or not apps.is_installed(OWN_NAME):  # a test may have taken it out
        return []
    return [
        checks.Error(
            f"The command migrate is that of {owner}, which comes before {OWN_NAME} in INSTALLED_APPS.",
            hint=f"List {OWN_NAME} before it, or derive its command from {OWN_NAME}'s.",
            id="migrator.E005",
        )
    ]


@register("migrator")
def check_settings(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """What `migrate` would refuse to start with (E…), or what can hardly be meant (W…)."""
    _conf, problems = conf.read()
    return [
        (checks.Error if problem.is_error else checks.Warning)(problem.fact, hint=problem.remedy, id=problem.id)
        for problem in problems
    ]
