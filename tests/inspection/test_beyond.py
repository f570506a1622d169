"""Rows with a day or a moment that Python has no value for: they are shown, and take no page away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.db import connection
from psycopg2.extensions import PYDATE, PYDATETIMETZ, register_type

from rupaya.inspection import beyond
from tests.inspection.conftest import As
from tests.transactions.rows import USER, insert

DAYS = ("20226-03-14", "infinity", "-infinity", "0044-03-15 BC")
MOMENTS = ("20226-03-14 10:00:00+00", "infinity", "-infinity", "0044-03-15 10:00:00+00 BC")


@pytest.fixture(autouse=True)
def _taken(person: None) -> Iterator[None]:
    """As in the server, whose connections are made after `rupaya.wsgi`."""
    beyond.take(connection=connection)
    yield
    for ordinary in (PYDATE, PYDATETIMETZ):
        register_type(ordinary, connection.connection)


def test_each_is_shown_as_the_server_tells_it(staff_of: As) -> None:
    for day, moment in zip(DAYS, MOMENTS, strict=True):
        insert("transactions", transaction_date=day, created_at=moment)
    client = staff_of("inspector", timezone="Asia/Kolkata")

    page = client.get("/admin/transactions/transaction/?columns=transaction_date.created_at")
    assert page.status_code == 200
    for told in (*DAYS, *MOMENTS):
        assert told in page.content.decode()
    exported = client.post("/admin/transactions/transaction/export/", {"as": "csv"})
    assert "20226-03-14" in b"".join(exported.streaming_content).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_persons_page_is_there(staff_of: As, moment: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET created_at = %s, last_login_at = %s", [moment, moment])
        insert("devices", last_used_at=moment)
    client = staff_of("operator", timezone="Asia/Kolkata")

    for page in ("change/", "change/?edit=1", "history/"):
        assert client.get(f"/admin/accounts/user/{USER}/{page}").status_code == 200


def test_the_server_takes_them_and_a_migration_does_not(migrated_url: str) -> None:
    asked = "import django; django.setup(); from django.db import connection as c; k = c.cursor(); "
    asked += "k.execute(\"SELECT '20226-03-14'::date\"); print(k.fetchone()[0])"
    env = os.environ | {"DATABASE_URL": migrated_url, "DJANGO_SETTINGS_MODULE": "rupaya.settings"}

    def run(code: str) -> str:
        ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        return ran.stdout + ran.stderr

    assert "20226-03-14" in run(f"import rupaya.wsgi; {asked}").splitlines()
    assert "year 20226 is out of range" in run(asked)


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_drivers_own_cursor_reads_them_too(moment: str) -> None:
    """The story of the schema is read by it."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SET LOCAL timezone = 'UTC'; SELECT %s::timestamptz", [moment])
        (found,) = cursor.fetchone()

    assert str(found) == moment
