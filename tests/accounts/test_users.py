"""Signing in, and the password hash that other backends read and write too."""

from __future__ import annotations

import asyncio

import bcrypt
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import BCryptPasswordHasher
from django.contrib.auth.models import Permission
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.backends import BcryptBackend
from accounts.longpasswords import ORIGINAL_COST
from accounts.models import User
from tests.accounts.conftest import PASSWORD

TOO_LONG = "x" * 73
EIGHTEEN_EMOJI = "😀" * 18  # 72 bytes


def stored(column: str = "password_hash", email: str = "Asha@Example.com") -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM users WHERE lower(email) = lower(%s)", [email])
        value: str | None = cursor.fetchone()[0]
        return value


def store_hash(password_hash: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET password_hash = %s", [password_hash])


@pytest.mark.parametrize("email", ["Asha@Example.com", "asha@example.com", "ASHA@EXAMPLE.COM"])
def test_a_person_signs_in_with_their_address_in_any_case(user: User, email: str) -> None:
    assert authenticate(username=email, password=PASSWORD) == user
    assert authenticate(email=email, password=PASSWORD) == user


def test_the_address_stays_as_it_was_given(user: User) -> None:
    assert stored("email") == "Asha@Example.com"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("asha@example.com", "wrong"),
        ("asha@example.com", ""),
        ("asha@example.com", TOO_LONG),
        ("asha@example.com", PASSWORD + TOO_LONG),
        ("asha@example.com", "\udc80"),
        ("asha@example.com", "nul\0byte"),
        ("nobody@example.com", PASSWORD),
        ("nobody@example.com", TOO_LONG),
        ("", PASSWORD),
    ],
)
def test_wrong_credentials_are_merely_wrong(user: User, email: str, password: str) -> None:
    assert authenticate(username=email, password=password) is None


def test_a_password_too_long_for_bcrypt_is_a_wrong_one_wherever_it_is_checked(user: User) -> None:
    assert user.check_password(PASSWORD)
    assert not user.check_password(TOO_LONG)


def test_a_password_over_72_bytes_that_the_original_hashed_is_read_as_it_read_it(user: User) -> None:
    # 73 bytes; the cut goes through a character.
    original = "A1!" + "x" * 68 + "é"
    hashed = bcrypt.hashpw(original.encode()[:72], bcrypt.gensalt(ORIGINAL_COST, b"2a")).decode()
    store_hash(hashed)

    assert authenticate(username="asha@example.com", password=original) == user
    assert authenticate(username="asha@example.com", password=original + " and more") == user
    assert authenticate(username="asha@example.com", password="B" + original) is None
    assert stored() == hashed
    # This service's own hashes are of whole passwords.
    store_hash(bcrypt.hashpw(original.encode()[:72], bcrypt.gensalt(4)).decode())
    assert authenticate(username="asha@example.com", password=original) is None


@pytest.mark.django_db(transaction=True)
def test_it_is_the_same_without_blocking(quick_hasher: None) -> None:
    user = User.objects.create_user("asha@example.com", PASSWORD)

    async def tries() -> list[object]:
        credentials = [("ASHA@example.com", PASSWORD), ("asha@example.com", TOO_LONG), ("x@example.com", TOO_LONG)]
        results = [await aauthenticate(username=email, password=password) for email, password in credentials]
        results.append(await user.acheck_password(TOO_LONG))
        await sync_to_async(connections.close_all)()  # those of the thread that did the work
        return results

    assert asyncio.run(tries()) == [user, None, None, False]


def test_finding_a_person_by_address_uses_the_index(user: User) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        User.objects.get_by_natural_key("asha@example.com")
    (query,) = queries
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + query["sql"])
        assert "users_email_unique" in str(cursor.fetchall())


@pytest.mark.parametrize("status", ["inactive", "suspended", "deleted"])
def test_only_an_active_person_signs_in(user: User, status: str) -> None:
    assert user.is_active
    user.account_status = status
    user.save()
    assert not user.is_active
    assert authenticate(username=user.email, password=PASSWORD) is None
    assert not User.objects.filter(is_active=True).exists()
    assert User.objects.filter(is_active=False).get() == user


def test_djangos_search_for_who_may_do_something_leaves_out_who_is_not_active(user: User) -> None:
    suspended = User.objects.create_user("ravi@example.com", account_status="suspended")
    permission = Permission.objects.get(codename="view_device")
    for person in (user, suspended):
        person.user_permissions.add(permission)
    assert list(BcryptBackend().with_perm("accounts.view_device")) == [user]


@pytest.mark.django_db
def test_the_hash_is_what_every_bcrypt_library_reads() -> None:
    User.objects.create_user("Asha@Example.com", PASSWORD)
    password_hash = stored()
    assert password_hash is not None
    assert password_hash.startswith("$2b$12$")
    assert bcrypt.checkpw(PASSWORD.encode(), password_hash.encode())


@pytest.mark.parametrize("version", ["2a", "2b", "2y"])
def test_a_hash_of_another_backend_is_accepted(user: User, version: str) -> None:
    by_library = bcrypt.hashpw(b"chosen in the app", bcrypt.gensalt(4)).decode()
    store_hash(f"${version}${by_library[4:]}")
    assert authenticate(username=user.email, password="chosen in the app") == user
    assert authenticate(username=user.email, password=PASSWORD) is None


def test_signing_in_writes_the_hash_anew_only_when_the_work_factor_differs(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored()
    authenticate(username=user.email, password=PASSWORD)
    assert stored() == before
    monkeypatch.setattr(BCryptPasswordHasher, "rounds", 5)
    authenticate(username=user.email, password=PASSWORD)
    assert str(stored()).startswith("$2b$05$")
    assert authenticate(username=user.email, password=PASSWORD) == user


def test_no_password_is_null_in_the_database_and_unusable_in_django(user: User) -> None:
    user.set_unusable_password()
    user.save()
    assert stored() is None
    user.refresh_from_db()
    assert not user.has_usable_password()
    assert authenticate(username=user.email, password="!") is None
    assert authenticate(username=user.email, password="") is None


def test_a_person_made_without_a_password_has_none(db: None) -> None:
    assert not User(email="asha@example.com").has_usable_password()
    User.objects.create_user("asha@example.com", oauth_provider="google", oauth_provider_id="1")
    assert stored() is None


def test_a_session_outlives_reading_a_person_without_password_again(user: User) -> None:
    user.set_password(None)
    user.save()
    assert User.objects.get().get_session_auth_hash() == user.get_session_auth_hash()


def test_a_hash_of_another_algorithm_is_not_stored(user: User) -> None:
    user.password = "pbkdf2_sha256$1000000$salt$hash"
    with pytest.raises(ValueError, match="Only bcrypt hashes are stored"):
        user.save()


def test_a_hash_can_be_copied_from_person_to_person(user: User) -> None:
    ravi = User.objects.create_user("ravi@example.com")
    User.objects.filter(pk=ravi.pk).update(password=user.password)
    assert authenticate(username=ravi.email, password=PASSWORD) == ravi


@pytest.mark.parametrize("password", [TOO_LONG, EIGHTEEN_EMOJI + "x", "\udc80"])
def test_a_password_that_bcrypt_would_not_read_whole_is_refused(user: User, password: str) -> None:
    before = stored()
    with pytest.raises(ValidationError, match="too long"):
        user.set_password(password)
    with pytest.raises(ValidationError, match="too long"):
        User.objects.create_user("ravi@example.com", password)
    with pytest.raises(ValidationError, match="too long"):
        validate_password(password)
    assert (stored(), User.objects.count()) == (before, 1)


@pytest.mark.parametrize("password", ["x" * 72, EIGHTEEN_EMOJI])
def test_a_password_of_72_bytes_counts_to_its_last_byte(user: User, password: str) -> None:
    user.set_password(password)
    user.save()
    assert authenticate(username=user.email, password=password) == user
    assert authenticate(username=user.email, password=password[:-1]) is None


def test_signing_in_is_remembered_in_the_contracts_column(user: User) -> None:
    client = Client()
    assert client.login(username="asha@example.com", password=PASSWORD)
    moment = User.objects.get().last_login
    assert moment is not None
    assert abs(timezone.now() - moment).total_seconds() < 60
    assert stored("last_login_at IS NOT NULL") is True


def test_an_address_is_taken_in_every_case(user: User) -> None:
    with pytest.raises(IntegrityError, match="users_email_unique"):
        User.objects.create_user("ASHA@example.com")


@pytest.mark.parametrize("email", ["", None])
def test_a_person_needs_an_address(db: None, email: str) -> None:
    with pytest.raises(ValueError, match="needs an e-mail address"):
        User.objects.create_user(email)


def test_createsuperuser_makes_an_administrator(db: None, quick_hasher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", interactive=False, email="root@example.com", verbosity=0)
    root = authenticate(username="root@example.com", password=PASSWORD)
    assert isinstance(root, User)
    assert root.is_staff
    assert root.has_perm("accounts.view_user")


@pytest.mark.parametrize(
    ("email", "password", "message"),
    [
        ("asha@EXAMPLE.com", PASSWORD, "A user with this e-mail address already exists"),
        ("nonsense", PASSWORD, "valid email address"),
        ("root@example.com", TOO_LONG, "too long"),
    ],
)
def test_createsuperuser_says_what_is_wrong(
    user: User, monkeypatch: pytest.MonkeyPatch, email: str, password: str, message: str
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
    with pytest.raises(CommandError, match=message):
        call_command("createsuperuser", interactive=False, email=email, verbosity=0)
