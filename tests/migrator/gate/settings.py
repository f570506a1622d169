"""A project of the migrator and the shop."""

from rupaya.settings import *  # noqa: F403 - the database and the logs as they are

INSTALLED_APPS = ["rupaya.migrator", "tests.migrator.gate.shop"]
ROOT_URLCONF = None
AUTH_USER_MODEL = "auth.User"
