"""The settings of one of the projects, with the migrator among its apps or without."""

from __future__ import annotations

import os
import sys
from importlib import import_module

PROJECT = os.environ["PROJECT"]
_DJANGO = [f"django.contrib.{app}" for app in ("auth", "contenttypes", "sessions", "sites", "messages", "admin")]
if PROJECT == "oscar":
    _APPS = ["django.contrib.flatpages", *import_module("oscar").INSTALLED_APPS]
    _APPS = [app for app in _APPS if app not in _DJANGO]
    from oscar.defaults import *  # noqa: F403 - as the project's own documentation has it

    HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}}
elif PROJECT == "wagtail":
    _APPS = [
        *(f"wagtail.contrib.{app}" for app in ("forms", "redirects", "settings", "search_promotions")),
        *(
            f"wagtail.{app}"
            for app in ("embeds", "sites", "users", "snippets", "documents", "images", "search", "admin")
        ),
        "wagtail",
        "modelcluster",
        "taggit",
        "django.contrib.postgres",
    ]
    WAGTAIL_SITE_NAME = "x"
    WAGTAILADMIN_BASE_URL = "http://localhost"
elif PROJECT == "healthchecks":
    sys.path.append(os.environ["HEALTHCHECKS"])
    from hc.settings import *  # noqa: F403 - all that it is but for what follows
    from hc.settings import INSTALLED_APPS as _APPS
else:
    _APPS = ["cms", "menus", "sekizai", "treebeard"]
    LANGUAGES = [("en", "English")]
    CMS_CONFIRM_VERSION4 = True
    CMS_TEMPLATES = [("page.html", "Page")]

INSTALLED_APPS = [
    *(["rupaya.migrator"] if os.environ.get("OURS") else []),
    *_DJANGO,
    "django.contrib.staticfiles",
    *_APPS,
]
INSTALLED_APPS = list(dict.fromkeys(INSTALLED_APPS))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["NAME"],
        "USER": "postgres",
        "HOST": os.environ["PGSOCKET"],
    }
}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
_PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
    *(["sekizai.context_processors.sekizai"] if PROJECT == "cms" else []),
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": _PROCESSORS},
    }
]
ROOT_URLCONF = "tests.projects.settings"
urlpatterns: list[object] = []
SECRET_KEY = "a project that is migrated and never served"
SITE_ID = 1
DEBUG = False
LANGUAGE_CODE = "en"
USE_TZ = True
STATIC_URL = "/static/"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
RELEASE = "one"
