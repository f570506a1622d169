"""The schema's story: what migrations did, how the database stands to the code, and what the live schema is."""

from django.apps import AppConfig


class StoryConfig(AppConfig):
    """Pages of the admin site over the migrator's ledger and PostgreSQL's catalog; no tables of its own."""

    name = "rupaya.story"
    label = "story"
    verbose_name = "The schema's story"
