"""What a run copies of fields is what Django would have cloned."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.core.validators import MinLengthValidator
from django.db import models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter
from django.db.models import Field

from rupaya.migrator.fieldcopies import _PLAIN, fields_copied


def some_default() -> int:
    return 7


NEEDED: dict[type[Field[Any, Any]], dict[str, Any]] = {
    models.DecimalField: {"max_digits": 9, "decimal_places": 2},
    models.FilePathField: {"path": "/srv", "match": r".*\.txt"},
    models.FileField: {"upload_to": "there"},
    models.JSONField: {"default": dict},
    models.AutoField: {"primary_key": True, "auto_created": True, "serialize": False},
    models.BigAutoField: {"primary_key": True, "auto_created": True, "serialize": False},
    models.SmallAutoField: {"primary_key": True, "auto_created": True, "serialize": False},
    models.DateTimeField: {"auto_now": True},
    models.DateField: {"auto_now_add": True},
    models.CharField: {"max_length": 5, "validators": [MinLengthValidator(2)], "choices": [("a", "A"), ("b", "B")]},
    models.ForeignKey: {
        "to": "shop.Thing",
        "on_delete": models.PROTECT,
        "to_field": "code",
        "limit_choices_to": {"size": 1},
        "related_name": "them",
    },
    models.OneToOneField: {"to": "Shop.Thing", "on_delete": models.CASCADE, "parent_link": True},
    models.ManyToManyField: {"to": "self", "through": "shop.Between", "symmetrical": False},
    models.ForeignObject: {
        "to": "shop.Thing",
        "on_delete": models.CASCADE,
        "from_fields": ["a", "b"],
        "to_fields": ["c", "d"],
    },
    models.TextField: {
        "null": True,
        "db_default": models.Value("x"),
        "db_comment": "why",
        "error_messages": {"a": "b"},
    },
    models.IntegerField: {"default": some_default, "unique": True, "db_column": "n", "db_index": True},
}


def made_of(kind: type[Field[Any, Any]]) -> Any:
    if kind is models.OrderWrt:
        return kind()
    return kind(**NEEDED.get(kind, {"blank": True, "help_text": "what it is"}))


def described(field: Any) -> dict[str, Any]:
    """All that a field has, and its relation, but for its place among all fields and references to itself."""
    own = {name: value for name, value in vars(field).items() if name not in ("creation_counter", "remote_field")}
    relation = field.remote_field and (type(field.remote_field), {**vars(field.remote_field), "field": None})
    return {"type": type(field), "relation": relation, **own}


def lists_of(field: Any) -> set[int]:
    of_relation = vars(field.remote_field) if field.remote_field else {}
    return {id(value) for value in (*vars(field).values(), *of_relation.values()) if type(value) in (list, dict)}


@pytest.mark.parametrize("kind", sorted(_PLAIN, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_a_copy_is_what_django_clones(kind: type[Field[Any, Any]]) -> None:
    field = made_of(kind)
    cloned, counted = field.clone(), field.auto_created
    shared = {id(value) for value in (*vars(field).values(), *described(cloned).values()) if type(value) is dict}

    with fields_copied():
        copies = [field.clone() for _ in range(3)]
    later = field.clone()

    for copy in copies:
        assert described(copy) == described(cloned)
        assert copy.remote_field is None or copy.remote_field.field is copy
    assert not lists_of(copies[1]) & lists_of(copies[2]) - shared
    places = [copy.creation_counter for copy in (*copies, later)]
    assert places == sorted(places, reverse=counted), "a model's fields are ordered by it"
    assert len(set(places)) == 4


def test_what_becomes_of_a_field_is_seen() -> None:
    field: Any = models.ForeignKey("shop.Thing", models.CASCADE, to_field="code", validators=[])
    with fields_copied():
        field.clone()
        field.null = True
        assert field.clone().null
        field.remote_field.field_name = "other"
        field.to_fields = ["other"]
        assert field.clone().deconstruct()[3]["to_field"] == "other"
        field._validators.append(MinLengthValidator(3))
        assert field.clone()._validators == [MinLengthValidator(3)]
        copied = field.clone()
        copied.blank = True
        copied._validators.clear()
        assert not field.clone().blank
        assert field.clone()._validators


def test_a_field_of_somebody_elses_is_made_each_time() -> None:
    made = []

    class Counted(models.CharField):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            made.append(1)
            super().__init__(*arguments, **options)

    with fields_copied():
        field = Counted(max_length=3)
        copies = [field.clone() for _ in range(3)]

    assert len(made) == 4
    assert len({id(copy) for copy in copies}) == 3


def test_djangos_own_way_is_back_afterwards() -> None:
    clone = Field.clone

    with suppress(ZeroDivisionError), fields_copied():
        assert Field.clone is not clone
        raise ZeroDivisionError

    assert Field.clone is clone


def test_models_are_made_alike() -> None:
    state = MigrationLoader(None).project_state()
    plainly = models_of(state)
    with fields_copied():
        for _ in range(2):
            assert models_of(state) == plainly


def models_of(state: ProjectState) -> dict[str, list[Any]]:
    """Each model's fields, in order, as a migration would write them, from models that are made anew."""
    again = ProjectState(dict(state.models), state.real_apps)
    return {
        model._meta.label: [
            (field.name, MigrationWriter.serialize(field))
            for field in (*model._meta.local_fields, *model._meta.local_many_to_many)
        ]
        for model in again.apps.get_models(include_auto_created=True)
    }
