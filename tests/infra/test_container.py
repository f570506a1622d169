"""How the container runs is said once, in infra/container.json: what is tested is what is deployed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.infra.tools import PROJECT

pytestmark = [pytest.mark.infra, pytest.mark.filterwarnings("default")]
yaml = pytest.importorskip("yaml")
TASK = json.loads((PROJECT / "infra" / "container.json").read_text())


@pytest.fixture
def web() -> dict[str, Any]:
    text = (PROJECT / "compose.yaml").read_text()
    return dict(yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))["services"]["web"])


def test_compose_runs_it_as_the_task_definition_does(web: dict[str, Any]) -> None:
    assert web["user"] == TASK["user"]
    assert web["read_only"] is TASK["readonlyRootFilesystem"]
    assert web["cap_drop"] == TASK["linuxParameters"]["capabilities"]["drop"]
    assert web["stop_grace_period"] == f"{TASK['stopTimeout']}s"
    assert web.get("tmpfs", []) == [mount["containerPath"] for mount in TASK["linuxParameters"].get("tmpfs", [])]


def test_the_image_checks_its_health_as_the_task_definition_does() -> None:
    found = re.search(r"^HEALTHCHECK (.*) CMD (\[.*\])$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    check = TASK["healthCheck"]
    assert ["CMD", *json.loads(found[2])] == check["command"]
    assert f"--interval={check['interval']}s --timeout={check['timeout']}s --retries={check['retries']}" in found[1]


def test_the_task_definitions_say_nothing_of_it_themselves() -> None:
    service = (PROJECT / "infra" / "service.tf").read_text()
    for key in ("user", "readonlyRootFilesystem", "stopTimeout", "linuxParameters", "healthCheck"):
        assert re.findall(rf"^ *{key} += (.*)$", service, re.MULTILINE) == [f"local.how_it_runs.{key}"], key
