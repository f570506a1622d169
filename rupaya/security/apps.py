"""The hard shell around the admin site: throttled sign-in and a second factor."""

from django.apps import AppConfig


class SecurityConfig(AppConfig):
    """The security app; it has no models of its own."""

    name = "rupaya.security"
    label = "security"
