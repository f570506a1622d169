"""The migrator as an app: its commands take the place of Django's, its checks run with the others."""

from django.apps import AppConfig


class MigratorConfig(AppConfig):
    name = "rupaya.migrator"
    label = "migrator"

    def ready(self) -> None:
        from rupaya.migrator import checks  # noqa: F401 - registers by being imported
