"""A phone number reaches the database in E.164 form, whichever way it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from django.forms import modelform_factory

from accounts.models import PhoneOTP, User

E164 = "+919876543210"
SPELLINGS = ["09876543210", "98765 43210", "+91 98765-43210", "0091 98765 43210", "(+91) 9876543210", E164]


def by_save(number: str | None) -> None:
    user = User.objects.get()
    user.phone_number = number
    user.save()


def by_save_of_one_field(number: str | None) -> None:
    user = User.objects.get()
    user.phone_number = number
    user.save(update_fields=["phone_number"])


def by_create(number: str | None) -> None:
    User.objects.all().delete()
    User.objects.create(email="asha@example.com", phone_number=number)


def by_create_user(number: str | None) -> None:
    User.objects.all().delete()
    User.objects.create_user("asha@example.com", phone_number=number)


def by_update(number: str | None) -> None:
    User.objects.update(phone_number=number)


def by_bulk_create(number: str | None) -> None:
    User.objects.all().delete()
    User.objects.bulk_create([User(email="asha@example.com", phone_number=number)])


def by_bulk_update(number: str | None) -> None:
    user = User.objects.get()
    user.phone_number = number
    User.objects.bulk_update([user], ["phone_number"])


def by_update_or_create(number: str | None) -> None:
    User.objects.update_or_create(email="asha@example.com", defaults={"phone_number": number})


def by_form(number: str | None) -> None:
    form = modelform_factory(User, fields=["phone_number"])({"phone_number": number or ""}, instance=User.objects.get())
    if not form.is_valid():
        raise ValidationError(form.errors.as_text())
    form.save()


PATHS = [
    by_save,
    by_save_of_one_field,
    by_create,
    by_create_user,
    by_update,
    by_bulk_create,
    by_bulk_update,
    by_update_or_create,
    by_form,
]


@pytest.fixture(autouse=True)
def user(db: None) -> User:
    return User.objects.create_user("asha@example.com")


def stored() -> str | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT phone_number FROM users")
        ((number,),) = cursor.fetchall()
    return number  # type: ignore[no-any-return]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("write", PATHS)
def test_every_way_of_writing_stores_the_one_form(write: Callable[[str], None], spelling: str) -> None:
    write(spelling)
    assert stored() == E164


@pytest.mark.parametrize("nonsense", ["my phone", "12", "+91 98765", "+0123456789", "98765432101234567890"])
@pytest.mark.parametrize("write", PATHS)
def test_nonsense_is_refused_and_not_stored(write: Callable[[str], None], nonsense: str) -> None:
    with pytest.raises(ValidationError, match="valid phone number"), transaction.atomic():
        write(nonsense)
    assert stored() is None


@pytest.mark.parametrize("nothing", ["", None])
@pytest.mark.parametrize("write", PATHS)
def test_no_number_is_null(write: Callable[[str | None], None], nothing: str | None) -> None:
    User.objects.update(phone_number=E164)
    write(nothing)
    assert stored() is None


def test_a_number_is_found_in_any_spelling(user: User) -> None:
    User.objects.update(phone_number=E164)
    assert User.objects.filter(phone_number="098765 43210").get() == user
    assert not User.objects.filter(phone_number="my phone").exists()


def test_a_number_that_only_another_backend_believes_in_stays(user: User) -> None:
    """Fictional by the list of number ranges, yet E.164: saving something else must not fail for it."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET phone_number = '+15555550100'")
    user = User.objects.get()
    user.name = "Asha"
    user.save()
    assert stored() == "+15555550100"


def test_an_expression_is_the_databases_to_check(user: User) -> None:
    User.objects.update(phone_number=E164)
    User.objects.update(phone_number=F("phone_number"))
    assert stored() == E164


def test_a_one_time_password_is_for_a_number_in_the_same_form() -> None:
    otp = PhoneOTP.objects.create(phone_number="98765 43210", code_hash="a hash", expires_at="2030-01-01T00:00Z")
    assert PhoneOTP.objects.filter(phone_number=E164).get() == otp
    assert str(otp) == "signup code for …3210"
