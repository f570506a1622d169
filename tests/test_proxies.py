"""Who a request really comes from."""

from __future__ import annotations

import pytest

from rupaya.environment import Environment, EnvironmentRefused
from rupaya.proxies import Proxies

PROXIES = Proxies(["10.0.0.0/16", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.3.17", "", "10.0.3.17"),
        ("10.0.3.17", "203.0.113.9", "203.0.113.9"),
        ("10.0.3.17", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.3.17", "198.51.100.1,203.0.113.9, 10.0.0.8", "203.0.113.9"),
        ("10.0.3.17", "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.3.17", "203.0.113.9:52000", "203.0.113.9"),
        ("10.0.3.17", "[2001:470::9]:52000", "2001:470::9"),
        ("10.0.3.17", "2001:470::9", "2001:470::9"),
        ("2001:db8::1", "203.0.113.9", "203.0.113.9"),
        ("10.0.3.17", "203.0.113.9, <script>", "10.0.3.17"),
        ("10.0.3.17", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_client_is_the_rightmost_hop_that_is_no_proxy(peer: str, forwarded: str, client: str) -> None:
    assert PROXIES.client_address({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}) == client


def test_a_proxy_that_is_no_address_is_refused_by_name() -> None:
    with pytest.raises(EnvironmentRefused, match=r"TRUSTED_PROXIES: 'load-balancer' is no address or network"):
        Environment({"TRUSTED_PROXIES": "10.0.0.0/16, load-balancer"})
