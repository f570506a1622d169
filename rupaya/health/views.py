"""The status page for staff: django-health-check's page over this service's checks."""

from __future__ import annotations

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from health_check.views import HealthCheckView


class StatusView(HealthCheckView):  # type: ignore[misc]  # the library is not typed
    """HTML, JSON, text and OpenMetrics by Accept header or ``?format=``; who is not staff is sent to log in."""

    checks = ("health_check.checks.Database", "rupaya.health.checks.Schema")

    async def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        user = await request.auser()
        if not (user.is_active and user.is_staff):
            return redirect_to_login(request.get_full_path(), "/admin/login/")
        response: HttpResponseBase = await super().dispatch(request, *args, **kwargs)
        return response
