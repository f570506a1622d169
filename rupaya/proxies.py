"""Who a request really comes from: forwarded headers are believed of configured proxies only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

# What a proxy says about the client. From anybody else it is a claim, and is dropped.
FORWARDED_HEADERS = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
)


class Proxies:
    """The proxies in front of this service, by address or network.

    Raises:
        ValueError: naming what is neither.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(address, strict=False) for address in addresses)
        self.trusts = lru_cache(maxsize=1024)(self._trusts)

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client_address(self, environ: Mapping[str, str]) -> str:
        """The rightmost hop that no proxy of ours is: whatever stands left of it, the client may have made up."""
        address = environ.get("REMOTE_ADDR", "")
        hops = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
        while hops and self.trusts(address):
            hop = _without_port(hops.pop().strip())
            try:
                address = str(ip_address(hop))
            except ValueError:
                break  # no proxy writes that: the last one that we know is as far as we can see
        return address


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
