"""deploy/ecs.py where AWS refuses, where what was written down is odd, and where somebody else answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.infra.moto_server import Ending
from tests.infra.staging import Staging
from tests.infra.tools import PROJECT
from tests.patience import HANGING_S

pytestmark = [pytest.mark.infra, pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]

NOTHING = "Nothing has changed for what serves."


def rewrite(staging: Staging, parameter: str, value: str) -> None:
    name = f"/rupaya/staging/{parameter}"
    staging.clients("ssm").put_parameter(Name=name, Type="String", Overwrite=True, Value=value)


@pytest.mark.parametrize(
    ("denied", "stands"),
    [
        ("ecs:DescribeServices", NOTHING),
        ("ecs:UpdateService", NOTHING),
        ("elbv2:DescribeTargetHealth", "ECS has begun to roll v2-bbbbbbb out and goes on with it"),
        ("ssm:PutParameter", "v2-bbbbbbb serves, but not all that follows was done. The same command again does it."),
        ("ecs:RunTask", "v2-bbbbbbb serves, but not all that follows was done. The same command again does it."),
        ("ecs:DescribeTasks", "manage.py migrate --contract --noinput goes on as "),
    ],
)
def test_who_is_refused_is_told_how_things_stand(deployed: Staging, denied: str, stands: str) -> None:
    deployed.aws.denied.add(denied)

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "FAILED: AWS refused: " in result.stdout
    assert stands in result.stdout
    assert stands in deployed.summary
    deployed.aws.denied.clear()
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0


def test_what_a_later_terraform_and_a_later_release_write_there_too_is_left_alone(deployed: Staging) -> None:
    deployed.set_fact(what_comes_next=1)
    ssm = deployed.clients("ssm")
    served = json.loads(ssm.get_parameter(Name="/rupaya/staging/served")["Parameter"]["Value"])
    rewrite(deployed, "served", json.dumps([entry | {"what_comes_next": 1} for entry in served]))

    assert deployed.ecs("run", "--", "check").returncode == 0


@pytest.mark.parametrize(
    ("parameter", "value", "told"),
    [
        ("deployment", "nonsense", "is not what this release's Terraform writes"),
        ("deployment", "[]", "is not what this release's Terraform writes"),
        ("deployment", '{"cluster": "c"}', "is not what this release's Terraform writes"),
        ("served", "nonsense", "is no history that a deployment wrote"),
        ("served", "[1]", "is no history that a deployment wrote"),
        ("served", '[{"digest": "d"}]', "is no history that a deployment wrote"),
    ],
)
def test_a_parameter_that_nobody_can_read_is_named(deployed: Staging, parameter: str, value: str, told: str) -> None:
    rewrite(deployed, parameter, value)

    result = deployed.ecs("rollback")

    assert result.returncode == 1
    assert f"The parameter /rupaya/staging/{parameter} {told}" in result.stdout
    assert result.stderr == ""


def test_an_environment_without_terraform_is_told_so(deployed: Staging) -> None:
    deployed.clients("ssm").delete_parameter(Name="/rupaya/staging/deployment")

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "There is no parameter /rupaya/staging/deployment, which Terraform writes." in result.stdout


def test_throttling_is_waited_out(deployed: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    deployed.aws.throttled = {"ecs:DescribeServices": 5}

    assert deployed.ecs("run", "--", "check").returncode == 0

    assert deployed.aws.throttled == {"ecs:DescribeServices": 0}


def test_a_task_that_ecs_does_not_know_yet_is_asked_for_again(deployed: Staging) -> None:
    deployed.aws.unknown_tasks = 2

    result = deployed.ecs("run", "--", "check")

    assert result.returncode == 0, result.stdout + result.stderr


def test_how_a_task_ended_its_own_container_says_and_none_that_aws_put_beside_it(deployed: Staging) -> None:
    deployed.aws.sidecar = True
    deployed.aws.endings = [Ending(13, ["Migrations failed"])]

    result = deployed.ecs("run", "--", "migrate")

    assert result.returncode == 1, result.stdout + result.stderr
    assert "Exit code 13." in result.stdout


@pytest.mark.parametrize("answer", ["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", "no HTTP at all\r\n\r\n"])
def test_what_answers_in_its_place_is_quoted(deployed: Staging, answer: str) -> None:
    deployed.aws.on_complete = lambda _image: deployed.serving.update(raw=answer)

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "should be answered by v2-bbbbbbb, but the answer is: " in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "argument",
    ["--image=", "--image= ", "--poll-s=-1", "--poll-s=0", "--poll-s=nan", "--proof-timeout-s=nan", "--poll-s=inf"],
)
def test_wrong_arguments_are_refused_before_anything_is_asked(argument: str) -> None:
    result = subprocess.run(
        [sys.executable, PROJECT / "deploy" / "ecs.py", "deploy", "--environment=staging", "--image=v1", argument],
        env=os.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 2
    assert argument.partition("=")[0] in result.stderr
    assert "Traceback" not in result.stderr


def test_a_summary_that_cannot_be_written_fails_no_deployment(deployed: Staging) -> None:
    arguments = [sys.executable, PROJECT / "deploy" / "ecs.py", "run", "--environment=staging", "--poll-s=0.01"]

    result = subprocess.run(
        [*arguments, "--", "check"],
        env=os.environ | {"GITHUB_STEP_SUMMARY": str(deployed.tmp_path / "nowhere" / "summary")},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert "GITHUB_STEP_SUMMARY cannot be written: " in result.stdout


def test_a_log_line_that_the_terminal_cannot_show_fails_no_command(
    deployed: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    deployed.aws.endings = [Ending(0, ["✓ accounts.0001_initial"])]

    result = deployed.ecs("run", "--", "migrate")

    assert result.returncode == 0, result.stderr
    assert "\\u2713 accounts.0001_initial" in result.stdout


def test_who_interrupts_is_told_that_ecs_goes_on(deployed: Staging) -> None:
    deployed.aws.rollout = "hangs"
    deployed.aws.endings = [Ending(None, ["Running database migrations..."])]
    arguments: list[Any] = [sys.executable, PROJECT / "deploy" / "ecs.py", "deploy", "--environment=staging"]

    with subprocess.Popen([*arguments, "--image=v2-bbbbbbb", "--poll-s=0.1"], text=True, stdout=subprocess.PIPE) as it:
        assert it.stdout is not None
        for line in it.stdout:
            if "IN_PROGRESS" in line:
                break
        it.send_signal(signal.SIGINT)
        said = it.stdout.read()
        assert it.wait(HANGING_S) == 130

    assert "INTERRUPTED: ECS has begun to roll v2-bbbbbbb out and goes on with it" in said
    assert "Traceback" not in said
