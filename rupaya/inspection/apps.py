"""The inspection of rows at any size, and of people's data without showing it to everybody."""

from django.apps import AppConfig


class InspectionConfig(AppConfig):
    """The inspection app."""

    name = "rupaya.inspection"
