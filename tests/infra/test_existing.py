"""An account that has the guide's database, secrets, logs, images and cluster already: they are taken over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.infra.moto_server import ACCOUNT_ID, REGION, Aws
from tests.infra.terraform import INFRA, Terraform, make_secrets, network

pytestmark = [pytest.mark.infra, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

PASSWORD = "the password that the account has"

# What moto takes and does not tell again, so that each plan would write it anew; nothing of this is an import's doing.
FORGOTTEN = {
    ("aws_appautoscaling_target.this", "tags_all"),
    ("aws_db_instance.this", "performance_insights_enabled"),
    ("aws_db_parameter_group.this", "parameter"),
    ("aws_ecs_service.this", "availability_zone_rebalancing"),
    ("aws_ecs_service.this", "health_check_grace_period_seconds"),
    # Read again only when the service, above, is settled.
    ("aws_iam_role_policy.deploy", "policy"),
    ("aws_vpc_security_group_egress_rule.load_balancer_to_task", "description"),
    ("aws_vpc_security_group_egress_rule.task_to_database", "description"),
    ("aws_vpc_security_group_ingress_rule.database_from_task", "description"),
    ("aws_vpc_security_group_ingress_rule.task_from_load_balancer", "description"),
}


def fill(vpc: str, subnets: list[str]) -> tuple[dict[str, str], dict[str, str], str]:
    """Make what the guide names, as if by hand: returns `existing` of both roots, and a security group."""
    import boto3

    rds, logs, secrets, ec2 = (boto3.client(name) for name in ("rds", "logs", "secretsmanager", "ec2"))
    group = ec2.create_security_group(GroupName="by-hand", Description="by hand", VpcId=vpc)["GroupId"]
    rds.create_db_subnet_group(DBSubnetGroupName="by-hand", DBSubnetGroupDescription="by hand", SubnetIds=subnets)
    rds.create_db_instance(
        DBInstanceIdentifier="rupaya-postgres",
        DBInstanceClass="db.t3.medium",
        Engine="postgres",
        EngineVersion="17.2",
        DBName="rupaya_live",
        MasterUsername="owner",
        MasterUserPassword=PASSWORD,
        AllocatedStorage=100,
        DBSubnetGroupName="by-hand",
        VpcSecurityGroupIds=[group],
    )
    environment = {"database": "rupaya-postgres", "cluster": "rupaya", "log_group": "/ecs/rupaya-backend"}
    environment |= {
        "database_log": "/aws/rds/instance/rupaya-postgres/postgresql",
        "database_upgrade_log": "/aws/rds/instance/rupaya-postgres/upgrade",
    }
    for name in ("log_group", "database_log", "database_upgrade_log"):
        logs.create_log_group(logGroupName=environment[name])
    for name, secret, value in (
        ("database_password", "rupaya/db/password", PASSWORD),
        ("django_secret_key", "rupaya/django/secret-key", "k" * 50),
    ):
        environment[name] = secrets.create_secret(Name=secret, SecretString=value)["ARN"]
    boto3.client("ecs").create_cluster(clusterName="rupaya")
    boto3.client("ecr").create_repository(repositoryName="rupaya-backend")
    boto3.client("iam").create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com", ClientIDList=["sts.amazonaws.com"]
    )
    provider = f"arn:aws:iam::{ACCOUNT_ID}:oidc-provider/token.actions.githubusercontent.com"
    return environment, {"repository": "rupaya-backend", "github": provider}, group


def planned(terraform: Terraform) -> list[dict[str, Any]]:
    """The changes of a plan, by what they would do."""
    terraform("plan", "-input=false", "-out=plan")
    return list(json.loads(terraform("show", "-json", "plan").stdout)["resource_changes"])


def differs(changes: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """What a plan would write: addresses and attributes; of what it would make or destroy, the verb."""
    found: set[tuple[str, str]] = set()
    for change in changes:
        before, after, verbs = (change["change"][name] for name in ("before", "after", "actions"))
        if verbs == ["update"]:
            found |= {(change["address"], name) for name in before if before[name] != after.get(name)}
        elif verbs not in (["no-op"], ["read"]):
            found |= {(change["address"], verb) for verb in verbs}
    return found


def test_an_account_that_has_it_all_is_taken_over(aws: Aws, tmp_path: Path) -> None:
    import boto3

    values = network("api.example.com")
    existing, existing_of_account, group = fill(values["vpc_id"], values["database_subnet_ids"])
    before = boto3.client("rds").describe_db_instances()["DBInstances"][0]
    roots = (
        (Terraform(INFRA / "account", tmp_path / "account"), {"existing": existing_of_account}),
        (
            Terraform(INFRA, tmp_path / "environment"),
            values
            | {
                "environment": "production",
                "existing": existing,
                "database_other_security_groups": [group],
            },
        ),
    )
    for terraform, variables in roots:
        terraform.variables(variables)
        changes = planned(terraform)

        imported = {change["change"]["importing"]["id"] for change in changes if "importing" in change["change"]}
        assert imported == set(variables["existing"].values())
        assert not [change["address"] for change in changes if "delete" in change["change"]["actions"]]

        terraform("apply", "-input=false", "plan")
        # Who plans reads no secret's value: the plan role may not.
        aws.denied.add("secretsmanager:GetSecretValue")
        assert differs(planned(terraform)) <= FORGOTTEN

    aws.denied.clear()
    instance = boto3.client("rds").describe_db_instances()["DBInstances"][0]
    assert instance["DbiResourceId"] == before["DbiResourceId"]
    assert instance["DBName"] == "rupaya_live"
    assert "MasterUserSecret" not in instance, "RDS would give it another password, which the original does not know"
    assert instance["AllocatedStorage"] == 100
    assert group in [item["VpcSecurityGroupId"] for item in instance["VpcSecurityGroups"]]
    make_secrets("production")
    secrets = boto3.client("secretsmanager")
    serves = json.loads(secrets.get_secret_value(SecretId="rupaya/db/service")["SecretString"])
    assert serves["username"] == "rupaya_app_a"
    assert secrets.get_secret_value(SecretId="rupaya/django/secret-key")["SecretString"] == "k" * 50
    assert secrets.get_secret_value(SecretId="rupaya/db/password")["SecretString"] == PASSWORD
    (definition,) = boto3.client("ecs").describe_task_definition(taskDefinition="rupaya-backend")["taskDefinition"][
        "containerDefinitions"
    ]
    told = {item["name"]: item["value"] for item in definition["environment"]}
    assert told["DB_NAME"] == "rupaya_live"
    assert told["MIGRATION_DATABASE_URL"].startswith("postgresql://owner@")
    assert told["MIGRATION_DATABASE_URL"].endswith("/rupaya_live")
    of_secrets = {item["name"]: item["valueFrom"] for item in definition["secrets"]}
    assert of_secrets["PGPASSWORD"] == existing["database_password"]
    assert REGION in definition["logConfiguration"]["options"]["awslogs-region"]
