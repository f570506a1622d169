"""The status page for staff: django-health-check's page over this service's checks and figures."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from health_check.views import HealthCheckView, MediaType

from rupaya.health import figures
from rupaya.health.sampler import Sample, sampler


class StatusView(HealthCheckView):  # type: ignore[misc]  # the library is not typed
    """HTML, JSON, text and OpenMetrics, by Accept header or ``?format=``."""

    template_name = "health/status.html"
    checks = (
        "rupaya.health.checks.Database",
        "rupaya.health.checks.Migrations",
        "rupaya.health.checks.LastRun",
        "rupaya.health.checks.Disk",
        "rupaya.health.checks.Release",
    )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """What the template shows."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        sample = sampler.latest()
        return {
            **context,
            "title": "Status",
            "figures": figures.status_figures(sample),
            "verdicts": [(in_words(type(result.check).__name__), result.error) for result in self.results],
            "facts": [(name.replace("_", " "), count) for name, count in _counts(sample)],
            "last_run": sample.last_run,
            "started": figures.STARTED_AT,
        }

    def render_to_response_json(self, status: int) -> HttpResponse:
        """The checks' verdicts and the figures behind them."""
        verdicts = {
            type(result.check).__name__: "OK" if not result.error else str(result.error) for result in self.results
        }
        return JsonResponse({"checks": verdicts, **figures.status_figures(sampler.latest())}, status=status)

    def render_to_response_openmetrics(self) -> HttpResponse:
        """The library's metrics of the checks, and our own."""
        response: HttpResponse = super().render_to_response_openmetrics()
        checks = response.content.decode().removesuffix("# EOF\n")
        response.content = f"{checks}{figures.openmetrics(sampler.latest())}# EOF\n".encode()
        return response


def in_words(name: str) -> str:
    """A class's name as people say it: ``LastRun`` → ``Last run``."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()


def _counts(sample: Sample) -> list[tuple[str, int]]:
    """How many migrations are in each state that any is in."""
    if sample.schema is None:
        return []
    counts = [(field.name, getattr(sample.schema, field.name)) for field in dataclasses.fields(sample.schema)]
    return [(name, count) for name, count in counts if isinstance(count, int) and (count or name == "applied")]


_view = async_to_sync(StatusView.as_view())


def status_page(request: HttpRequest) -> HttpResponseBase:
    """Answer staff; who else asks is sent to log in.

    The library's view is asynchronous and Django's database layer is not, so who asks is looked up here.
    """
    if not admin.site.has_permission(request):
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    try:
        list(MediaType.parse_header(request.META.get("HTTP_ACCEPT", "*/*")))
    except ValueError:  # which the library would answer with 500
        return HttpResponse("The Accept header is malformed.", status=400, content_type="text/plain")
    # The page is one of the admin site's, with its styles and links.
    response: HttpResponseBase = _view(request, **admin.site.each_context(request))
    return response
