"""How people, and the tokens and codes given to them, are made and looked up."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.postgres.functions import TransactionNow
from django.db import models, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, Value
from django.db.models.functions import Lower

if TYPE_CHECKING:
    from accounts.models import RevokedToken, User  # noqa: F401 - ruff does not see the first one's use in quotes

M = TypeVar("M", bound=models.Model)


class UserManager(BaseUserManager["User"]):
    """Makes users, and finds them by e-mail address without regard to case."""

    def get_queryset(self) -> models.QuerySet[User]:
        # Django's own code filters users by `is_active` (with_perm, the password reset form): let it.
        active = ExpressionWrapper(Q(account_status="active"), output_field=BooleanField())
        return super().get_queryset().alias(is_active=active)  # type: ignore[no-redef]  # the model's is a property

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make a user; without a password, one who signs in elsewhere.

        Raises:
            ValidationError: if the password has more than 72 bytes, or the phone number is none.
            IntegrityError: if the address is taken, in any spelling of case, or is no address.
        """
        user = self._new_user(email, password, fields)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Make an administrator; `manage.py createsuperuser` calls this.

        Raises:
            ValidationError: where `create_user` would raise IntegrityError too: the command prints this one.
        """
        user = self._new_user(email, password, {**fields, "is_staff": True, "is_superuser": True})
        user.full_clean(exclude=["password"])
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        # Not `__iexact`, which compiles to UPPER() and would read the whole table past the index on LOWER().
        return self.alias(email_lower=Lower("email")).get(email_lower=Lower(Value(username)))

    async def aget_by_natural_key(self, username: str | None) -> User:
        return await self.alias(email_lower=Lower("email")).aget(email_lower=Lower(Value(username)))

    def _new_user(self, email: str, password: str | None, fields: dict[str, Any]) -> User:
        if not email:
            raise ValueError("A user needs an e-mail address.")
        # The address stays as it was given: the part before the @ may matter to the mail server.
        user = self.model(email=email.strip(), **fields)
        user.set_password(password)
        return user


class ExpiringQuerySet(models.QuerySet[M]):
    """Rows with an `expires_at`, after which they are of no use."""

    def expired(self) -> ExpiringQuerySet[M]:
        """The rows past their time by the database's clock."""
        return self.filter(expires_at__lte=TransactionNow())

    def delete_expired_batch(self, size: int) -> int:
        """Delete up to `size` expired rows in a transaction of their own and return how many.

        Rows that somebody else is working on are left for the next time.
        """
        with transaction.atomic(using=self.db):
            batch = self.expired().order_by("expires_at").select_for_update(skip_locked=True)[:size]
            keys = list(batch.values_list("pk", flat=True))
            deleted, _ = self.filter(pk__in=keys).delete()
        return deleted


class RevokedTokenManager(models.Manager["RevokedToken"]):
    """Revokes tokens, and tells whether one is revoked."""

    def revoke(self, token_id: uuid.UUID | str, user: User, token_type: str, expires_at: datetime) -> None:
        """Revoke a token until it expires by itself; to revoke it once more changes nothing.

        Raises:
            ValueError: if `token_id` is no UUID.
        """
        token = self.model(token_id=_token_id(token_id), user=user, token_type=token_type, expires_at=expires_at)
        self.bulk_create([token], ignore_conflicts=True)

    def is_revoked(self, token_id: uuid.UUID | str) -> bool:
        """Tell whether the token with this `jti` has been revoked.

        Raises:
            ValueError: if `token_id` is no UUID.
        """
        return self.filter(token_id=_token_id(token_id)).exists()


def _token_id(value: uuid.UUID | str) -> uuid.UUID:
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(value)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"{value!r} is not a token id: the jti of these tokens is a UUID.") from None
