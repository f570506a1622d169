"""System checks of the migrator's settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.core.checks import CheckMessage, register
from django.core.management import find_commands, get_commands

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
def check_hidden_commands(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """An app listed later that brings a `migrate` of its own, django-tenants for one, would be hidden by ours."""
    if get_commands().get("migrate") != OWN_NAME:
        return []
    hidden = [
        config.name
        for config in apps.get_app_configs()
        if config.name != OWN_NAME and "migrate" in find_commands(str(Path(config.path) / "management"))
    ]
    return [
        checks.Warning(
            f"The command migrate of {name} is hidden by that of {OWN_NAME}, which does nothing of what it adds.",
            hint=f"See what it does. A command of its own, derived from {OWN_NAME}'s, can do both.",
            id="migrator.W002",
        )
        for name in hidden
    ]


@register("migrator")
def check_settings(app_configs: Sequence[AppConfig] | None, **_kwargs: Any) -> list[CheckMessage]:
    """What `migrate` would refuse to start with (E…), or what can hardly be meant (W…)."""
    _conf, problems = conf.read()
    return [
        (checks.Error if problem.is_error else checks.Warning)(problem.fact, hint=problem.remedy, id=problem.id)
        for problem in problems
    ]
