"""The account's policies, evaluated as IAM does it: what each role must not do, and what it cannot do without."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.infra.tools import PROJECT

pytestmark = [pytest.mark.infra, pytest.mark.filterwarnings("default")]
hcl2 = pytest.importorskip("hcl2", reason="a parser of Terraform comes with `make infra-test`")

NAMES = {
    "staging": {
        "plain": "rupaya-staging",
        "services": "rupaya-backend-staging",
        "databases": "rupaya-postgres-staging",
    },
    "production": {"plain": "rupaya", "services": "rupaya-backend", "databases": "rupaya-postgres"},
}


def unlisted(value: Any) -> Any:
    """The parser wraps everything in lists."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def document(name: str, root: str = "account/main.tf") -> list[dict[str, Any]]:
    """The statements of a policy document."""
    with (PROJECT / "infra" / root).open() as file:
        parsed = hcl2.load(file)
    for item in parsed["data"]:
        for kind, named in item.items():
            if kind == "aws_iam_policy_document" and name in named:
                return list(named[name]["statement"])
    raise LookupError(name)


def filled(text: str, environment: str) -> str:
    """The resource with its variables, where this test knows them."""
    for key, value in NAMES[environment].items():
        text = text.replace(f"${{local.{key}[each.key]}}", value)
    text = text.replace("${each.key}", environment)
    return text.replace("${var.account_id}", "590184132516").replace("${var.region}", "us-east-1")


ARN_OR_ALL = re.compile(r"""["'](arn:[^"'\],]+|\*)["']""")


def holds(condition: dict[str, Any], environment: str, tag: str) -> bool:
    """Whether a condition about the resource's tag holds; what others ask for, this test gives them."""
    if unlisted(condition["variable"]) == "aws:ResourceTag/aws:rds:primaryDBInstanceArn":
        return filled(str(unlisted(unlisted(condition["values"]))), environment) == tag
    if unlisted(condition["variable"]) != "aws:ResourceTag/Environment":
        return True
    return tag == environment or (not tag and unlisted(condition["test"]) == "StringEqualsIfExists")


def allows(statements: list[dict[str, Any]], action: str, resource: str, environment: str, tag: str = "") -> bool:
    """Whether the action is allowed on a resource, which has that tag `Environment`."""
    verdict = False
    for statement in statements:
        actions = unlisted(statement["actions"])
        actions = actions if isinstance(actions, list) else [actions]
        if not any(fnmatchcase(action.lower(), pattern.lower()) for pattern in actions):
            continue
        effect = unlisted(statement.get("effect", "Allow"))
        # The variables go first: the brackets of `[each.key]` would end a name before its time.
        named = ARN_OR_ALL.findall(filled(str(statement.get("resources", "")), environment))
        excepted = ARN_OR_ALL.findall(filled(str(statement.get("not_resources", "")), environment))
        assert named or excepted, f"no resource can be read in {statement}"
        if any(fnmatchcase(resource, pattern) for pattern in excepted):
            continue
        if named and not any(fnmatchcase(resource, pattern) for pattern in named):
            continue
        if not all(holds(condition, environment, tag) for condition in statement.get("condition", [])):
            continue
        if effect == "Deny":
            return False
        verdict = True
    return verdict


READS_DATA = (
    "athena:GetQueryResults", "dynamodb:BatchGetItem", "dynamodb:PartiQLSelect", "kinesis:GetRecords",
    "lambda:GetFunction", "logs:GetQueryResults", "logs:StartLiveTail", "logs:StartQuery", "logs:FilterLogEvents",
    "rds:DownloadDBLogFilePortion", "secretsmanager:GetSecretValue", "secretsmanager:BatchGetSecretValue",
    "s3:GetObject", "s3:GetObjectVersion",
)  # fmt: skip


@pytest.mark.parametrize("action", READS_DATA)
def test_a_pull_requests_plan_reads_nobodys_data(action: str) -> None:
    read_only = [{"actions": ["*"], "resources": ["*"]}]  # more than AWS's ReadOnlyAccess
    resource = "arn:aws:s3:::somebody-elses-bucket/key"
    assert not allows([*read_only, *document("plan")], action, resource, "staging")


@pytest.mark.parametrize("action", ["kms:ScheduleKeyDeletion", "kms:PutKeyPolicy", "kms:Decrypt", "kms:CreateGrant"])
@pytest.mark.parametrize(("whose", "expected"), [("staging", True), ("production", False)])
def test_who_applies_staging_touches_no_key_of_production(action: str, whose: str, expected: bool) -> None:
    key = "arn:aws:kms:us-east-1:590184132516:key/1"
    assert allows(document("apply"), action, key, "staging", tag=whose) is expected


@pytest.mark.parametrize(("whose", "expected"), [("", True), ("staging", True), ("production", False)])
def test_who_applies_staging_tags_new_keys_and_takes_none_of_production(whose: str, expected: bool) -> None:
    """A key that could be given another tag could then be used."""
    key = "arn:aws:kms:us-east-1:590184132516:key/1"
    assert allows(document("apply"), "kms:TagResource", key, "staging", tag=whose) is expected


def test_a_proxy_can_be_made() -> None:
    """It knows no resource: service authorization reference of Amazon RDS."""
    assert allows(document("apply"), "rds:CreateDBProxy", "*", "staging")


def test_a_database_gets_its_first_password_from_rds() -> None:
    first = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rds!db-1"
    assert allows(document("apply"), "secretsmanager:CreateSecret", first, "staging")
    assert not allows(document("apply"), "secretsmanager:GetSecretValue", first, "staging")


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("whose", ["staging", "production"])
def test_no_role_of_an_environment_can_read_the_others_secrets(environment: str, whose: str) -> None:
    boundary = document("boundary")
    secret = f"arn:aws:secretsmanager:us-east-1:590184132516:secret:{NAMES[whose]['plain']}/db/password-AbCdEf"
    key = "arn:aws:kms:us-east-1:590184132516:key/1"
    assert allows(boundary, "secretsmanager:GetSecretValue", secret, environment) is (environment == whose)
    # What RDS calls the master user's says nothing of whose it is: its tag does.
    masters = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rds!db-1"
    opens = f"arn:aws:rds:us-east-1:590184132516:db:{NAMES[whose]['databases']}"
    assert allows(boundary, "secretsmanager:GetSecretValue", masters, environment, tag=opens) is (environment == whose)
    assert allows(boundary, "kms:Decrypt", key, environment, tag=whose) is (environment == whose)
    served = f"arn:aws:ssm:us-east-1:590184132516:parameter/rupaya/{whose}/served"
    assert allows(boundary, "ssm:PutParameter", served, environment) is (environment == whose)


def test_the_boundary_leaves_the_deployment_all_that_it_does() -> None:
    within = {action for statement in document("boundary") for action in unlisted_list(statement["actions"])}
    needed = {action for statement in document("deploy", "iam.tf") for action in unlisted_list(statement["actions"])}
    assert needed <= within


def unlisted_list(value: Any) -> list[str]:
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    return list(value)
