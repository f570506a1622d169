"""infra/ as Terraform sees it: formatted, valid, as its own tests want it, and applied to AWS on loopback and away."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.moto_server import Aws
from tests.infra.terraform import INFRA, Applied, Terraform
from tests.infra.tools import PROJECT, require

# The provider is a program of 700 MB that is started anew for each command, and its own waits are minutes long.
pytestmark = [pytest.mark.infra, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

BUCKET = "rupaya-terraform-state-590184132516"
ROOTS = [
    pytest.param(INFRA, id="environment"),
    pytest.param(INFRA / "account", id="account"),
    pytest.param(INFRA / "network", id="network"),
]


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
        print(
            f"\napplied: {applied.of_network} resources of the network, {applied.of_account} of the account, "
            f"{applied.of_environment} of an environment"
        )
    assert applied.destroyed_of_environment >= applied.of_environment
    assert applied.destroyed_of_account == applied.of_account
    assert applied.destroyed_of_network == applied.of_network


@pytest.mark.parametrize("egress", ["endpoints", "nat", "one-nat"])
def test_a_database_has_no_way_out_and_tasks_have_the_one_that_was_asked_for(
    aws: Aws, tmp_path: Path, egress: str
) -> None:
    network = Terraform(INFRA / "network", tmp_path / "network")
    network.variables({"hostnames": [], "egress": egress})
    network("plan", "-input=false", "-out=plan")
    resources = json.loads(network("show", "-json", "plan").stdout)["planned_values"]["root_module"]["resources"]
    found = [f"{item['type']}.{item['name']}[{item.get('index', '')}]" for item in resources]

    ways = [name for name in found if name.startswith("aws_route.")]
    tasks = ["aws_route.nat[task-0]", "aws_route.nat[task-1]"] if egress != "endpoints" else []
    assert sorted(ways) == [*tasks, "aws_route.public[public-0]", "aws_route.public[public-1]"]
    gateways = [name for name in found if name.startswith("aws_nat_gateway.")]
    assert len(gateways) == {"endpoints": 0, "nat": 2, "one-nat": 1}[egress]
    asked = {"ecr.api", "ecr.dkr", "logs", "secretsmanager"} if egress == "endpoints" else set()
    assert {name for name in asked if f"aws_vpc_endpoint.this[{name}]" in found} == asked


def test_an_empty_accounts_name_leads_to_its_load_balancer(applied: Applied) -> None:
    assert list(applied.records) == ["staging.example.com"]
    assert ".elb." in applied.records["staging.example.com"]


def test_no_secret_is_in_the_state(applied: Applied) -> None:
    assert len(applied.secret("django/secret-key")) >= 40
    assert len(json.loads(applied.secret("db/service"))["password"]) >= 40
    for arn, text in applied.secrets.items():
        value = json.loads(text)["password"] if text.startswith("{") else text
        assert value not in applied.state, f"the value of {arn} is in the state"
        assert value not in applied.told


def test_a_later_apply_does_not_undo_a_deployment(applied: Applied) -> None:
    assert (applied.deployed_later, applied.tasks_later) == (applied.deployed, 3)


def test_what_runs_and_what_ran_before_it_is_never_expired(applied: Applied) -> None:
    """As Amazon ECR evaluates rules: an image has all prefixes of its rule, and no later rule touches it."""
    images = {f"v{number}-abc1234": {f"v{number}-abc1234"} for number in range(300)}  # the oldest first
    for version, tag in enumerate(("production-previous", "production", "staging-previous", "staging")):
        images[f"v{version}-abc1234"].add(tag)
    images["v299-abc1234"].add("latest")
    expired: set[str] = set()
    settled: set[str] = set()
    for rule in sorted(applied.lifecycle, key=lambda rule: int(rule["rulePriority"])):
        selection = rule["selection"]
        if selection["tagStatus"] == "untagged":
            continue
        assert selection["countType"] == "imageCountMoreThan"
        selected = [
            name
            for name, tags in images.items()
            if all(any(tag.startswith(prefix) for tag in tags) for prefix in selection["tagPrefixList"])
        ]
        expired |= set(selected[: -selection["countNumber"]]) - settled
        settled |= set(selected)

    assert {name for name, tags in images.items() if len(tags) > 1}.isdisjoint(expired)
    assert 90 <= len(images) - len(expired) <= 110


def test_the_deployment_may_do_all_that_it_does_and_no_more(applied: Applied) -> None:
    # All but what an administrator runs.
    script = "".join(path.read_text() for path in (PROJECT / "deploy").glob("*.py") if path.name != "passwords.py")
    services = {"elb": "elasticloadbalancing"}
    called = {
        f"{services.get(client, client)}:{''.join(word.capitalize() for word in method.split('_'))}"
        for client, method in re.findall(r"\bself\.(?:environment\.)?(ecr|ecs|elb|logs|rds|ssm)\.([a-z_]+)\(", script)
    }
    # What AWS asks for besides: for tags on what is registered, and for the roles of what is run.
    called |= {"ecs:TagResource", "iam:PassRole"}
    # And for a service that alarms may roll back.
    called |= {"cloudwatch:DescribeAlarms"}
    called = {action.replace("DescribeDbInstances", "DescribeDBInstances") for action in called}

    allowed: set[str] = set()
    for statement in applied.may_deploy:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    assert called == allowed


def state_in_s3(tmp_path: Path) -> Terraform:
    """The root, with staging's state in its bucket on loopback."""
    import boto3

    boto3.client("s3").create_bucket(Bucket=BUCKET)
    # What AWS on loopback cannot be asked, or has no names for.
    loopback = (
        "use_path_style",
        "skip_credentials_validation",
        "skip_metadata_api_check",
        "skip_requesting_account_id",
    )
    return Terraform(
        INFRA,
        tmp_path / "root",
        *("-backend-config=environments/staging.s3.tfbackend", *(f"-backend-config={name}=true" for name in loopback)),
    )


def test_each_environment_keeps_its_state_encrypted_in_s3_and_a_lock_beside_it_keeps_others_out(
    aws: Aws, tmp_path: Path
) -> None:
    import boto3

    s3 = boto3.client("s3")
    terraform = state_in_s3(tmp_path)
    (terraform.directory / "anything.tf").write_text('resource "terraform_data" "anything" {}\n')
    apply = ("apply", "-input=false", "-auto-approve", "-target=terraform_data.anything")
    values = "-var-file=environments/staging.tfvars"

    terraform(*apply, values)

    assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["staging.tfstate"]
    assert s3.head_object(Bucket=BUCKET, Key="staging.tfstate")["ServerSideEncryption"]

    lock = {"ID": "1", "Operation": "apply", "Who": "somebody else", "Created": "2026-01-01T00:00:00Z"}
    s3.put_object(Bucket=BUCKET, Key="staging.tfstate.tflock", Body=json.dumps(lock).encode())
    refused = terraform(*apply, values, check=False)

    assert refused.returncode != 0
    assert "Error acquiring the state lock" in refused.stderr
    assert "somebody else" in refused.stderr


def test_a_saved_plan_is_what_is_applied_and_not_once_the_state_has_moved(aws: Aws, tmp_path: Path) -> None:
    import boto3

    terraform = state_in_s3(tmp_path)
    thing = terraform.directory / "anything.tf"
    values = ("-input=false", "-var-file=environments/staging.tfvars", "-target=terraform_data.anything")

    def plan(what: str) -> None:
        thing.write_text(f'resource "terraform_data" "anything" {{\n  input = "{what}"\n}}\n')
        terraform("plan", *values, f"-out={what}.tfplan")

    plan("read")
    thing.write_text('resource "terraform_data" "anything" {\n  input = "written since"\n}\n')
    terraform("apply", "-input=false", "read.tfplan")
    state = boto3.client("s3").get_object(Bucket=BUCKET, Key="staging.tfstate")["Body"].read().decode()
    assert '"read"' in state
    assert "written since" not in state

    plan("first")
    plan("second")
    terraform("apply", "-input=false", "second.tfplan")
    refused = terraform("apply", "-input=false", "first.tfplan", check=False)
    assert refused.returncode != 0
    assert "Saved plan is stale" in refused.stderr


def test_no_secret_is_in_a_saved_plan(applied: Applied) -> None:
    """It holds the state and all that is to be; artifacts of a workflow run are read by more people than secrets."""
    assert b"rupaya-postgres-staging" in applied.plan, "this would find nothing"
    for text in applied.secrets.values():
        value = json.loads(text)["password"] if text.startswith("{") else text
        assert value.encode() not in applied.plan


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
    facts = re.search(r"class Facts:.*?\n\n\n", (PROJECT / "deploy" / "environment.py").read_text(), re.DOTALL)
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
