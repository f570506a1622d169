"""The schema's story: what migrations did, how the database stands to the code, and what the live schema is."""

from django.apps import AppConfig


class StoryConfig(AppConfig):
    """Pages of the admin site over the migrator's ledger and PostgreSQL's catalog; no tables of its own."""

    name = "rupaya.story"
    label = "story"
    verbose_name = "The schema's story"

    def ready(self) -> None:
        """Put the pages into the site's navigation."""
        from rupaya.inspection.navigation import Page, register
        from rupaya.story import finding  # noqa: F401 - registers by being imported

        for title, view_name, *covers in (
            ("Overview", "schema:overview"),
            ("This release", "schema:release"),
            ("Runs", "admin:story_run_changelist", "/admin/schema/runs/", "/admin/story/attempt/"),
            ("Timeline", "schema:timeline"),
            ("Drift", "schema:drift"),
            ("Tables", "schema:tables"),
            ("Attic", "schema:attic"),
            ("Diagram", "schema:diagram"),
        ):
            register(Page("Schema", title, view_name, "story.view_run", tuple(covers)))
