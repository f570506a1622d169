"""What compose.yaml starts the image with, without Compose: its variables and its hardening."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.image.conftest import PROJECT
from tests.image.containers import SOCKET_DIR, StartContainer

yaml = pytest.importorskip("yaml", reason="PyYAML is installed by `make lint`")

# A cold build downloads every dependency.
pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml, with each variable of the shell unset."""
    text = (PROJECT / "compose.yaml").read_text()
    return dict(yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))["services"])


def test_its_variables_make_the_service_ready(
    services: dict[str, Any], start: StartContainer, empty_database: str
) -> None:
    variables = services["web"]["environment"]
    container = start(
        empty_database,
        **variables | {"DATABASE_URL": None, "DB_HOST": SOCKET_DIR, "DB_NAME": empty_database},
    )
    container.wait_until_ready()
    assert variables["RUPAYA_ENV"] == "production"
    assert container.get("/admin/login/").status == 301


def test_it_agrees_with_its_database_on_who_asks(services: dict[str, Any]) -> None:
    web, db = services["web"]["environment"], services["db"]["environment"]
    for web_name, db_name in (
        ("DB_USER", "POSTGRES_USER"),
        ("DB_NAME", "POSTGRES_DB"),
        ("DB_PASSWORD", "POSTGRES_PASSWORD"),
    ):
        assert web[web_name] == db[db_name]
    assert web["DB_HOST"] in services


def test_it_is_hardened_and_waits_for_a_healthy_database(services: dict[str, Any]) -> None:
    web = services["web"]
    assert web["read_only"] is True
    assert web["cap_drop"] == ["ALL"]
    assert web["security_opt"] == ["no-new-privileges:true"]
    assert web["depends_on"]["db"]["condition"] == "service_healthy"
    assert services["db"]["healthcheck"]["test"]


def test_nothing_is_reachable_from_another_machine(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]
