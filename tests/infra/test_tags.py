"""deploy/tags.py: ECR itself refuses a second image under a version's tag."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.moto_server import Aws
from tests.infra.terraform import INFRA, Terraform
from tests.infra.tools import PROJECT

pytestmark = [pytest.mark.infra, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

REPOSITORY = "rupaya-backend"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = PROJECT / "deploy" / "tags.py"
    return subprocess.run([sys.executable, script, *arguments], text=True, capture_output=True, timeout=60, check=False)


def push(tag: str, number: int) -> None:
    """An image of its own under a tag."""
    import boto3

    media = "application/vnd.docker.distribution.manifest.v2+json"
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": 7,
        "digest": f"sha256:{number:064x}",
    }
    manifest = {"schemaVersion": 2, "mediaType": media, "config": config, "layers": []}
    boto3.client("ecr").put_image(repositoryName=REPOSITORY, imageManifest=json.dumps(manifest), imageTag=tag)


def mutability() -> Any:
    import boto3

    (found,) = boto3.client("ecr").describe_repositories()["repositories"]
    return found["imageTagMutability"]


def test_a_version_names_one_image_for_ever_and_what_is_to_move_moves(aws: Aws) -> None:
    import boto3

    ecr = boto3.client("ecr")
    ecr.create_repository(repositoryName=REPOSITORY)
    push("v1-aaaaaaa", 1)
    push("v1-aaaaaaa", 2)

    completed = run()

    assert completed.returncode == 0, completed.stderr
    with pytest.raises(ecr.exceptions.ImageAlreadyExistsException):
        push("v1-aaaaaaa", 3)
    for number, tag in enumerate(("latest", "staging", "staging-previous", "production", "production-previous"), 10):
        push(tag, number)
        push(tag, number + 100)
    assert run().returncode == 0


def test_who_may_not_is_told_that_tags_still_move(aws: Aws) -> None:
    aws.denied.add("ecr:PutImageTagMutability")

    completed = run()

    assert completed.returncode == 1
    assert "Tags can still be moved." in completed.stderr


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--dry-run", 2), ("nonsense", 2)])
def test_who_only_asks_changes_nothing(aws: Aws, argument: str, code: int) -> None:
    import boto3

    boto3.client("ecr").create_repository(repositoryName=REPOSITORY)

    assert run(argument).returncode == code

    assert mutability() == "MUTABLE"


def test_a_later_apply_of_the_account_leaves_it_so(aws: Aws, tmp_path: Path) -> None:
    account = Terraform(INFRA / "account", tmp_path / "account")
    only = ("-input=false", "-auto-approve", "-target=aws_ecr_repository.this")
    account("apply", *only)
    assert run().returncode == 0

    account("apply", *only)

    assert mutability() == "IMMUTABLE_WITH_EXCLUSION"
