"""Personal data is masked for those who may not see it whole, wherever it could show."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.urls import reverse

from accounts.models import User
from rupaya.inspection.masking import mask_email, mask_name, mask_phone, mask_text
from tests.inspection.conftest import As
from tests.transactions.rows import USER, insert

pytestmark = pytest.mark.usefixtures("personal")

PHONE = "+919876541234"
PERSONAL = ("asha@example.com", "Asha Kulkarni", "98765", "41234", "google-117", "my secret note", "fp-0815")
PAGES = (
    ("admin:accounts_user_changelist", ()),
    ("admin:accounts_user_change", (USER,)),
    ("admin:accounts_user_history", (USER,)),
    ("admin:accounts_device_changelist", ()),
    ("admin:accounts_phoneotp_changelist", ()),
    ("admin:accounts_revokedtoken_changelist", ()),
    ("admin:transactions_account_changelist", ()),
    ("admin:transactions_transaction_changelist", ()),
    ("admin:transactions_budget_changelist", ()),
    ("admin:index", ()),
)


@pytest.fixture
def personal(person: None) -> None:
    User.objects.filter(pk=USER).update(
        name="Asha Kulkarni", phone_number=PHONE, oauth_provider="google", oauth_provider_id="google-117"
    )
    insert("devices", device_fingerprint="fp-0815")
    insert("phone_otps", phone_number=PHONE)
    insert("revoked_tokens")
    insert("transactions", description="my secret note", notes="my secret note")
    insert("budgets")


@pytest.mark.parametrize(
    ("mask", "value", "masked"),
    [
        (mask_email, "asha@example.com", "a•••@example.com"),
        (mask_email, "@example.com", "•••@example.com"),
        (mask_email, "no address", "•••"),
        (mask_phone, "+919876541234", "+91 •••• ••1234"),
        (mask_phone, "+12025550123", "+1 •••• ••0123"),
        (mask_phone, "+2904123", "+290 •••"),
        (mask_phone, "nonsense", "•••"),
        (mask_name, "Asha Kulkarni", "A••• K•••"),
        (mask_text, "whatever it says", "••• (16 characters)"),
    ],
)
def test_a_mask_leaves_enough_to_tell_two_apart(mask: object, value: str, masked: str) -> None:
    assert callable(mask)
    assert mask(value) == masked


@pytest.mark.parametrize(("page", "args"), PAGES, ids=[page for page, _ in PAGES])
def test_an_inspector_sees_no_personal_data_whole(staff_of: As, page: str, args: tuple[str, ...]) -> None:
    html = staff_of("inspector").get(reverse(page, args=args)).content.decode()
    assert [part for part in PERSONAL if part in html] == []


def test_an_inspector_sees_the_masks(staff_of: As) -> None:
    html = staff_of("inspector").get(reverse("admin:accounts_user_change", args=(USER,))).content.decode()
    for masked in ("a•••@example.com", "+91 •••• ••1234", "A••• K•••", "••• (10 characters)"):
        assert masked in html


def test_an_operator_sees_it_whole(staff_of: As) -> None:
    html = staff_of("operator").get(reverse("admin:accounts_user_change", args=(USER,))).content.decode()
    for whole in ("asha@example.com", PHONE, "Asha Kulkarni", "google-117"):
        assert whole in html


def test_autocompletion_tells_an_inspector_no_names(staff_of: As) -> None:
    asked = {"app_label": "transactions", "model_name": "transaction", "field_name": "user", "term": "asha@example.com"}
    (found,) = staff_of("inspector").get("/admin/autocomplete/", asked).json()["results"]
    assert found == {"id": USER, "text": "a•••@example.com"}
    (found,) = staff_of("operator").get("/admin/autocomplete/", asked).json()["results"]
    assert found["text"] == "asha@example.com"


@pytest.mark.parametrize(
    "lookup", ["email__startswith", "phone_number__contains", "name", "password__startswith", "mfa_secret__isnull"]
)
def test_no_address_asks_a_masked_field_letter_by_letter(staff_of: As, lookup: str) -> None:
    page = staff_of("inspector").get(reverse("admin:accounts_user_changelist"), {lookup: "a"})
    assert page.status_code == 400


@pytest.mark.parametrize("term", ["a", "asha", "Asha Kulkarni", "as@", "@example.com"])
def test_no_search_tells_a_masked_field_letter_by_letter(staff_of: As, term: str) -> None:
    page = staff_of("inspector").get(reverse("admin:accounts_user_changelist"), {"q": term})
    assert page.context["cl"].result_list == []
    assert "beginning of a name" not in page.content.decode()
    assert "beginning of a name" in staff_of("operator").get("/admin/accounts/user/").content.decode()


def test_no_order_tells_a_masked_field(staff_of: As) -> None:
    insert("users", email="zoe@example.com", created_at="2020-01-01T00:00Z")
    client = staff_of("inspector")
    for order in ("1", "-1", "2", "3"):
        rows = client.get(reverse("admin:accounts_user_changelist"), {"o": order}).context["cl"].result_list
        assert rows == client.get(reverse("admin:accounts_user_changelist")).context["cl"].result_list


def test_the_log_names_nobody(staff_of: As) -> None:
    LogEntry.objects.create(
        user_id=USER, object_id=USER, object_repr="a•••@example.com", action_flag=CHANGE, change_message="Changed."
    )
    auditor = staff_of("auditor")
    html = auditor.get(reverse("admin:admin_logentry_changelist")).content.decode()
    assert "a•••@example.com" in html
    assert "asha@example.com" not in html
    assert staff_of("inspector").get(reverse("admin:admin_logentry_changelist")).status_code == 403
