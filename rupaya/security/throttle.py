"""Sign-in throttled per account and per client address, in django-axes' terms.

Three limits, as each alone can be got round or turned against people: a password is guessed at one account from one
address, many accounts from one address, or one account from many addresses. Only the first limit is low. One attacker
reaches it long before the others, so an owner at another address can still sign in.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from asgiref.sync import sync_to_async
from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest

from rupaya.middleware import client_address

# How many failures within AXES_COOLOFF_TIME lock: this account at this address, this address, this account.
ADDRESS_LIMIT = 20
ACCOUNT_LIMIT = 50
# Whoever has one IPv6 address usually has all of its network.
IPV6_PREFIX_BITS = 64
USERNAME_MAX_CHARACTERS = 255


class ThrottlingBackend(AxesStandaloneBackend):  # type: ignore[misc]  # the library is not typed
    """Refuses who is locked out; code that signs in without a request, such as a command's, is nobody's attack."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        if request is not None:
            super().authenticate(request, **credentials)

    async def aauthenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        await sync_to_async(self.authenticate)(request, **credentials)


class ThrottlingHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts failures in the database, where all workers of all tasks see them."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """The failures that count, on the scale of AXES_FAILURE_LIMIT."""
        pair, address, account = (
            attempts.aggregate(total=Sum("failures_since_start"))["total"] or 0
            for attempts in self.get_user_attempts(request, credentials)
        )
        limit = settings.AXES_FAILURE_LIMIT
        return max(pair, address * limit // ADDRESS_LIMIT, account * limit // ACCOUNT_LIMIT)

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """After a success forget this account's failures at this address: their own account clears no others."""
        deleted, _ = self.filter_user_attempts(request, credentials)[0].delete()
        return int(deleted)


def account_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """The account that is meant, in one spelling: e-mail addresses differ by more than case."""
    named = credentials or {}
    name = named.get("username") or named.get("email") or request.POST.get("username", "")
    return str(name).strip().lower()[:USERNAME_MAX_CHARACTERS]


def throttled_address(request: HttpRequest) -> str | None:
    """The client's address, or the network that an IPv6 client can choose its address from."""
    try:
        address = ip_address(client_address(request))
    except ValueError:
        return None  # a Unix socket, a test client
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or ip_network((address, IPV6_PREFIX_BITS), strict=False).network_address
    return str(address)
