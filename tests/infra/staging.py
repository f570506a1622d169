"""An environment as Terraform leaves it, in AWS on loopback, and deploy/ecs.py run against it from outside."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.infra.moto_server import Aws
from tests.infra.tools import PROJECT

SHAS = {"v1-aaaaaaa": "a" * 40, "v2-bbbbbbb": "b" * 40, "v3-ccccccc": "c" * 40}


@dataclass
class Staging:
    """An environment as Terraform leaves it, and the site behind its load balancer."""

    aws: Aws
    clients: Any
    url: str
    digests: dict[str, str]
    target_group: str
    vpc: str
    tmp_path: Path
    serving: dict[str, str] = field(default_factory=dict)
    name: str = "staging"

    def ecs(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script as the workflows do."""
        for name in ("summary", "outputs"):
            (self.tmp_path / name).unlink(missing_ok=True)
        verb, *rest = arguments
        fast = [f"--environment={self.name}", "--poll-s=0.01", "--proof-timeout-s=1"]
        return subprocess.run(
            [sys.executable, PROJECT / "deploy" / "ecs.py", verb, *fast, *rest],
            env=os.environ
            | {"GITHUB_STEP_SUMMARY": str(self.tmp_path / "summary"), "GITHUB_OUTPUT": str(self.tmp_path / "outputs")},
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )

    @property
    def summary(self) -> str:
        return (self.tmp_path / "summary").read_text()

    @property
    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.tmp_path / "outputs").read_text().splitlines())

    def image_of(self, definition: str) -> str:
        found = self.clients("ecs").describe_task_definition(taskDefinition=definition)["taskDefinition"]
        return str(found["containerDefinitions"][0]["image"])

    @property
    def last_task(self) -> Any:
        return list(next(iter(self.aws.ecs.tasks.values())).values())[-1]

    @property
    def last_command(self) -> list[str]:
        """What the last one-off task was told, after manage.py."""
        command = self.last_task.overrides["containerOverrides"][0]["command"]
        return list(command[command.index("manage.py") + 1 :])

    @property
    def service_image(self) -> str:
        found = self.clients("ecs").describe_services(cluster="rupaya-staging", services=["rupaya-backend-staging"])
        return self.image_of(found["services"][0]["taskDefinition"])

    def tags(self, version: str) -> set[str]:
        found = self.clients("ecr").describe_images(
            repositoryName="rupaya-backend", imageIds=[{"imageDigest": self.digests[version]}]
        )
        return set(found["imageDetails"][0]["imageTags"])

    def serve(self, image: str) -> None:
        """From now on the site answers as the release in this image."""
        version = next(version for version, digest in self.digests.items() if image.endswith(digest))
        self.serving |= {"release": version, "git_sha": SHAS[version]}

    def become_production(self) -> None:
        """Call what is here production's: it is made as staging is, and told apart by this parameter."""
        ssm = self.clients("ssm")
        value = ssm.get_parameter(Name="/rupaya/staging/deployment")["Parameter"]["Value"]
        ssm.put_parameter(Name="/rupaya/production/deployment", Type="String", Value=value)
        self.name = "production"

    def set_fact(self, **facts: Any) -> None:
        """Let Terraform have written something else."""
        ssm, name = self.clients("ssm"), f"/rupaya/{self.name}/deployment"
        known = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
        ssm.put_parameter(Name=name, Type="String", Overwrite=True, Value=json.dumps(known | facts))

    def set_targets(self, *addresses: str) -> None:
        self.clients("elbv2").register_targets(
            TargetGroupArn=self.target_group, Targets=[{"Id": address, "Port": 8000} for address in addresses]
        )


@pytest.fixture
def site() -> Iterator[tuple[str, dict[str, str]]]:
    """What the load balancer's name leads to: its readiness answers with a dictionary that a test may change."""
    answer: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "raw" in answer:
                self.wfile.write(answer["raw"].encode())
                return
            body = json.dumps(answer).encode()
            self.send_response(200 if self.path == "/health/ready" and answer else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    server.server_close()


def definition(family: str, container: str, command: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "family": family,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "512",
        "memory": "1024",
        "tags": [{"key": "Project", "value": "rupaya"}],
        "containerDefinitions": [
            {
                "name": container,
                "image": "590184132516.dkr.ecr.us-east-1.amazonaws.com/rupaya-backend:staging",
                "memory": 1024,
                "readonlyRootFilesystem": True,
                "environment": [{"name": "RUPAYA_ENV", "value": "production"}],
                "command": list(command),
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": "/ecs/rupaya-backend-staging", "awslogs-stream-prefix": "ecs"},
                },
            }
        ],
    }


@pytest.fixture
def staging(aws: Aws, site: tuple[str, dict[str, str]], tmp_path: Path) -> Staging:
    boto3 = pytest.importorskip("boto3")
    clients = boto3.client
    ec2, ecs, ecr, elb = clients("ec2"), clients("ecs"), clients("ecr"), clients("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpc, GroupName="task", Description="task")["GroupId"]
    target_group = elb.create_target_group(Name="t", Protocol="HTTP", Port=8000, VpcId=vpc, TargetType="ip")
    target_group_arn = target_group["TargetGroups"][0]["TargetGroupArn"]
    clients("logs").create_log_group(logGroupName="/ecs/rupaya-backend-staging")
    clients("rds").create_db_instance(
        DBInstanceIdentifier="rupaya-postgres-staging",
        Engine="postgres",
        DBInstanceClass="db.t4g.small",
        AllocatedStorage=20,
        MasterUsername="rupaya",
        MasterUserPassword="only-for-tests",
    )
    ecr.create_repository(repositoryName="rupaya-backend")
    digests = {}
    for number, version in enumerate(SHAS):
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": 7,
                "digest": f"sha256:{number:064x}",
            },
            "layers": [],
        }
        text = json.dumps(manifest)
        digests[version] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        ecr.put_image(
            repositoryName="rupaya-backend", imageManifest=text, imageTag=version, imageDigest=digests[version]
        )
    ecs.create_cluster(clusterName="rupaya-staging")
    ecs.register_task_definition(**definition("rupaya-backend-staging", "rupaya-backend"))
    ecs.register_task_definition(**definition("rupaya-backend-staging-migrate", "rupaya-migrate"))
    ecs.create_service(
        cluster="rupaya-staging",
        serviceName="rupaya-backend-staging",
        taskDefinition="rupaya-backend-staging",
        desiredCount=0,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}},
    )
    url, serving = site
    clients("ssm").put_parameter(
        Name="/rupaya/staging/deployment",
        Type="String",
        Value=json.dumps(
            {
                "cluster": "rupaya-staging",
                "service": "rupaya-backend-staging",
                "container": "rupaya-backend",
                "migrate_family": "rupaya-backend-staging-migrate",
                "migrate_container": "rupaya-migrate",
                "migrate_command": ["sh", "-euc", "…", "manage.py"],
                "repository": "rupaya-backend",
                "log_group": "/ecs/rupaya-backend-staging",
                "target_group_arn": target_group_arn,
                "database": "rupaya-postgres-staging",
                "url": url,
                "minimum_tasks": 2,
                "grace_period_s": 1980,
            }
        ),
    )
    staging = Staging(aws, clients, url, digests, target_group_arn, vpc, tmp_path, serving)
    aws.on_complete = staging.serve
    staging.set_targets("10.0.0.11", "10.0.0.12")
    return staging


@pytest.fixture
def deployed(staging: Staging) -> Staging:
    """Staging with v1 in it."""
    result = staging.ecs("deploy", "--image=v1-aaaaaaa")
    assert result.returncode == 0, result.stdout + result.stderr
    staging.aws.calls.clear()
    return staging
