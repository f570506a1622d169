"""Where each address goes; probes are answered before this, by `rupaya.health.middleware`."""

import sys

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import include, path
from django.views.generic import RedirectView

from rupaya.inspection import finding
from rupaya.inspection.autocomplete import Autocomplete
from rupaya.inspection.faults import of_database
from rupaya.security.views import SecondFactorView


def status(request: HttpRequest) -> HttpResponseBase:
    """The status page, whose library is loaded when it is first looked at: it brings asyncio and a DNS resolver."""
    from rupaya.health.views import status_page

    return status_page(request)


def nowhere(_request: HttpRequest, **_where: str) -> HttpResponseBase:
    """In place of Django's `/admin/r/`, which leads from a row to its page on the site: there is none, for any row."""
    raise Http404


def went_wrong(request: HttpRequest) -> HttpResponseBase:
    """In place of Django's page, which says nothing: what an operator needs to find the fault in the log.

    A fault of the database is told as such, with 503: nothing is wrong with the site, and another try may be answered.
    """
    cause = of_database(sys.exc_info()[1])
    said = render_to_string("500.html", {"request_id": request.META.get("rupaya.request_id", ""), "cause": cause})
    return HttpResponse(said, status=503 if cause else 500)


handler500 = went_wrong

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/second-factor/", SecondFactorView.as_view(), name="second-factor"),
    # In place of Django's, which would show everybody's name to all who may search.
    path("admin/autocomplete/", admin.site.admin_view(Autocomplete.as_view(admin_site=admin.site))),
    path("admin/search/", admin.site.admin_view(finding.view), name="search"),
    path("admin/r/<path:where>", admin.site.admin_view(nowhere)),
    path("admin/schema/", include("rupaya.story.urls")),
    path("admin/", admin.site.urls),
    path("health/", status, name="status"),
]
