"""One environment in AWS: what Terraform has written down of it, and the clients to ask AWS with."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from images import Image, Images
from report import DeploymentError, Report, only_fields
from served import Served
from shift import Shift

# register_task_definition takes what describe_task_definition gives, but for what ECS itself adds.
ADDED_BY_ECS = (
    "taskDefinitionArn revision status requiresAttributes compatibilities registeredAt registeredBy deregisteredAt"
).split()

# All of it ends before the credentials of the workflow do (two hours), so that somebody still hears what became of it.
WITHIN_S = 6600.0


@dataclass(frozen=True)
class Facts:
    """What Terraform wrote down of an environment (infra/deployment.tf)."""

    cluster: str
    service: str
    container: str
    migrate_family: str
    migrate_container: str
    migrate_command: list[str]
    repository: str
    log_group: str
    target_group_arn: str
    database: str
    url: str
    minimum_tasks: int
    grace_period_s: int
    ready_within_s: float = 300
    """How long after its server's start a task may take until the load balancer finds it ready."""
    port: int = 8000
    shift: Shift | None = None
    """How requests come to a new release, where not task by task."""
    is_public: bool = True
    """Whether the load balancer lets anyone in, so that this script may ask it."""

    @property
    def target_groups(self) -> list[str]:
        """Where the load balancer may know tasks."""
        return [self.target_group_arn, *([self.shift.other_target_group_arn] if self.shift else [])]


class Environment:
    """Its service, its images and its task definitions."""

    def __init__(
        self, name: str, report: Report, *, dry_run: bool = False, poll_s: float = 10, proof_timeout_s: float = 300
    ) -> None:
        self.name = name
        self.report = report
        self.dry_run = dry_run
        self.poll_s = poll_s
        self.proof_timeout_s = proof_timeout_s
        session = boto3.Session()
        patient = Config(
            retries={"mode": "standard", "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS") or 8)}
        )
        self.ecr, self.ecs, self.elb, self.logs, self.rds, self.ssm = (
            session.client(service, config=patient) for service in ("ecr", "ecs", "elbv2", "logs", "rds", "ssm")
        )
        self.facts = self._read_facts(f"/rupaya/{name}/deployment")
        self.served = Served(self.ssm, name)
        self.images = Images(self.ecr, self.facts.repository, report)

    def _read_facts(self, parameter: str) -> Facts:
        """What Terraform has written; what a later one writes there too is left for the release that knows it."""
        try:
            written = json.loads(self.ssm.get_parameter(Name=parameter)["Parameter"]["Value"])
            facts = only_fields(Facts, written)
            if facts.get("shift"):
                facts["shift"] = Shift(**only_fields(Shift, facts["shift"]))
            return Facts(**facts)
        except self.ssm.exceptions.ParameterNotFound as error:
            raise DeploymentError(
                f"There is no parameter {parameter}, which Terraform writes. `terraform apply` this environment first."
            ) from error
        except (ValueError, TypeError) as error:
            raise DeploymentError(
                f"The parameter {parameter} is not what this release's Terraform writes: {error}. `terraform apply` "
                "this environment first, with the same release's infra/."
            ) from error

    def service(self) -> dict[str, Any]:
        """The service as ECS describes it.

        Raises:
            DeploymentError: if there is none.
        """
        answer = self.ecs.describe_services(cluster=self.facts.cluster, services=[self.facts.service])
        for service in answer["services"]:
            if service["status"] == "ACTIVE":
                return dict(service)
        raise DeploymentError(f"There is no service {self.facts.service} in the cluster {self.facts.cluster}.")

    def running_image(self, service: dict[str, Any]) -> str:
        """What the service's current task definition names as its image."""
        definition = self.ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        containers = definition["containerDefinitions"]
        ours = [item for item in containers if item["name"] == self.facts.container] or containers
        return str(ours[0]["image"])

    def record_restore_point(self) -> None:
        """Note the second that the database could be restored to, were this deployment to spoil its data."""
        found = self.rds.describe_db_instances(DBInstanceIdentifier=self.facts.database)["DBInstances"][0]
        latest = found.get("LatestRestorableTime")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.report.fact("Deployment began at", now)
        self.report.fact(
            "Restore point before it",
            f"{self.facts.database} at {now} (backups reach {latest.isoformat(timespec='seconds')} so far)"
            if latest
            else f"NONE: {self.facts.database} has no backups",
        )
        if latest:
            self.report.output("restore_point", now)

    def render(self, family: str, image: Image) -> dict[str, Any]:
        """The newest revision of a family, which holds Terraform's latest settings, with this image in it."""
        answer = self.ecs.describe_task_definition(taskDefinition=family, include=["TAGS"])
        rendered = {key: value for key, value in answer["taskDefinition"].items() if key not in ADDED_BY_ECS}
        for container in rendered["containerDefinitions"]:
            container["image"] = image.uri
        if answer.get("tags"):
            rendered["tags"] = answer["tags"]
        return rendered

    def register(self, family: str, image: Image, name: str = "") -> str:
        """Register a revision with this image, in that family or another of the same kind; returns its ARN."""
        rendered = self.render(family, image) | {"family": name or family}
        arn = str(self.ecs.register_task_definition(**rendered)["taskDefinition"]["taskDefinitionArn"])
        self.report.say(f"registered {short(arn)} with {image.uri}")
        return arn

    def once(self, image: Image) -> str:
        """A task definition for one command with this image, in a family that nothing else runs."""
        if self.dry_run:
            return f"{self.facts.migrate_family}-once"
        return self.register(self.facts.migrate_family, image, f"{self.facts.migrate_family}-once")

    def serving(self) -> str:
        """The digest of what the service is told to run, proved or not; empty before the first deployment."""
        return self.running_image(self.service()).partition("@")[2]

    def mark_left(self, left: str, image: Image) -> None:
        """Write down that somebody rolls back from an image, to this one: nobody is to be brought back to it."""
        if left in ("", image.digest):
            return
        if self.dry_run:
            self.report.say(f"would note that {left} was rolled back from")
            return
        self.served.rolling_back_from(left, self.images.version_of(left))

    def mark(self, image: Image, before: str) -> None:
        """Write down that the image serves, and move this environment's tag onto it; `before` is what it replaced."""
        if self.dry_run:
            self.report.say(f"would note that {image.digest} serves, and tag it {self.name}")
            return
        self.served.deployed(image.digest, image.version)
        # For people and for the rules that expire images; a rollback asks the history.
        if before not in ("", image.digest) and self.images.version_of(before):
            self.images.tag(before, f"{self.name}-previous")
        self.images.tag(image.digest, self.name)
        self.report.output("digest", image.digest)

    def polls(self, timeout_s: float) -> Iterator[None]:
        """Yield at once, and then every few seconds until the time is over."""
        deadline = min(time.monotonic() + timeout_s, self.report.started_at + WITHIN_S)
        while True:
            yield
            if time.monotonic() >= deadline:
                return
            time.sleep(self.poll_s)


def is_primary(deployment: dict[str, Any]) -> bool:
    """Whether this is the deployment that ECS is working towards."""
    return bool(deployment["status"] == "PRIMARY")


def short(arn: str) -> str:
    """The last part of an ARN."""
    return arn.rpartition("/")[2]
