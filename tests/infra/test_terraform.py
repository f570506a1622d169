"""infra/ as Terraform sees it: formatted, valid, as its own tests want it, and applied to AWS on loopback and away."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.terraform import INFRA, Applied, Terraform
from tests.infra.tools import PROJECT, require

# The provider is a program of 700 MB that is started anew for each command, and its own waits are minutes long.
pytestmark = [pytest.mark.infra, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

ROOTS = [pytest.param(INFRA, id="environment"), pytest.param(INFRA / "account", id="account")]


def test_it_is_formatted() -> None:
    completed = subprocess.run(
        [require("terraform"), "fmt", "-check", "-recursive", "-diff", INFRA],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize("root", ROOTS)
def test_it_is_valid(root: Path, tmp_path: Path) -> None:
    assert "The configuration is valid" in Terraform(root, tmp_path / "root")("validate").stdout


def test_its_own_tests_pass(tmp_path: Path) -> None:
    tested = Terraform(INFRA, tmp_path / "root")("test")
    assert re.search(r"Success! \d+ passed, 0 failed", tested.stdout)


def test_both_roots_are_applied_to_an_empty_account_and_destroyed(
    applied: Applied, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\napplied: {applied.of_account} resources of the account, {applied.of_environment} of an environment")
    assert applied.destroyed_of_environment >= applied.of_environment
    assert applied.destroyed_of_account == applied.of_account


def test_no_secret_is_in_the_state(applied: Applied) -> None:
    for name in ("db/password", "django/secret-key"):
        assert len(applied.secret(name)) >= 40
    for arn, value in applied.secrets.items():
        assert value not in applied.state, f"the value of {arn} is in the state"


def test_a_later_apply_does_not_undo_a_deployment(applied: Applied) -> None:
    assert (applied.deployed_later, applied.tasks_later) == (applied.deployed, 3)


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_each_environment_has_its_own_values_and_its_own_state(environment: str) -> None:
    values = (INFRA / "environments" / f"{environment}.tfvars").read_text()
    backend = (INFRA / "environments" / f"{environment}.s3.tfbackend").read_text()
    assert re.search(rf'^environment\s*= "{environment}"$', values, re.MULTILINE)
    assert re.search(rf'^key\s*= "{environment}\.tfstate"$', backend, re.MULTILINE)
    declared = set(re.findall(r'^variable "(\w+)"', (INFRA / "variables.tf").read_text(), re.MULTILINE))
    assert set(re.findall(r"^(\w+)\s*=", values, re.MULTILINE)) <= declared


def test_the_deployment_is_told_what_it_asks_for() -> None:
    written = (INFRA / "deployment.tf").read_text()
    facts = re.search(r"class Facts:.*?\n\n\n", (PROJECT / "deploy" / "ecs.py").read_text(), re.DOTALL)
    assert facts
    assert set(re.findall(r"^    (\w+): ", facts[0], re.MULTILINE)) == set(
        re.findall(r"^    (\w+) +=", written, re.MULTILINE)
    )


def test_checkov_finds_nothing_that_is_not_excused_with_a_reason(tmp_path: Path) -> None:
    completed = subprocess.run(
        [require("checkov"), "--directory", ".", "--framework", "terraform", "--skip-download", "--compact", "--quiet"],
        cwd=INFRA,
        env=os.environ | {"LOG_LEVEL": "CRITICAL", "HOME": str(tmp_path)},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-2000:]
    for path in INFRA.rglob("*.tf"):
        for line in path.read_text().splitlines():
            if "checkov:skip" in line:
                assert re.fullmatch(r"\s*# checkov:skip=CKV2?_AWS_\d+: [A-Za-z].{6,}\.", line), line
