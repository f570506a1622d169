"""The service as production runs it, with an administrator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.releases import PRODUCTION
from tests.server.service import Service, manage

PASSWORD = "correct horse battery staple"
EMAIL = "asha@example.com"


@pytest.fixture(scope="module")
def production(production_release: Path, module_url: str) -> Iterator[Service]:
    with Service(production_release, **PRODUCTION, DATABASE_URL=module_url) as service:
        service.wait_until_ready()
        yield service


@pytest.fixture(scope="module")
def secret(production_release: Path, module_url: str) -> str:
    """Makes the administrator, with the runbook's command; the secret of their second factor."""
    made = manage(
        production_release, "administrator", EMAIL, "--password-stdin", "--print-second-factor",
        stdin=f"{PASSWORD}\n", **PRODUCTION, DATABASE_URL=module_url,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout
    return made.stdout.split()[-1]
