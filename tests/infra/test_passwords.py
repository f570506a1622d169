"""deploy/passwords.py: every secret gets a value, no running task loses the database, and nothing is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.infra.moto_server import Aws
from tests.infra.tools import PROJECT

pytestmark = [pytest.mark.infra, pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]

NAMES = ("db/service", "db/password", "django/secret-key", "db/proxy", "db/proxy-2")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = PROJECT / "deploy" / "passwords.py"
    command = [sys.executable, script, "--environment=staging", *arguments]
    completed = subprocess.run(command, text=True, capture_output=True, timeout=100, check=False)
    assert not [value for value in values().values() if value in completed.stdout + completed.stderr]
    return completed


def values() -> dict[str, str]:
    """Each secret's value; one that has none is not in it."""
    import boto3

    secrets = boto3.client("secretsmanager")
    found: dict[str, str] = {}
    for name in NAMES:
        try:
            found[name] = secrets.get_secret_value(SecretId=f"rupaya-staging/{name}")["SecretString"]
        except secrets.exceptions.ResourceNotFoundException:
            continue
    return found


def service() -> dict[str, str]:
    return dict(json.loads(values()["db/service"]))


def made(managed: bool) -> Any:
    """What the first apply leaves: a database, a cluster, and secrets without values."""
    import boto3
    from moto.rds.models import rds_backends

    boto3.client("rds").create_db_instance(
        DBInstanceIdentifier="rupaya-postgres-staging",
        DBInstanceClass="db.t4g.small",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="rupaya",
        **({"ManageMasterUserPassword": True} if managed else {"MasterUserPassword": "of before"}),
    )
    for name in NAMES:
        boto3.client("secretsmanager").create_secret(Name=f"rupaya-staging/{name}")
    boto3.client("ecs").create_cluster(clusterName="rupaya-staging")
    return rds_backends["590184132516"]["us-east-1"].databases["rupaya-postgres-staging"]


@pytest.fixture
def instance(aws: Aws) -> Any:
    """A database whose password RDS made, and keeps."""
    return made(managed=True)


@pytest.fixture
def older_instance(aws: Aws) -> Any:
    """One from before, which serves as its master user, also through the proxy; its key has its name."""
    import boto3

    key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    boto3.client("kms").create_alias(AliasName="alias/rupaya-staging", TargetKeyId=key)
    instance = made(managed=False)
    for name, value in (
        ("db/password", "of before"),
        ("db/proxy", json.dumps({"username": "rupaya", "password": "of before"})),
        ("django/secret-key", "k" * 50),
    ):
        boto3.client("secretsmanager").put_secret_value(SecretId=f"rupaya-staging/{name}", SecretString=value)
    return instance


def a_task_runs(aws: Aws, age: timedelta) -> None:
    """A task of that age, in the cluster."""
    import boto3

    ecs = boto3.client("ecs")
    container = {"name": "it", "image": "it", "memory": 64}
    ecs.register_task_definition(family="it", containerDefinitions=[container], requiresCompatibilities=["FARGATE"])
    subnet = boto3.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    ecs.run_task(
        cluster="rupaya-staging",
        taskDefinition="it",
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}},
    )
    (task,) = aws.ecs.tasks["rupaya-staging"].values()
    task.last_status = task.desired_status = "RUNNING"
    # moto's describe_tasks has no createdAt of its own.
    task.created_at = (datetime.now(UTC) - age).timestamp()


def test_each_gets_a_value_once_and_the_masters_password_stays_with_rds(instance: Any) -> None:
    import boto3

    completed = run()

    assert completed.returncode == 0, completed.stderr
    first = values()
    assert set(first) == set(NAMES) - {"db/password"}
    assert instance.manage_master_user_password
    assert service()["username"] == "rupaya_app_a"
    assert service()["member_of"] == "rupaya_app"
    known = {key: service()[key] for key in ("username", "password")}
    assert json.loads(first["db/proxy-2"]) == known
    assert json.loads(first["db/proxy"])["username"] == "rupaya_app_b"
    assert run().returncode == 0
    assert values() == first
    assert boto3.client("rds").describe_db_instances()["DBInstances"][0]["MasterUserSecret"]


def test_a_new_password_goes_to_the_other_login_and_the_proxy_knows_both(instance: Any) -> None:
    run()
    before, first = service(), values()

    assert run("--renew=db/service").returncode == 0

    after = service()
    assert (before["username"], after["username"]) == ("rupaya_app_a", "rupaya_app_b")
    assert after["since"] > before["since"]
    assert json.loads(values()["db/proxy"]) == {key: after[key] for key in ("username", "password")}
    assert values()["db/proxy-2"] == first["db/proxy-2"]
    assert values()["django/secret-key"] == first["django/secret-key"]
    assert run("--renew=db/service").returncode == 0
    assert service()["username"] == "rupaya_app_a"


def test_what_a_running_task_may_have_is_not_replaced(aws: Aws, instance: Any) -> None:
    run()
    before = values()
    a_task_runs(aws, age=timedelta(minutes=5))

    refused = run("--renew=db/service")

    assert refused.returncode == 1
    assert "REFUSED" in refused.stderr
    assert "Deploy first" in refused.stderr
    assert values() == before


def test_what_every_running_task_was_started_after_is_replaced(aws: Aws, instance: Any) -> None:
    run()
    a_task_runs(aws, age=timedelta(minutes=-5))

    assert run("--renew=db/service").returncode == 0


@pytest.mark.parametrize("denied_after", [0, 1])
def test_what_was_cut_off_is_done_by_the_next_run(aws: Aws, instance: Any, denied_after: int) -> None:
    run()
    before = service()
    aws.denied_after["secretsmanager:PutSecretValue"] = denied_after
    refused = run("--renew=db/service")
    aws.denied_after.clear()

    assert refused.returncode == 1
    assert "Run it again" in refused.stderr
    assert service() == before
    assert run("--renew=db/service").returncode == 0
    assert json.loads(values()["db/proxy"]) == {key: service()[key] for key in ("username", "password")}


def test_an_environment_from_before_is_handed_over_once_nothing_serves_as_the_master(
    aws: Aws, older_instance: Any
) -> None:
    import boto3

    early = run("--hand-over")
    assert early.returncode == 1
    assert "deploy" in early.stderr

    assert run().returncode == 0
    assert json.loads(values()["db/proxy"])["username"] == "rupaya", "running tasks come through the proxy as it"
    assert values()["db/password"] == "of before"
    assert older_instance._master_user_password == "of before"
    a_task_runs(aws, age=timedelta(minutes=5))
    assert run("--hand-over").returncode == 1
    (task,) = aws.ecs.tasks["rupaya-staging"].values()
    task.created_at = (datetime.now(UTC) + timedelta(minutes=5)).timestamp()

    assert run("--hand-over").returncode == 0

    managed = boto3.client("rds").describe_db_instances()["DBInstances"][0]["MasterUserSecret"]["SecretArn"]
    of_rds = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=managed)["SecretString"])
    assert values()["db/password"] == of_rds["password"], "tasks of the older definition start until the deployment"
    assert run("--hand-over").returncode == 0


@pytest.mark.parametrize(
    "value",
    ["of somebody's own", "[]", '{"username": "rupaya_app_a"}', '{"username": "a", "since": "2026-01-02T03:04:05"}'],
)
def test_what_somebody_wrote_there_by_hand_is_not_replaced(instance: Any, value: str) -> None:
    import boto3

    run()
    boto3.client("secretsmanager").put_secret_value(SecretId="rupaya-staging/db/service", SecretString=value)
    before = values()

    for arguments in (["--renew=db/service"], ["--hand-over"]):
        refused = run(*arguments)
        assert refused.returncode == 1
        assert "REFUSED: rupaya-staging/db/service is not as this script writes it" in refused.stderr

    assert values() == before


def test_without_terraform_s_secrets_it_says_who_makes_them(aws: Aws) -> None:
    refused = run()

    assert refused.returncode == 1
    assert "`terraform apply` staging first" in refused.stderr


def test_what_was_renewed_is_not_renewed_again_for_another_secret(aws: Aws, instance: Any) -> None:
    run()
    aws.denied_after["secretsmanager:DescribeSecret"] = 1

    refused = run("--renew=django/secret-key")

    aws.denied_after.clear()
    assert refused.returncode == 1
    assert "rupaya-staging/django/secret-key has its new value" in refused.stderr
    assert "Run it again without --renew" in refused.stderr
