"""The installed app that takes over the database of the original system."""

from __future__ import annotations

from django.apps import AppConfig


class AdoptionConfig(AppConfig):
    """No models and no migrations: one command, and a check that `migrate` makes."""

    name = "rupaya.adoption"
    verbose_name = "Adoption"
