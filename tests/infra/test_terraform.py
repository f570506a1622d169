"""infra/ as Terraform sees it: formatted, valid, as its own tests want it, and applied to AWS on loopback and away."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import PROJECT, require
from tests.infra.moto_server import Aws

# The provider is a program of 700 MB that is started anew for each command, and its own waits are minutes long.
pytestmark = [pytest.mark.infra, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

INFRA = PROJECT / "infra"
ROOTS = [pytest.param(INFRA, id="environment"), pytest.param(INFRA / "account", id="account")]


def plugin_dir() -> Path | None:
    """A folder of providers for a machine that reaches no registry: TF_PLUGIN_DIR, or where packagers put it."""
    candidates = (os.environ.get("TF_PLUGIN_DIR"), "/opt/tf-plugins", "/usr/share/terraform/plugins")
    return next((Path(path) for path in candidates if path and (Path(path) / "registry.terraform.io").is_dir()), None)


class Terraform:
    """A copy of a root, so that nothing is left in the tree; its state is a file beside it."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.directory = directory
        self.program = require("terraform")
        shutil.copytree(
            root, directory, ignore=shutil.ignore_patterns(".terraform*", "account", "*.tfstate*"), dirs_exist_ok=True
        )
        (directory / "local_state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        options = [f"-plugin-dir={found}"] if (found := plugin_dir()) else []
        initialised = self("init", "-input=false", *options, check=False)
        if initialised.returncode != 0:
            if os.environ.get("CI"):  # where a skip would be a green light
                pytest.fail(initialised.stderr)
            pytest.skip(f"Terraform's AWS provider cannot be had here: {initialised.stderr.strip()[-300:]}")

    def __call__(self, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        completed = subprocess.run(
            [self.program, *arguments, *([] if arguments[0] == "show" else ["-no-color"])],
            cwd=self.directory,
            env=os.environ | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"} | variables,
            text=True,
            capture_output=True,
            timeout=900,
            check=False,
        )
        if check:
            assert completed.returncode == 0, completed.stdout[-2000:] + completed.stderr[-4000:]
        return completed

    def variables(self, values: Mapping[str, Any]) -> None:
        (self.directory / "test.auto.tfvars.json").write_text(json.dumps(values))

    def apply(self) -> int:
        """Apply; returns how many resources were added."""
        output = self("apply", "-input=false", "-auto-approve").stdout
        found = re.search(r"Apply complete! Resources: (\d+) added, 0 changed, 0 destroyed", output)
        assert found, output[-2000:]
        return int(found[1])

    def destroy(self) -> int:
        """Destroy; returns how many resources were destroyed."""
        output = self("destroy", "-input=false", "-auto-approve").stdout
        found = re.search(r"Destroy complete! Resources: (\d+) destroyed", output)
        assert found, output[-2000:]
        return int(found[1])


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


def network(hostname: str) -> dict[str, Any]:
    """What this root does not make: a VPC, its subnets and a certificate."""
    import boto3

    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"us-east-1{'ab'[number % 2]}")
        for number in range(6)
    ]
    ids = [subnet["Subnet"]["SubnetId"] for subnet in subnets]
    certificate = boto3.client("acm").request_certificate(DomainName=hostname)["CertificateArn"]
    return {
        "hostname": hostname,
        "certificate_arn": certificate,
        "vpc_id": vpc,
        "load_balancer_subnet_ids": ids[:2],
        "task_subnet_ids": ids[2:4],
        "database_subnet_ids": ids[4:],
    }


def test_both_roots_are_applied_to_an_empty_account_and_destroyed(
    aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3

    account = Terraform(INFRA / "account", tmp_path / "account")
    of_account = account.apply()
    environment = Terraform(INFRA, tmp_path / "environment")
    environment.variables(
        network("staging.example.com")
        | {
            "environment": "staging",
            "deletion_protection": False,
            "use_rds_proxy": True,
            "alarm_emails": ["a@b.example"],
        }
    )
    of_environment = environment.apply()
    with capsys.disabled():
        print(f"\napplied: {of_account} resources of the account, {of_environment} of an environment")

    state = (environment.directory / "terraform.tfstate").read_text()
    for name in ("rupaya-staging/db/password", "rupaya-staging/django/secret-key"):
        secret = boto3.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
        assert len(secret) >= 40
        assert secret not in state, f"the value of {name} is in the state"
    facts = json.loads(boto3.client("ssm").get_parameter(Name="/rupaya/staging/deployment")["Parameter"]["Value"])
    ecs = boto3.client("ecs")
    service = ecs.describe_services(cluster=facts["cluster"], services=[facts["service"]])["services"][0]
    assert service["status"] == "ACTIVE"
    assert aws.calls == []

    # A deployment's work is not undone by the next apply.
    image = "590184132516.dkr.ecr.us-east-1.amazonaws.com/rupaya-backend@sha256:" + "0" * 64
    definition = ecs.describe_task_definition(taskDefinition=facts["service"])["taskDefinition"]
    definition["containerDefinitions"][0]["image"] = image
    newer = ecs.register_task_definition(
        family=facts["service"],
        networkMode="awsvpc",
        cpu="512",
        memory="1024",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=definition["containerDefinitions"],
    )["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=facts["cluster"], service=facts["service"], taskDefinition=newer, desiredCount=3)
    environment("apply", "-input=false", "-auto-approve")
    service = ecs.describe_services(cluster=facts["cluster"], services=[facts["service"]])["services"][0]
    assert service["taskDefinition"] == newer
    assert service["desiredCount"] == 3

    assert environment.destroy() >= of_environment
    assert account.destroy() == of_account


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
