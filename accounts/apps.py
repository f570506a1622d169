"""People: users, devices, phone numbers and their one-time passwords, revoked tokens."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
