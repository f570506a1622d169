"""Changing a row: only by those who were told that they may, after a second look, and never over another's change."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.core import signing
from django.db.models import Model, Q
from django.http import HttpRequest

CONFIRM = "_confirm"
WHY = "_why"
WHY_MAX_CHARACTERS = 300
_BEFORE_WHY = "\nWhy: "
SEEN = "_seen"
_SALT = "rupaya.inspection.editing"


def may_edit(request: HttpRequest, opts: Any) -> bool:
    """Whether this person, or a group of theirs, has been given the permission to change this model's rows.

    Being a superuser is not enough: nobody changes data because they happen to be all-powerful.
    """
    user: Any = request.user
    if not (user.is_active and user.is_staff):
        return False
    if not hasattr(user, "_given_permissions"):
        user._given_permissions = set(
            Permission.objects.filter(Q(user=user) | Q(group__user=user)).values_list(
                "content_type__app_label", "codename"
            )
        )
    return (opts.app_label, f"change_{opts.model_name}") in user._given_permissions


def reason(request: HttpRequest) -> str:
    """Why somebody changes a row, in one line."""
    return " ".join(request.POST.get(WHY, "").split())[:WHY_MAX_CHARACTERS]


def with_reason(message: str, why: str) -> str:
    """What the log keeps of a change."""
    return f"{message}{_BEFORE_WHY}{why}"


def without_reason(message: str) -> tuple[str, str]:
    """What was changed, and why; older entries have no reason."""
    what, mark, why = message.rpartition(_BEFORE_WHY)
    return (what, why) if mark else (message, "")


def seen(row: Model, names: list[str]) -> str:
    """What a form was filled with, signed: so that it is known later what its reader saw."""
    return signing.dumps({name: value_of(row, name) for name in names}, salt=_SALT)


def changed_since(row: Model, token: str) -> list[str] | None:
    """The names of the fields that have another value now; None if the token is not one of ours."""
    try:
        before = signing.loads(token, salt=_SALT, max_age=12 * 3600)
    except signing.BadSignature:
        return None
    return [name for name, value in before.items() if value_of(row, name) != value]


def value_of(row: Model, name: str) -> Any:
    """A field's value as text, or None; of a many-to-many relation, its keys."""
    field = row._meta.get_field(name)
    if field.many_to_many:
        return sorted(str(key) for key in getattr(row, name).values_list("pk", flat=True))
    if field.value_from_object(row) is None:  # type: ignore[union-attr]
        return None
    return field.value_to_string(row)  # type: ignore[union-attr]  # every field that is left has it
