"""What every request passes after the probes: it gets an id, loses what only a proxy may set, and has no NUL."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponseBase
from django.views.defaults import bad_request, page_not_found

from rupaya.logs import request_id
from rupaya.proxies import FORWARDED_HEADERS, Proxies

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# As the load balancer writes it: Self=…;Root=1-67891233-abcdef012345678912345678;…
_TRACE_ROOT = re.compile(r"(?:^|;)\s*Root=([\w.:-]{1,100})(?:;|$)", re.ASCII)
REQUEST_ID_HEADER = "X-Request-Id"


def id_of_request(trace: str) -> str:
    """The root of a load balancer's trace, or a new id."""
    found = _TRACE_ROOT.search(trace)
    return found[1] if found else secrets.token_hex(12)


class RequestMiddleware:
    """Gives the request its id, in the log and in the answer, and believes forwarded headers of our proxies only."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.proxies = Proxies(settings.TRUSTED_PROXIES)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if not self.proxies.trusts(meta.get("REMOTE_ADDR", "")):
            for header in FORWARDED_HEADERS:
                meta.pop(header, None)
        # In the server's own environ, where its access log finds them.
        meta["rupaya.client_address"] = self.proxies.client_address(meta)
        meta["rupaya.request_id"] = identity = id_of_request(meta.get("HTTP_X_AMZN_TRACE_ID", ""))
        token = request_id.set(identity)
        try:
            response = self.get_response(request)
            response[REQUEST_ID_HEADER] = identity
            return response
        finally:
            request_id.reset(token)


class NulMiddleware:
    """Refuses an address with a NUL, which no text in PostgreSQL can have: any page that asks for it would break."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path_info:
            return page_not_found(request, Http404())
        if "%00" in request.META.get("QUERY_STRING", ""):
            return bad_request(request, BadRequest())
        return self.get_response(request)


def client_address(request: HttpRequest) -> str:
    """The address that the request really comes from; see `Proxies.client_address`."""
    return str(request.META.get("rupaya.client_address", ""))
