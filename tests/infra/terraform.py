"""Terraform without an account: on a copy of a root, and both roots' whole life in AWS on loopback, told afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.moto_server import Aws
from tests.infra.tools import PROJECT, require

INFRA = PROJECT / "infra"


def plugin_dir() -> Path | None:
    """A folder of providers for a machine that reaches no registry: TF_PLUGIN_DIR, or where packagers put it."""
    candidates = (os.environ.get("TF_PLUGIN_DIR"), "/opt/tf-plugins", "/usr/share/terraform/plugins")
    return next((Path(path) for path in candidates if path and (Path(path) / "registry.terraform.io").is_dir()), None)


class Terraform:
    """A copy of a root, so that nothing is left in the tree; its state is a file beside it, or where a backend says."""

    def __init__(self, root: Path, directory: Path, *backend: str) -> None:
        self.directory = directory
        self.program = require("terraform")
        shutil.copytree(
            root,
            directory,
            ignore=shutil.ignore_patterns(".terraform", "account", "network", "*.tfstate*"),
            dirs_exist_ok=True,
        )
        if not backend:
            (directory / "local_state_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        options = [*backend, *([f"-plugin-dir={found}"] if (found := plugin_dir()) else [])]
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


def make_secrets(environment: str, *arguments: str) -> str:
    """Run deploy/passwords.py as an administrator would; returns what it printed."""
    script = PROJECT / "deploy" / "passwords.py"
    completed = subprocess.run(
        [sys.executable, script, f"--environment={environment}", *arguments],
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


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
        "alarm_emails": ["a@b.example"],
        "certificate_arn": certificate,
        "vpc_id": vpc,
        "load_balancer_subnet_ids": ids[:2],
        "task_subnet_ids": ids[2:4],
        "database_subnet_ids": ids[4:],
    }


@dataclass(frozen=True)
class Applied:
    """What a life of both roots has shown: applied, deployed to, applied again, destroyed. AWS itself is gone."""

    of_account: int
    of_environment: int
    state: str
    plan: bytes
    """All that is in a saved plan."""
    told: str
    """What making the secrets' values printed."""
    secrets: dict[str, str]
    """Their values by ARN."""
    service: dict[str, Any]
    migrate: dict[str, Any]
    """The containers of the two task definitions."""
    override: dict[str, Any]
    """What the daily schedule tells the container."""
    patterns: dict[str, str]
    """The metric filters'."""
    parameters: dict[str, str]
    lifecycle: list[dict[str, Any]]
    """The image repository's rules."""
    may_deploy: list[dict[str, Any]]
    """What the deployment's role allows."""
    database_name: str
    proxy_name: str
    deployed: str
    """The task definition that a deployment brought."""
    deployed_later: str
    tasks_later: int
    """What the service had after the next apply."""
    destroyed_of_account: int
    destroyed_of_environment: int
    of_network: int
    destroyed_of_network: int
    records: dict[str, str]
    """What the zone said of names: where each leads to."""

    def told_secret(self, value_from: str) -> str:
        """What ECS gives for `valueFrom`: a secret, or one key of its JSON."""
        arn, key = ":".join(value_from.split(":")[:7]), value_from.split(":")[7:8]
        return str(json.loads(self.secrets[arn])[key[0]]) if key else self.secrets[arn]

    @property
    def master_password(self) -> str:
        """The password that RDS keeps."""
        (value,) = (value for arn, value in self.secrets.items() if ":secret:rds!db-" in arn)
        return str(json.loads(value)["password"])

    def secret(self, name: str) -> str:
        """The value of a secret by its name."""
        # AWS adds six letters to the name.
        (value,) = (
            value for arn, value in self.secrets.items() if re.search(rf":secret:rupaya-staging/{name}-\w{{6}}$", arn)
        )
        return value


def whole_life(aws: Aws, directory: Path) -> Applied:
    """Apply both roots to the empty AWS of the environment's variables, with all that is optional, and destroy them."""
    import boto3

    hostname = "staging.example.com"
    zone = boto3.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    network = Terraform(INFRA / "network", directory / "network")
    network.variables({"hostnames": [hostname], "zone_name": "example.com"})
    of_network = network.apply()
    asked_for = json.loads(network("output", "-json").stdout)
    # What people copy is what is asked for.
    copied = set(re.findall(r"^(\w+) +=", asked_for["tfvars"]["value"], re.MULTILINE))
    assert copied == asked_for["network"]["value"].keys() | asked_for["names"]["value"][hostname].keys()
    account = Terraform(INFRA / "account", directory / "account")
    account.variables(
        {"zone_id": zone.rpartition("/")[2], "hostnames": {"staging": hostname, "production": "example.com"}}
    )
    of_account = account.apply()
    environment = Terraform(INFRA, directory / "environment")
    environment.variables(
        asked_for["network"]["value"]
        | asked_for["names"]["value"][hostname]
        | {
            "alarm_emails": ["a@b.example"],
            "environment": "staging",
            "deletion_protection": False,
            "use_rds_proxy": True,
            "traffic_shift": {"strategy": "canary"},
        }
    )
    of_environment = environment.apply()
    told = make_secrets("staging")

    ecs, logs, rds, scheduler, secrets, ssm = (
        boto3.client(name) for name in ("ecs", "logs", "rds", "scheduler", "secretsmanager", "ssm")
    )
    facts = json.loads(ssm.get_parameter(Name="/rupaya/staging/deployment")["Parameter"]["Value"])
    values = {
        item["ARN"]: secrets.get_secret_value(SecretId=item["ARN"])["SecretString"]
        for item in secrets.list_secrets()["SecretList"]
        # RDS keeps the master's itself: nobody is asked for one in an account that was empty.
        if item["Name"] != "rupaya-staging/db/password"
    }
    (service,) = ecs.describe_task_definition(taskDefinition=facts["service"])["taskDefinition"]["containerDefinitions"]
    (migrate,) = ecs.describe_task_definition(taskDefinition=facts["migrate_family"])["taskDefinition"][
        "containerDefinitions"
    ]
    schedule = scheduler.get_schedule(Name="rupaya-staging-daily-checks")["Target"]
    (override,) = json.loads(schedule["Input"])["containerOverrides"]
    filters = logs.describe_metric_filters(logGroupName=facts["log_group"])["metricFilters"]
    (instance,) = rds.describe_db_instances()["DBInstances"]
    group = instance["DBParameterGroups"][0]["DBParameterGroupName"]
    parameters = rds.describe_db_parameters(DBParameterGroupName=group)["Parameters"]
    proxy_name = rds.describe_db_proxies()["DBProxies"][0]["Endpoint"]

    records = {
        item["Name"].rstrip("."): item["AliasTarget"]["DNSName"].rstrip(".")
        for item in boto3.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        if "AliasTarget" in item
    }
    lifecycle = json.loads(
        boto3.client("ecr").get_lifecycle_policy(repositoryName=facts["repository"])["lifecyclePolicyText"]
    )["rules"]
    policy = boto3.client("iam").get_role_policy(RoleName="rupaya-staging-deploy", PolicyName="deploy")[
        "PolicyDocument"
    ]

    # A deployment's work, and the next apply.
    image = "590184132516.dkr.ecr.us-east-1.amazonaws.com/rupaya-backend@sha256:" + "0" * 64
    deployed = ecs.register_task_definition(
        family=facts["service"],
        networkMode="awsvpc",
        cpu="512",
        memory="1024",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=[service | {"image": image}],
    )["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=facts["cluster"], service=facts["service"], taskDefinition=deployed, desiredCount=3)
    aws.denied.add("secretsmanager:GetSecretValue")
    # As the workflow does it: planned, kept, and then that very plan.
    environment("plan", "-input=false", "-out=kept.tfplan")
    with zipfile.ZipFile(environment.directory / "kept.tfplan") as archive:
        plan = b"".join(archive.read(name) for name in archive.namelist())
    environment("apply", "-input=false", "kept.tfplan")
    aws.denied.clear()
    state = (environment.directory / "terraform.tfstate").read_text()
    later = ecs.describe_services(cluster=facts["cluster"], services=[facts["service"]])["services"][0]
    assert later["status"] == "ACTIVE"

    return Applied(
        of_account=of_account,
        of_environment=of_environment,
        state=state,
        plan=plan,
        told=told,
        secrets=values,
        service=service,
        migrate=migrate,
        override=override,
        patterns={item["filterName"]: item["filterPattern"] for item in filters},
        parameters={item["ParameterName"]: item["ParameterValue"] for item in parameters},
        lifecycle=lifecycle,
        may_deploy=(policy if isinstance(policy, dict) else json.loads(policy))["Statement"],
        database_name=instance["Endpoint"]["Address"],
        proxy_name=proxy_name,
        deployed=deployed,
        deployed_later=later["taskDefinition"],
        tasks_later=later["desiredCount"],
        destroyed_of_environment=environment.destroy(),
        destroyed_of_account=account.destroy(),
        of_network=of_network,
        destroyed_of_network=network.destroy(),
        records=records,
    )
