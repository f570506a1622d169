"""`manage.py purge_expired`."""

from __future__ import annotations

import datetime as dt
import io
import sys
import uuid

import psycopg2
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import PhoneOTP, RevokedToken, User

MINUTE = dt.timedelta(minutes=1)


def purge(*arguments: str) -> str:
    output = io.StringIO()
    call_command("purge_expired", *arguments, stdout=output)
    return output.getvalue().strip()


def add(expired: int, live: int) -> None:
    """So many expired and live tokens, and twice as many codes."""
    user = User.objects.create_user(f"{uuid.uuid4()}@example.com")
    now = timezone.now()
    times = [now - MINUTE] * expired + [now + MINUTE] * live
    RevokedToken.objects.bulk_create(RevokedToken(token_id=uuid.uuid4(), user=user, expires_at=time) for time in times)
    PhoneOTP.objects.bulk_create(
        PhoneOTP(phone_number="+919876543210", code_hash="a hash", expires_at=time) for time in times * 2
    )


@pytest.mark.django_db
def test_what_has_expired_goes_and_what_lives_stays() -> None:
    add(expired=3, live=2)
    assert purge() == "Deleted 3 expired revoked tokens and 6 expired one-time passwords."
    assert (RevokedToken.objects.count(), PhoneOTP.objects.count()) == (2, 4)
    assert purge() == "Deleted 0 expired revoked tokens and 0 expired one-time passwords."


@pytest.mark.django_db
def test_a_dry_run_counts_and_deletes_nothing() -> None:
    add(expired=3, live=2)
    assert purge("--dry-run") == "Would delete 3 expired revoked tokens and 6 expired one-time passwords."
    assert (RevokedToken.objects.count(), PhoneOTP.objects.count()) == (5, 10)


@pytest.mark.django_db(transaction=True)
def test_it_deletes_in_transactions_of_a_batch() -> None:
    add(expired=5, live=0)
    with CaptureQueriesContext(connection) as queries:
        purge("--batch-size", "2")
    statements = [query["sql"].split()[0] for query in queries if query["sql"].startswith(("DELETE", "COMMIT"))]
    # Three batches of the five tokens and an empty one, then five of the ten codes and an empty one.
    assert statements == ["DELETE", "COMMIT"] * 3 + ["COMMIT"] + ["DELETE", "COMMIT"] * 5 + ["COMMIT"]
    assert RevokedToken.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_it_does_not_wait_for_a_row_that_somebody_works_on() -> None:
    add(expired=3, live=0)
    somebody = psycopg2.connect(**{**connection.get_connection_params(), "cursor_factory": None})
    try:
        with somebody.cursor() as cursor:
            cursor.execute("SELECT token_id FROM revoked_tokens LIMIT 1 FOR UPDATE")
        assert purge().startswith("Deleted 2 expired revoked tokens")
        somebody.rollback()
    finally:
        somebody.close()
    assert purge().startswith("Deleted 1 expired revoked tokens")


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_a_batch_has_at_least_a_row(size: str) -> None:
    with pytest.raises(CommandError, match="is not a number of rows"):
        purge(f"--batch-size={size}")


@pytest.mark.django_db
@pytest.mark.parametrize("terminal", [True, False])
def test_it_shows_a_bar_on_a_terminal_only(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    add(expired=1, live=0)
    purge()
    assert ("revoked tokens" in stderr.getvalue()) == terminal
