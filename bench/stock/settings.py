"""The project's settings without the project's `migrate`."""

from rupaya.settings import *  # noqa: F403 - everything as it is, but for the migrator
from rupaya.settings import INSTALLED_APPS as PROJECT_APPS

INSTALLED_APPS = [app for app in PROJECT_APPS if app != "rupaya.migrator"]
