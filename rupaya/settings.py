"""One settings file for every environment, built from `rupaya.environment`."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rupaya import environment, logs
from rupaya.installed_apps import INSTALLED_APPS as PROJECT_APPS

env = environment.load()

BASE_DIR = Path(environment.BASE_DIR)
DEBUG = env.debug
SECRET_KEY = env.secret_key
ALLOWED_HOSTS = env.allowed_hosts
CSRF_TRUSTED_ORIGINS = env.csrf_trusted_origins
RUPAYA_ENV = env.name
RELEASE = env.release
GIT_SHA = env.git_sha
TASK = env.task
TRUSTED_PROXIES = env.trusted_proxies

INSTALLED_APPS = [*PROJECT_APPS]
# Whoever writes migrations needs the commands that keep max_migration.txt; a service does not, so its image lacks them.
# It has no migrations of its own: to `migrate`, this list and the early exit's are the same.
if not env.is_production and find_spec("django_linear_migrations"):
    INSTALLED_APPS += ["django_linear_migrations"]

MIDDLEWARE = [
    # First, so that probes meet no host check, redirect, session or login.
    "rupaya.health.middleware.ProbeMiddleware",
    "rupaya.middleware.RequestMiddleware",
    "rupaya.middleware.NulMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *(("django_otp.middleware.OTPMiddleware",) if env.admin_require_otp else ()),
    "rupaya.security.middleware.SecondFactorMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "rupaya.urls"
WSGI_APPLICATION = "rupaya.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "rupaya" / "health" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "rupaya.inspection.context.page",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        **env.database.django_settings(),
    }
}
# The schema that this code needs, for people to see; and what migrations presume of rows, for `migrate` to ask before
# it begins. `make schema` writes both.
SCHEMA_SQL = BASE_DIR / "schema.sql"
MIGRATOR_PRESUMPTIONS = BASE_DIR / "rupaya" / "presumptions.json"
# Where it asks, if there is one.
MIGRATOR_REPLICA = "replica"

if env.replica_database:
    # Read by `rupaya.inspection.replica` and by what `migrate` asks beforehand: no router sends anybody there.
    DATABASES["replica"] = {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "TEST": {"MIRROR": "default"},
        **env.replica_database.django_settings(),
    }
    DATABASES["replica"]["OPTIONS"].setdefault("application_name", f"release {env.release}"[:63])
# The direct address beside a pooler, perhaps with the owner's credentials: `migrate` alone uses it.
# By its name, `rollback` sees which releases are connected; PostgreSQL keeps 63 bytes.
DATABASES["default"]["OPTIONS"].setdefault("application_name", f"release {env.release}"[:63])
# A pooler may know the database by another name: the migrator asks both whether they are the same.
MIGRATION_DATABASE = env.migration_database.django_settings() if env.migration_database else None
MIGRATION_DATABASE_INSTEAD_OF = env.database.name
# The role that an adoption lets use what the migrating one makes, or its group; empty where they are one.
SERVING_CREDENTIALS = env.credentials
SERVING_ROLE = (
    (env.credentials and env.credentials.member_of) or env.database.user
    if env.migration_database and env.migration_database.user != env.database.user
    else ""
)
# Before a run looks at anything, because it may ask as the one that serves; and after what has made tables.
MIGRATOR_RIGHTS = "rupaya.security.servingrole.keep"
# What `migrate` must not do on a database that another system made.
MIGRATOR_HISTORY_CHECKS = ["rupaya.adoption.original.refuse_unadopted"]
# MIGRATE_LOCK_WAIT_S and its like, as the environment has them; `rupaya.migrator.conf` knows their meaning.
MIGRATE_PHASE: str = env.migrate["MIGRATE_PHASE"]  # by name too, because health and story read it
globals().update(env.migrate)

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["rupaya.security.throttle.ThrottlingBackend", "accounts.backends.BcryptBackend"]
# bcrypt alone, in its plain form: other backends read and write `users.password_hash` with their own bcrypt.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.BCryptPasswordHasher"]
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.validators.MaximumBytesValidator"},
]
SILENCED_SYSTEM_CHECKS = [
    # From Django 6.1 on. All that is used of django.contrib.postgres is ArrayField, which needs no app; one installed
    # would ask the server for the types of hstore and citext at each new connection.
    "postgres.E005",
    # What django_linear_migrations checks, `lintmigrations` does: before every command it would stop `migrate` too, in
    # the middle of a merge.
    *(f"dlm.E{number:03}" for number in range(1, 6)),
    # E-mail addresses are unique without regard to case by an expression index, which these two checks cannot see.
    "auth.E003",
    "auth.W004",
]

# Sign-in, throttled: five failures at one account from one address; `rupaya.security.throttle` has the other limits.
AXES_HANDLER = "rupaya.security.throttle.ThrottlingHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], ["ip_address"], ["username"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
# Else an attacker who goes on would keep the account locked for its owner.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "rupaya.security.throttle.account_name"
AXES_CLIENT_IP_CALLABLE = "rupaya.security.throttle.throttled_address"
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
METRICS_TOKEN = env.metrics_token
ADMIN_REQUIRE_OTP = env.admin_require_otp
OTP_TOTP_ISSUER = "Rupaya"

PHONENUMBER_DB_FORMAT = "E164"
PHONENUMBER_DEFAULT_FORMAT = "E164"
PHONENUMBER_DEFAULT_REGION = "IN"

LANGUAGE_CODE = "en"
USE_I18N = False
# Worker logs would otherwise differ from the master's, and people compare times across tables.
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if env.is_production
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
# Outside production nobody has collected the static files: serve them from where the apps keep them.
WHITENOISE_USE_FINDERS = not env.is_production

# The admin site loads its own files and nothing else; no script and no style stands in a page.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
PERMISSIONS_POLICY: dict[str, list[str]] = {
    feature: []
    for feature in (
        "accelerometer autoplay bluetooth browsing-topics camera display-capture encrypted-media fullscreen "
        "geolocation gyroscope hid idle-detection local-fonts magnetometer microphone midi payment picture-in-picture "
        "publickey-credentials-get screen-wake-lock serial storage-access usb web-share window-management "
        "xr-spatial-tracking"
    ).split(" ")
}
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_AGE = 12 * 3600  # the only sessions are those of staff

if env.is_production:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LOGGING = logs.logging_config(env)
# `migrate` writes its lines itself, in the same format.
LOG_FORMAT = env.log_format
