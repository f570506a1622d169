"""The authorities by which the image knows RDS and its proxy are whole, current, and those of each region."""

from __future__ import annotations

import ssl
import time

from tests.server.service import PROJECT

BUNDLE = PROJECT / "rupaya" / "rds-ca.pem"
YEARS_S = 5 * 365 * 86_400


def test_rds_and_its_proxy_can_be_known_for_years_to_come() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(BUNDLE)

    found = {
        dict(part for parts in its["subject"] for part in parts)["commonName"]: its  # type: ignore[misc,union-attr]
        for its in context.get_ca_certs()
    }

    for region in ("us-east-1", "eu-central-1", "ap-south-1"):
        for kind in ("RSA2048", "RSA4096", "ECC384"):
            assert f"Amazon RDS {region} Root CA {kind} G1" in found
    assert {f"Amazon Root CA {number}" for number in range(1, 5)} <= found.keys()
    assert min(ssl.cert_time_to_seconds(str(its["notAfter"])) for its in found.values()) > time.time() + YEARS_S
    assert not [name for name in found if "Beta" in name]
