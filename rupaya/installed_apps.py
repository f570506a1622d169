"""The installed apps, in a module of their own: the early exit of `migrate` reads them without loading Django."""

INSTALLED_APPS = [
    # Before the admin, whose templates they extend under their own names.
    "rupaya.inspection",
    "rupaya.story",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "rupaya.security",
    "rupaya.migrator",
    "rupaya.adoption",
    "accounts",
    "transactions",
]
