"""The page that asks staff for their second factor, and helps those who have none yet to one."""

from __future__ import annotations

from typing import Any

import django_otp
import segno
from django import forms
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django_otp.plugins.otp_totp.models import TOTPDevice, default_key

from accounts.models import User

# In the session, on the server: others who know the password must not be shown the same secret.
NEW_KEY = "second_factor_new_key"


class TokenForm(forms.Form):
    """Six digits."""

    token = forms.RegexField(
        r"^\s*(\d\s*){6}$",
        label="Code",
        max_length=20,
        error_messages={"invalid": "The code has six digits."},
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}),
    )

    def clean_token(self) -> str:
        return "".join(self.cleaned_data["token"].split())


def new_device(user: User, key: str) -> TOTPDevice:
    """A second factor that is not saved yet."""
    return TOTPDevice(user=user, name="Authenticator", key=key, confirmed=True)


@method_decorator([never_cache, sensitive_post_parameters()], name="dispatch")
class SecondFactorView(View):
    """Asks for a code; to who has no second factor yet, shows a new one first."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        user = request.user
        if isinstance(user, AnonymousUser) or not (user.is_active and user.is_staff):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        if getattr(user, "otp_device", None) is not None:
            return HttpResponseRedirect(self._next_page())
        self.device = TOTPDevice.objects.filter(user=user, confirmed=True).order_by("pk").first()
        return super().dispatch(request, *args, **kwargs)  # type: ignore[return-value]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(TokenForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = TokenForm(request.POST)
        if form.is_valid():
            device = self._verified(form.cleaned_data["token"])
            if device is not None:
                request.session.pop(NEW_KEY, None)
                # A session id that was known before the second factor is worth nothing after it.
                request.session.cycle_key()
                django_otp.login(request, device)
                return HttpResponseRedirect(self._next_page())
            form.add_error("token", "This code is wrong, was used before, or came too soon after a wrong one.")
        return self._page(form)

    def _verified(self, token: str) -> TOTPDevice | None:
        user: Any = self.request.user
        if self.device is not None:
            verified: TOTPDevice | None = django_otp.verify_token(user, self.device.persistent_id, token)
            return verified
        key = self.request.session.get(NEW_KEY)
        if key is None:
            return None
        with transaction.atomic():
            # One second factor a person: of two sessions that enrol at once, the first wins.
            User.objects.select_for_update().get(pk=user.pk)
            if TOTPDevice.objects.filter(user=user, confirmed=True).exists():
                return None
            device = new_device(user, key)
            return device if device.verify_token(token) else None

    def _page(self, form: TokenForm) -> HttpResponse:
        context = {
            **admin.site.each_context(self.request),
            "title": "Second factor",
            "form": form,
            "device": self.device,
            "next": self._next_page(),
        }
        if self.device is None:
            key = self.request.session.setdefault(NEW_KEY, default_key())
            user: Any = self.request.user
            url = new_device(user, key).config_url
            context |= {"qr": segno.make(url).svg_data_uri(scale=5), "secret": secret_of(url), "is_enrolment": True}
        return TemplateResponse(self.request, "security/second_factor.html", context)

    def _next_page(self) -> str:
        page = self.request.POST.get("next") or self.request.GET.get("next") or ""
        safe = url_has_allowed_host_and_scheme(page, {self.request.get_host()}, require_https=self.request.is_secure())
        return page if safe else reverse("admin:index")


def secret_of(config_url: str) -> str:
    """The secret of an otpauth:// address, for who must type it."""
    return config_url.partition("secret=")[2].partition("&")[0]
