"""deploy/passwords.py: every secret gets a value, the database is told first, and nothing is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.infra.moto_server import Aws
from tests.infra.tools import PROJECT

pytestmark = [pytest.mark.infra, pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]

NAMES = ("db/password", "django/secret-key", "db/proxy")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = PROJECT / "deploy" / "passwords.py"
    command = [sys.executable, script, "--environment=staging", *arguments]
    return subprocess.run(command, text=True, capture_output=True, timeout=100, check=False)


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


@pytest.fixture
def instance(aws: Aws) -> Any:
    """What the first apply leaves: a database whose password RDS made, and secrets without values."""
    import boto3
    from moto.rds.models import rds_backends

    boto3.client("rds").create_db_instance(
        DBInstanceIdentifier="rupaya-postgres-staging",
        DBInstanceClass="db.t4g.small",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="rupaya",
        ManageMasterUserPassword=True,
    )
    for name in NAMES:
        boto3.client("secretsmanager").create_secret(Name=f"rupaya-staging/{name}")
    return rds_backends["590184132516"]["us-east-1"].databases["rupaya-postgres-staging"]


def test_each_gets_a_value_once_and_rds_leaves_the_password_alone(instance: Any) -> None:
    completed = run()

    assert completed.returncode == 0, completed.stderr
    first = values()
    assert set(first) == set(NAMES)
    assert instance._master_user_password == first["db/password"]
    assert not instance.manage_master_user_password, "RDS would rotate it every week"
    assert json.loads(first["db/proxy"]) == {"username": "rupaya", "password": first["db/password"]}
    assert not [value for value in first.values() if value in completed.stdout + completed.stderr]
    assert run().returncode == 0
    assert values() == first


def test_a_new_password_reaches_all_who_hold_it(instance: Any) -> None:
    run()
    first = values()

    assert run("--renew=db/password").returncode == 0

    renewed = values()
    assert renewed["db/password"] not in ("", first["db/password"])
    assert instance._master_user_password == renewed["db/password"]
    assert json.loads(renewed["db/proxy"])["password"] == renewed["db/password"]
    assert renewed["django/secret-key"] == first["django/secret-key"]


@pytest.mark.parametrize("denied", ["rds:ModifyDBInstance", "secretsmanager:PutSecretValue"])
def test_what_was_cut_off_is_done_by_the_next_run(aws: Aws, instance: Any, denied: str) -> None:
    aws.denied.add(denied)
    refused = run()
    aws.denied.clear()

    assert refused.returncode == 1
    assert "Run it again" in refused.stderr
    assert run().returncode == 0
    assert instance._master_user_password == values()["db/password"]
