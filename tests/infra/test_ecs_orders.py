"""deploy/ecs.py after a deployment that was not proved, or that nobody saw to its end: what a rollback makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.staging import Staging

pytestmark = [pytest.mark.infra, pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]


def history(staging: Staging) -> list[tuple[str, bool]]:
    """Versions that served, oldest first, and whether somebody rolled back from them."""
    value = staging.clients("ssm").get_parameter(Name=f"/rupaya/{staging.name}/served")["Parameter"]["Value"]
    return [(entry["version"], entry["rolled_back"]) for entry in json.loads(value)]


@pytest.fixture
def unproved(deployed: Staging) -> Staging:
    """v1 and v2 served; v3 is what the service runs, and was never seen to answer."""
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    serve, deployed.aws.on_complete = deployed.aws.on_complete, lambda _image: None
    assert deployed.ecs("deploy", "--image=v3-ccccccc").returncode == 1
    deployed.aws.on_complete = serve
    return deployed


def test_a_rollback_from_what_was_never_proved_brings_the_last_one_that_was(unproved: Staging) -> None:
    result = unproved.ecs("rollback")

    assert result.returncode == 0, result.stdout
    assert unproved.service_image.endswith(unproved.digests["v2-bbbbbbb"])
    assert history(unproved) == [
        ("v1-aaaaaaa", False),
        ("v2-bbbbbbb", False),
        ("v3-ccccccc", True),
        ("v2-bbbbbbb", False),
    ]
    assert {"staging"} <= unproved.tags("v2-bbbbbbb")
    assert unproved.ecs("rollback", "--image=v3-ccccccc").returncode == 1
    assert "v3-ccccccc was rolled back from" in unproved.summary


def test_what_was_rolled_back_from_and_never_proved_does_not_get_into_production(unproved: Staging) -> None:
    assert unproved.ecs("rollback").returncode == 0
    unproved.become_production()

    assert unproved.ecs("deploy", "--image=v3-ccccccc").returncode == 1

    assert "v3-ccccccc was rolled back from in staging" in unproved.summary


def test_a_rollback_that_was_cut_off_is_gone_on_with(deployed: Staging) -> None:
    for version in ("v2-bbbbbbb", "v3-ccccccc"):
        assert deployed.ecs("deploy", f"--image={version}").returncode == 0
    serve, deployed.aws.on_complete = deployed.aws.on_complete, lambda _image: None
    assert deployed.ecs("rollback").returncode == 1
    assert deployed.service_image.endswith(deployed.digests["v2-bbbbbbb"])
    deployed.aws.on_complete = serve

    result = deployed.ecs("rollback")

    assert result.returncode == 0, result.stdout
    assert deployed.service_image.endswith(deployed.digests["v2-bbbbbbb"])
    assert history(deployed)[-2:] == [("v3-ccccccc", True), ("v2-bbbbbbb", False)]


def test_what_another_deployment_wrote_meanwhile_stays(deployed: Staging) -> None:
    entry = {"digest": deployed.digests["v3-ccccccc"], "version": "v3-ccccccc", "at": "2026-01-02"}

    def another(_service: Any) -> None:
        ssm, name = deployed.clients("ssm"), "/rupaya/staging/served"
        known = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
        ssm.put_parameter(Name=name, Type="String", Overwrite=True, Value=json.dumps([*known, entry]))

    deployed.aws.before_update = another

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0

    assert history(deployed) == [("v1-aaaaaaa", False), ("v3-ccccccc", False), ("v2-bbbbbbb", False)]
