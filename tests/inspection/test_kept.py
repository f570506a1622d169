"""Figures that take long: read in a thread, and what was read before is shown meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.db import OperationalError
from django.test import Client

from accounts.models import User
from rupaya.inspection import home
from rupaya.inspection.kept import Kept
from tests.faults.migrator import query, wait_for
from tests.patience import HANGING_S
from tests.pointed import pointed_at
from transactions.models import Account, Transaction

SLOW = """
    ALTER TABLE transactions RENAME TO all_of_them;
    CREATE FUNCTION waits() RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN true; END';
    CREATE VIEW transactions AS SELECT * FROM all_of_them WHERE waits()
"""


def test_nobody_waits_long_for_a_figure_and_what_was_read_is_shown_meanwhile(
    migrated_url: str, django_db_blocker: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STATIC_ROOT = tmp_path
    monkeypatch.setattr(home, "STATEMENT_TIMEOUT_MS", 60_000)
    home.forget()
    with (
        pointed_at(migrated_url, django_db_blocker),
        closing(psycopg2.connect(migrated_url)) as holder,
        holder.cursor() as cursor,
    ):
        person = User.objects.create(email="y@example.com")
        account = Account.objects.create(user=person, name="Cash", account_type="cash")
        Transaction.objects.create(
            user=person, account=account, amount=5, transaction_type="income", transaction_date=date(2026, 1, 5)
        )
        query(migrated_url, SLOW)
        user = User.objects.create(email="x@example.com", is_staff=True, is_superuser=True)
        client = Client()
        client.force_login(user, backend="accounts.backends.BcryptBackend")

        def shown() -> str:
            return re.sub(r"(<[^>]+>|\s)+", " ", client.get("/admin/").content.decode())

        cursor.execute("SELECT pg_advisory_lock(77)")
        first = shown()
        cursor.execute("SELECT pg_advisory_unlock(77)")
        wait_for(lambda: "came in +5.00" in shown(), "the figure")
        monkeypatch.setattr(home._kept, "fresh_s", 0.0)
        cursor.execute("SELECT pg_advisory_lock(77)")
        meanwhile = shown()
        cursor.execute("SELECT pg_advisory_unlock(77)")
        holder.rollback()
        wait_for(lambda: not home._kept._under_way, "the last reading")

    assert "being added up" in first
    assert "being added up" not in meanwhile
    assert "came in +5.00" in meanwhile


def test_an_error_is_over_once_it_can_be_read_again(django_db_blocker: Any, migrated_url: str) -> None:
    """Nobody meets an error of before, nor one that was kept: but what takes too long is not tried by each."""
    kept: Kept[int] = Kept(fresh_s=300, shown_s=3600)
    tries: list[str] = []

    def fails(error: type[Exception]) -> int:
        tries.append(error.__name__)
        raise OperationalError from error("no")

    with pointed_at(migrated_url, django_db_blocker):

        def ask(read: Callable[[], int]) -> int:
            kept.begin("key", "default", read)
            return kept.get("key", time.monotonic() + HANGING_S)

        for _ in range(2):
            with pytest.raises(OperationalError):
                ask(lambda: fails(psycopg2.errors.AdminShutdown))
        assert ask(lambda: 7) == 7
        kept.forget()
        for _ in range(2):
            with pytest.raises(OperationalError):
                ask(lambda: fails(psycopg2.errors.QueryCanceled))

    assert tries == ["AdminShutdown", "AdminShutdown", "QueryCanceled"]
