"""What the ModelAdmin of a table declares, who may do what with it, and what its fields and rows are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest

from rupaya.inspection import editing, replica
from rupaya.inspection.columns import Column, Money
from rupaya.inspection.home import PerDay
from rupaya.inspection.moments import zone_of
from rupaya.inspection.navigation import OTHERS
from rupaya.inspection.search import Search

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

PERSONAL_DATA = "accounts.view_personal_data"


class Declared(ModelAdmin):
    """A table's ModelAdmin declares its own at its top, by these names."""

    section: ClassVar[str | None] = OTHERS
    """Where its list is in the navigation (`rupaya.inspection.navigation`); None for nowhere."""
    place_in_section: ClassVar[int] = 50
    list_title: ClassVar[str] = ""
    """What the list is called, where the model's own name says it badly."""
    per_day: ClassVar[PerDay | None] = None
    """What the home page tells of it."""
    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Never rendered, to nobody."""
    personal_data: ClassVar[dict[str, Callable[[Any], str]]] = {}
    """Fields that only those with `view_personal_data` see whole, and what the others see of them."""
    editable_fields: ClassVar[tuple[str, ...]] = ()
    groups: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """How a row's fields are told: what belongs together, by a name; what is in no group follows."""
    choices_of: ClassVar[dict[str, Callable[[], Sequence[str]]]] = {}
    """Free text for which the form has suggestions."""
    copied: ClassVar[tuple[str, ...]] = ()
    """Fields that people take elsewhere: a button copies them."""
    # `list_filter` has only columns of which an index finds the rare values: the common ones any page finds.
    searches: ClassVar[tuple[Search, ...]] = ()
    is_searched: ClassVar[bool] = False
    """Whether the site's one search looks here, too: only where `searches` are answered by indexes."""
    sortable: ClassVar[tuple[str, ...]] = ()
    """Fields by which an index sorts; they are never NULL."""
    money: ClassVar[Money | None] = None
    """How decimal fields are told, where they are sums of money: all but `plain_numbers`."""
    plain_numbers: ClassVar[tuple[str, ...]] = ()
    telling: ClassVar[dict[str, tuple[bool, str]]] = {}
    """Of yes and no, the one that a list tells where it is not the yes, and in which word."""
    amount_field: ClassVar[str] = ""
    """The sum of money that is added up below a list, and of which a range can be asked for."""
    range_field: ClassVar[str] = ""
    """The day or moment of which a range can be asked for; without one, `date_hierarchy` or what is sorted by."""
    needs_person = False
    """Whether the list is empty until somebody's rows are asked for: a view that would have to read everything."""

    # What `searches` does instead; Django insists on it for autocompletion.
    search_fields = ("pk",)
    actions = None
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    change_list_template = "inspection/change_list.html"
    change_form_template = "inspection/change_form.html"
    object_history_template = "inspection/object_history.html"

    # Who may do what

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only in the edit form, and only by those who were given the permission."""
        return "edit" in request.GET and self.may_edit(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        codename = f"{self.opts.app_label}.view_{self.opts.model_name}"
        return bool(request.user.has_perm(codename))

    def may_edit(self, request: HttpRequest) -> bool:
        """Whether there is anything here that this person may change."""
        return bool(self.get_editable_fields(request)) and editing.may_edit(request, self.opts)

    def get_editable_fields(self, request: HttpRequest) -> list[str]:
        """What this person could change: of personal data only what they may see."""
        return [name for name in self.editable_fields if name not in self.personal_data or self.sees_all(request)]

    def sees_all(self, request: HttpRequest) -> bool:
        """Whether personal data is shown whole."""
        return bool(request.user.has_perm(PERSONAL_DATA))

    # What is shown

    def get_label(self, request: HttpRequest, row: Any) -> str:
        """What a row is called before this viewer."""
        return str(row)

    def get_detail(self, request: HttpRequest, row: Any) -> str:
        """What the site's search tells of a row beside its label; nothing that a list would mask."""
        return ""

    def column(self, request: HttpRequest, name: str, *, in_list: bool = False) -> Column:
        """A field as this viewer sees it."""
        field = self._field(name)
        is_money = isinstance(field, models.DecimalField) and name not in self.plain_numbers
        return Column(
            field=field,
            name=name,
            in_list=in_list,
            money=self.money if is_money else None,
            telling=self.telling.get(name, (True, "")),
            is_copied=name in self.copied,
            sortable=name in self.sortable,
            mask=None if self.sees_all(request) else self.personal_data.get(name),
            label_of=lambda row: self.label_of_any(request, row),
            zone=zone_of(request),
        )

    def label_of_any(self, request: HttpRequest, row: models.Model) -> str:
        """What a row of any model is called before this viewer."""
        owner = self.admin_site._registry.get(type(row))
        return owner.get_label(request, row) if isinstance(owner, Declared) else str(row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            self._shown(request, field)
            for field in (*self.opts.fields, *self.opts.many_to_many)
            if field.name not in self.secret_fields
        ]

    def _shown(self, request: HttpRequest, field: Any) -> Any:
        if field.name in self.get_editable_fields(request) and self.has_change_permission(request):
            return field.name
        return field.name if field.many_to_many else self.column(request, field.name)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not the default manager, which may leave deleted rows out.
        rows: QuerySet[Any] = self.model._base_manager.using(replica.source(request).alias)
        ordering = self.get_ordering(request)
        return rows.order_by(*ordering) if ordering else rows

    def _relations(self) -> list[str]:
        return [field.name for field in self.opts.fields if field.is_relation]

    def _verbose(self, name: str) -> str:
        return str(self._field(name).verbose_name)

    def _field(self, name: str) -> Any:
        return self.opts.get_field(name)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        """As Django's, but the row's name is one that whoever reads the log may see."""
        return self._log(request, str(obj.pk), self._public_label(obj), str(message))

    def _public_label(self, row: Any) -> str:
        return str(row)

    def _log(self, request: HttpRequest, object_id: str | None, label: str, message: str) -> LogEntry:
        return LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type_id=get_content_type_for_model(self.model).pk,
            object_id=object_id,
            object_repr=label[:200],
            action_flag=CHANGE,
            change_message=message,
        )
