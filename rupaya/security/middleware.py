"""Staff who have given their password, but not their second factor, get no further than the page that asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

OPEN_VIEWS = frozenset(("admin:login", "admin:logout", "second-factor"))


class SecondFactorMiddleware:
    """Closes every view to staff whose session has not passed the second factor, but for those that let them pass it.

    By view and not by path, so that a view added later is closed without anybody's thinking of it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not settings.ADMIN_REQUIRE_OTP:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> HttpResponseBase | None:
        """Send who must pass the second factor to it, and let everybody else through."""
        match = request.resolver_match
        if match is not None and match.view_name in OPEN_VIEWS:
            return None
        user: Any = request.user
        if not user.is_authenticated or not user.is_staff or user.is_verified():
            return None
        next_page = request.get_full_path() if request.method == "GET" else "/admin/"
        return HttpResponseRedirect(f"{reverse('second-factor')}?{urlencode({'next': next_page})}")
