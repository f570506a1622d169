"""The service as production runs it, with people in its database and others who look after them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.browser import sample
from tests.browser.balancer import balancer
from tests.faults.migrator import query
from tests.server.releases import PRODUCTION
from tests.server.service import Service, manage

PASSWORD = "correct horse battery staple"
ROLES = ("inspector", "auditor", "operator", "administrator", "newcomer", "beginner", "leaver")

_MAKE_STAFF = f"""
import json
from django.contrib.auth.models import Group
from django_otp.plugins.otp_totp.models import default_key
from accounts.models import User
from rupaya.security.views import new_device, secret_of
secrets = dict()
for role in {ROLES!r}:
    user = User.objects.create_user(
        email=f"{{role}}@example.com", password={PASSWORD!r}, name=f"The {{role}}", is_staff=True,
        is_superuser=role == "administrator",
    )
    if role in ("newcomer", "beginner", "leaver"):
        user.groups.add(Group.objects.get(name="inspector"))
    elif role != "administrator":
        user.groups.add(Group.objects.get(name=role))
    device = new_device(user, default_key())
    device.save()
    secrets[role] = secret_of(device.config_url)
print(json.dumps(secrets))
"""


@dataclass(frozen=True)
class Site:
    """Where it is, whom it knows, and how its database is reached behind its back."""

    url: str
    database_url: str
    secrets: dict[str, str]

    def query(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask the database, or change something in it, as another service would."""
        return query(self.database_url, sql, *parameters)


@contextmanager
def running(release: Path, database_url: str) -> Iterator[Site]:
    """Serve a release, behind TLS, on a database that has the schema and nobody in it."""
    # Back and forth, so that there is a run that found a schema and changed it.
    for arguments in (("transactions", "0005"), ()):
        migrated = manage(release, "migrate", "--noinput", *arguments, DATABASE_URL=database_url, RELEASE="v6-0a1b2c3")
        assert migrated.returncode == 0, migrated.stderr
    sample.fill(database_url)
    settings = PRODUCTION | {"ALLOWED_HOSTS": "localhost", "DATABASE_URL": database_url, "WEB_CONCURRENCY": "2"}
    with Service(release, **settings) as service:
        made = manage(release, "shell", "--no-imports", "-c", _MAKE_STAFF, **settings)
        assert made.returncode == 0, made.stderr
        # They would be the newest people, as old as this test; and the planner knows of nobody yet.
        query(database_url, "UPDATE users SET created_at = '2026-01-01T00:00Z' WHERE is_staff")
        query(database_url, "ANALYZE")
        service.wait_until_ready()
        with balancer(service.port) as url:
            yield Site(url, database_url, json.loads(made.stdout.splitlines()[-1]))
