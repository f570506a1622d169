"""Revoking tokens."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import IntegrityError

from accounts.models import RevokedToken, User

JTI = uuid.UUID("0190a5c0-7a6e-7c3b-9a51-5f5d7f6a1b2c")
LATER = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("token_id", [JTI, str(JTI), str(JTI).upper()])
def test_a_token_is_revoked_by_its_jti(user: User, token_id: uuid.UUID | str) -> None:
    assert not RevokedToken.objects.is_revoked(token_id)
    RevokedToken.objects.revoke(token_id, user, "refresh", LATER)
    assert RevokedToken.objects.is_revoked(JTI)
    assert RevokedToken.objects.is_revoked(str(JTI))
    assert not RevokedToken.objects.is_revoked(uuid.uuid4())


def test_to_revoke_a_token_once_more_changes_nothing(user: User) -> None:
    RevokedToken.objects.revoke(JTI, user, "refresh", LATER)
    RevokedToken.objects.revoke(JTI, user, "access", LATER + dt.timedelta(days=1))
    token = RevokedToken.objects.get()
    assert (token.token_type, token.expires_at, str(token)) == ("refresh", LATER, f"refresh token {JTI}")


@pytest.mark.parametrize("nonsense", ["", "abc", None, 7, str(JTI) + "0"])
def test_what_is_no_jti_is_refused_by_name(user: User, nonsense: Any) -> None:
    with pytest.raises(ValueError, match="is not a token id"):
        RevokedToken.objects.is_revoked(nonsense)
    with pytest.raises(ValueError, match="is not a token id"):
        RevokedToken.objects.revoke(nonsense, user, "refresh", LATER)


def test_a_token_of_another_type_is_refused(user: User) -> None:
    with pytest.raises(IntegrityError, match="revoked_tokens_type_check"):
        RevokedToken.objects.revoke(JTI, user, "id", LATER)
