#!/usr/bin/env python3
"""Bring an image that is in ECR to an ECS service, and believe that it serves only once that is proved.

    ecs.py deploy   --environment staging --image v41-abc1234      (or sha256:…)
    ecs.py rollback --environment production                       (or --image …)
    ecs.py run      --environment staging -- migrate --dry-run     (with --image …: by that release)

The workflows call it, and people may. What it must know of an environment, Terraform has written into the parameter
/rupaya/ENVIRONMENT/deployment. --dry-run reads everything and changes nothing.

It needs boto3, and of this project nothing that needs more than Python. It exits with 0 when what it was to bring
serves, else with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from readiness import Readiness
from served import Served
from shift import Shift

sys.path.append(str(Path(__file__).resolve().parents[1]))
from rupaya.migrator import exitcodes

VERSION_TAG = re.compile(r"v\d+-([0-9a-f]{7,40})")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# What only a container can end with, or a server; the others are migrate's own.
EXIT_CODES = {
    0: "It ended by itself, which a server never does.",
    1: "manage.py was given wrong arguments, or Python failed: see the lines below.",
    137: "It was killed: out of memory, or it did not end within 30 s of being told to.",
    139: "It crashed (segmentation fault).",
}

# register_task_definition takes what describe_task_definition gives, but for what ECS itself adds.
ADDED_BY_ECS = (
    "taskDefinitionArn revision status requiresAttributes compatibilities registeredAt registeredBy deregisteredAt"
).split()

MANIFEST_TYPES = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]

LOG_LINES_SHOWN = 20
LOG_LINES_READ = 500
STOPPED_TASKS_SHOWN = 3
PROOFS_IN_A_ROW = 5

# All of it ends before the credentials of the workflow do (two hours), so that somebody still hears what became of it.
WITHIN_S = 6600.0

# Whose history must name an image before it may be deployed here.
PROVED_BY = {"production": "staging"}


class DeploymentError(Exception):
    """What was to be deployed does not serve. The text says why, in sentences; `details` are Markdown."""

    def __init__(self, text: str, details: str = "") -> None:
        self.details = details
        super().__init__(text)


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


@dataclass(frozen=True)
class Image:
    """An image in ECR, by what cannot move."""

    uri: str
    digest: str
    version: str

    @property
    def short_sha(self) -> str:
        """The beginning of the commit that it was built from."""
        found = VERSION_TAG.fullmatch(self.version)
        return found[1] if found else ""


@dataclass
class Report:
    """What people read: lines as they happen, and Markdown for the job's summary at the end."""

    title: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self.started_at:6.0f} s  {line}", flush=True)

    def fact(self, name: str, value: str) -> None:
        """Print something that the summary names too."""
        self.facts.append((name, value))
        self.say(f"{name}: {value}")

    def close(self, verdict: str, details: str = "") -> None:
        """Write the job's summary, where there is one."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in self.facts)
        table = f"| | |\n|---|---|\n{rows}\n" if rows else ""
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if path:
            with Path(path).open("a", encoding="utf-8") as summary:
                summary.write(f"## {self.title}\n\n{verdict}\n\n{table}{details}\n")

    @staticmethod
    def output(name: str, value: str) -> None:
        """Hand a value to the steps that follow."""
        path = os.environ.get("GITHUB_OUTPUT")
        if path:
            with Path(path).open("a", encoding="utf-8") as outputs:
                outputs.write(f"{name}={value}\n")


class Environment:
    """One environment in AWS: its service, and the verbs to deploy to it."""

    def __init__(
        self, name: str, report: Report, *, dry_run: bool = False, poll_s: float = 10, proof_timeout_s: float = 300
    ) -> None:
        self.name = name
        self.report = report
        self.dry_run = dry_run
        self.poll_s = poll_s
        self.proof_timeout_s = proof_timeout_s
        session = boto3.Session()
        self.ecr, self.ecs, self.elb, self.logs, self.rds, self.ssm = (
            session.client(service) for service in ("ecr", "ecs", "elbv2", "logs", "rds", "ssm")
        )
        parameter = self.ssm.get_parameter(Name=f"/rupaya/{name}/deployment")["Parameter"]["Value"]
        facts = json.loads(parameter)
        if facts.get("shift"):
            facts["shift"] = Shift(**facts["shift"])
        self.facts = Facts(**facts)
        self.served = Served(self.ssm, name)

    # What is there

    def image(self, reference: str) -> Image:
        """The image that a tag or a digest names now.

        Raises:
            DeploymentError: if there is none, or it has no tag that says which release it is.
        """
        kind = "imageDigest" if DIGEST.fullmatch(reference) else "imageTag"
        try:
            found = self.ecr.describe_images(repositoryName=self.facts.repository, imageIds=[{kind: reference}])
        except (self.ecr.exceptions.ImageNotFoundException, self.ecr.exceptions.InvalidParameterException) as error:
            raise DeploymentError(f"There is no image {reference} in {self.facts.repository}.") from error
        detail = found["imageDetails"][0]
        versions = [tag for tag in detail.get("imageTags", []) if VERSION_TAG.fullmatch(tag)]
        if not versions:
            raise DeploymentError(
                f"The image {reference} has no tag such as v41-abc1234: nothing can tell whether it is what serves."
            )
        uri = f"{detail['registryId']}.dkr.ecr.{self.ecr.meta.region_name}.amazonaws.com/{self.facts.repository}"
        # The image holds its version (RELEASE), and 08 never builds a version twice.
        return Image(f"{uri}@{detail['imageDigest']}", detail["imageDigest"], versions[0])

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
        return str(definition["containerDefinitions"][0]["image"])

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

    # Task definitions

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

    # The rollout

    def roll_out(self, image: Image, *, at_once: bool = False) -> None:
        """Deploy, and return only once the load balancer answers with this release and no other.

        `at_once`: all requests as soon as it is healthy, whatever the shift of traffic is.

        Raises:
            DeploymentError: if the rollout failed; it says which tasks ended how.
        """
        before = self.service()
        desired = before["desiredCount"] or self.facts.minimum_tasks
        if self.dry_run:
            self.report.say(f"would deploy {image.uri} as {desired} tasks in place of {self.running_image(before)}")
            self.report.say(json.dumps(self.render(self.facts.service, image), default=str))
            return
        definition = self.register(self.facts.service, image)
        # How many is autoscaling's to say, which may change its mind meanwhile; but it raises nothing from none.
        raised = {} if before["desiredCount"] else {"desiredCount": desired}
        updated = self.update(before, definition, at_once=at_once, **raised)
        primary = next(item for item in updated["deployments"] if is_primary(item))
        ours = primary["id"] if primary["taskDefinition"] == definition else None
        if ours is None:
            raise DeploymentError("Another deployment took the place of this one at once. Look for who started it.")
        self.report.fact("Task definition", short(definition))
        self.report.fact("Deployment", ours)
        self.wait_until_completed(ours, definition, before["taskDefinition"])
        self.wait_until_healthy()
        self.wait_until_seen(image)

    def update(self, service: dict[str, Any], definition: str, *, at_once: bool, **others: Any) -> dict[str, Any]:
        """Let ECS begin a deployment, by the shift of traffic that there is; returns the service."""
        shift = self.facts.shift
        with shift.carried(self.ecs, service, self.facts, at_once=at_once) if shift else nullcontext():
            answer = self.ecs.update_service(
                cluster=self.facts.cluster, service=self.facts.service, taskDefinition=definition, **others
            )
        return dict(answer["service"])

    def wait_until_completed(self, deployment_id: str, definition: str, definition_before: str) -> None:
        """Wait for *this* deployment: a service is stable after a rollback too."""
        said = ""
        readiness = Readiness(self.ecs, self.elb, self.logs, self.facts)
        shift_s = self.facts.shift.takes_s if self.facts.shift else 0
        for _ in self.polls(rollout_wait_s(self.facts.grace_period_s) + shift_s):
            service = self.service()
            ours = next((item for item in service["deployments"] if item["id"] == deployment_id), None)
            state = ours.get("rolloutState", "IN_PROGRESS") if ours else "gone"
            if ours:
                counts = (
                    f"{ours['runningCount']} of {ours['desiredCount']} tasks run, {ours.get('failedTasks', 0)} failed"
                )
                if said != (said := f"{state}: {counts}"):
                    self.report.say(said)
                if is_primary(ours) and state == "COMPLETED":
                    return
                if is_primary(ours) and state != "FAILED":
                    if (late := readiness.late(definition)) is not None:
                        raise self.never_ready(*late, definition, definition_before)
                    continue
            primary = next((item for item in service["deployments"] if is_primary(item)), None)
            raise self.failure(definition, definition_before, primary, deployment_id)
        raise DeploymentError(
            "The rollout is still under way, but nobody waits for it any longer. Look at the service's events.",
            self.stopped_tasks(definition),
        )

    def never_ready(
        self, task: dict[str, Any], health: str, definition: str, definition_before: str
    ) -> DeploymentError:
        """Stop a rollout whose tasks start and do not serve: send the service back to what serves."""
        details = self.task_details(task, self.facts.container)
        cause = (
            f"The server of task {short(task['taskArn'])} started, its migrations are done, and it is not ready after "
            f"{self.facts.ready_within_s:g} s ({health})."
        )
        service = self.service()
        before = [item for item in service["deployments"] if item["taskDefinition"] == definition_before]
        if definition_before == definition or not any(item["runningCount"] for item in before):
            return DeploymentError(f"{cause} There is nothing to go back to: it was left as it is.", details)
        self.update(service, definition_before, at_once=True)
        return DeploymentError(
            f"{cause} The service was sent back to {short(definition_before)}, whose tasks still run.", details
        )

    def failure(
        self, definition: str, definition_before: str, primary: dict[str, Any] | None, deployment_id: str
    ) -> DeploymentError:
        """Why a rollout failed, and what serves now."""
        if primary is None or primary["id"] == deployment_id:
            now = "There was nothing to go back to: nothing serves."
        elif primary["taskDefinition"] == definition_before:
            now = f"ECS went back to {short(definition_before)}, which served all along."
        else:
            now = f"Another deployment, of {short(primary['taskDefinition'])}, has taken its place."
        details = self.stopped_tasks(definition)
        return DeploymentError(f"The rollout of {short(definition)} failed. {now}", details)

    def wait_until_healthy(self) -> None:
        """Wait until the load balancer finds as many targets healthy as there should be now, and none that is not."""
        desired = 0
        states: list[str] = []
        for _ in self.polls(self.proof_timeout_s):
            desired = self.service()["desiredCount"]
            states = [
                item["TargetHealth"]["State"]
                for group in self.facts.target_groups
                for item in self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
            ]
            serving = [state for state in states if state != "draining"]
            if len(serving) >= desired and set(serving) == {"healthy"}:
                self.report.fact("Healthy targets", str(len(serving)))
                return
        raise DeploymentError(
            f"The rollout completed, but the load balancer does not find {desired} targets healthy: "
            f"{', '.join(sorted(states)) or 'it knows none'}."
        )

    def wait_until_seen(self, image: Image) -> None:
        """Wait until several answers in a row, through the load balancer, come from this release.

        Where it lets in some networks alone, and so nobody from here, what ECS and its own health checks found stands.
        """
        if not self.facts.is_public:
            self.report.fact("Seen through the load balancer", "not from here: it lets in client_cidrs alone")
            self.report.output("git_sha", image.short_sha)
            self.report.output("release", image.version)
            return
        told: dict[str, Any] = {}
        for _ in self.polls(self.proof_timeout_s):
            for _ in range(PROOFS_IN_A_ROW):
                told = self.ask_who_serves()
                if told.get("release") != image.version or not str(told.get("git_sha")).startswith(image.short_sha):
                    break
            else:
                self.report.fact("Seen through the load balancer", f"{image.version}, commit {told['git_sha']}")
                self.report.output("git_sha", str(told["git_sha"]))
                self.report.output("release", image.version)
                return
        answer = told.get("error") or f"{told.get('release')}, commit {told.get('git_sha')}"
        raise DeploymentError(f"{self.facts.url} should be answered by {image.version}, but the answer is: {answer}")

    def ask_who_serves(self) -> dict[str, Any]:
        """What readiness answers, on a connection of its own, so that each may reach another task."""
        url = f"{self.facts.url}/health/ready"  # Terraform's own, https
        request = urllib.request.Request(url, headers={"Connection": "close"})  # noqa: S310 - as it says
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
                return dict(json.load(response))
        except (OSError, ValueError) as error:
            return {"error": str(error)}

    def polls(self, timeout_s: float) -> Iterator[None]:
        """Yield at once, and then every few seconds until the time is over."""
        deadline = min(time.monotonic() + timeout_s, self.report.started_at + WITHIN_S)
        while True:
            yield
            if time.monotonic() >= deadline:
                return
            time.sleep(self.poll_s)

    # Afterwards

    def mark(self, image: Image, *, is_rollback: bool) -> None:
        """Write down that the image serves, and move this environment's tag onto it."""
        if self.dry_run:
            self.report.say(f"would note that {image.digest} serves, and tag it {self.name}")
            return
        before = self.served.now
        if is_rollback:
            self.served.rolled_back_to(image.digest, image.version)
        else:
            self.served.deployed(image.digest, image.version)
        # For people and for the rules that expire images; a rollback asks the history.
        if before and before.digest != image.digest and self.is_there(before.digest):
            self.tag(before.digest, f"{self.name}-previous")
        self.tag(image.digest, self.name)
        self.report.output("digest", image.digest)

    def is_there(self, digest: str) -> bool:
        """Whether ECR still has an image."""
        try:
            self.image(digest)
        except DeploymentError:
            return False
        return True

    def once(self, image: Image) -> str:
        """A task definition for one command with this image, in a family that nothing else runs."""
        if self.dry_run:
            return f"{self.facts.migrate_family}-once"
        return self.register(self.facts.migrate_family, image, f"{self.facts.migrate_family}-once")

    def tag(self, digest: str, tag: str) -> None:
        """Move a tag onto an image."""
        found = self.ecr.batch_get_image(
            repositoryName=self.facts.repository,
            imageIds=[{"imageDigest": digest}],
            acceptedMediaTypes=MANIFEST_TYPES,
        )["images"][0]
        try:
            self.ecr.put_image(
                repositoryName=self.facts.repository,
                imageManifest=found["imageManifest"],
                imageManifestMediaType=found.get("imageManifestMediaType") or MANIFEST_TYPES[0],
                imageTag=tag,
                imageDigest=digest,
            )
        except self.ecr.exceptions.ImageAlreadyExistsException:
            return
        self.report.say(f"tagged {digest} {tag}")

    def run(self, definition: str, arguments: Sequence[str]) -> None:
        """Run one `manage.py` command as a task of its own, and wait for its end.

        Raises:
            DeploymentError: if it did not end with 0.
        """
        command = " ".join(["manage.py", *arguments])
        if self.dry_run:
            self.report.say(f"would run {command} as a task of {short(definition)}")
            return
        answer = self.ecs.run_task(
            cluster=self.facts.cluster,
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration=self.service()["networkConfiguration"],
            startedBy="deploy/ecs.py",
            overrides={
                "containerOverrides": [
                    {"name": self.facts.migrate_container, "command": [*self.facts.migrate_command, *arguments]}
                ]
            },
        )
        if not answer["tasks"]:
            reasons = "; ".join(failure.get("reason", "no reason given") for failure in answer.get("failures", []))
            raise DeploymentError(f"ECS did not start {command}: {reasons}.")
        arn = answer["tasks"][0]["taskArn"]
        self.report.say(f"{command} runs as {short(arn)}")
        for _ in self.polls(self.facts.grace_period_s + 1800):
            task = self.ecs.describe_tasks(cluster=self.facts.cluster, tasks=[arn])["tasks"][0]
            if task["lastStatus"] == "STOPPED":
                break
        else:
            raise DeploymentError(f"{command} still runs as {short(arn)}, but nobody waits for it any longer.")
        container = task["containers"][0]
        if container.get("exitCode") != 0:
            raise DeploymentError(
                f"{command} failed as a task of its own. {ending(container, task)}",
                self.task_details(task, self.facts.migrate_container),
            )
        for line in self.log_lines(task, self.facts.migrate_container)[-LOG_LINES_SHOWN:]:
            self.report.say(f"  | {line}")
        self.report.fact(f"`{command}`", "done")

    # Why

    def stopped_tasks(self, definition: str) -> str:
        """How the tasks of a task definition ended, as Markdown: newest last, their last words with them."""
        arns = self.ecs.list_tasks(cluster=self.facts.cluster, family=self.facts.service, desiredStatus="STOPPED")[
            "taskArns"
        ]
        tasks = self.ecs.describe_tasks(cluster=self.facts.cluster, tasks=arns[:100])["tasks"] if arns else []
        ours = [task for task in tasks if task["taskDefinitionArn"] == definition]
        # A failed migration shows best in the first task that tried it; those after it say only that it failed.
        ours.sort(key=lambda task: task.get("createdAt") or task.get("startedAt") or datetime.min.replace(tzinfo=UTC))
        if not ours:
            return "No task of it has ended; ECS may not have been able to start one: look at the service's events.\n"
        more = len(ours) - STOPPED_TASKS_SHOWN
        text = "".join(self.task_details(task, self.facts.container) for task in ours[:STOPPED_TASKS_SHOWN])
        return text + (f"{more} more ended after these.\n" if more > 0 else "")

    def task_details(self, task: dict[str, Any], container_name: str) -> str:
        """One task: how it ended, and the log lines that matter."""
        container = next(item for item in task["containers"] if item["name"] == container_name)
        lines = [line.replace("```", "'''") for line in self.log_lines(task, container_name)]
        sentence = ending(container, task) if task["lastStatus"] == "STOPPED" else "It runs, and does not serve."
        self.report.say(f"task {short(task['taskArn'])}: {sentence}")
        for line in lines:
            # Never at the beginning of a line, where GitHub would take it for a command.
            self.report.say(f"  | {line}")
        log = "\n".join(lines) or "(it wrote nothing)"
        return f"**Task {short(task['taskArn'])}**: {sentence}\n\n```\n{log}\n```\n\n"

    def log_lines(self, task: dict[str, Any], container_name: str) -> list[str]:
        """The lines of a task's log that matter: errors, if there are any, else the last ones."""
        stream = f"ecs/{container_name}/{short(task['taskArn'])}"
        try:
            events = self.logs.get_log_events(
                logGroupName=self.facts.log_group, logStreamName=stream, limit=LOG_LINES_READ, startFromHead=False
            )["events"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        entries = [log_entry(event["message"]) for event in events]
        matter = [text for level, text in entries if level in ("ERROR", "CRITICAL")]
        chosen = matter or [text for _, text in entries]
        return [line for text in chosen[-LOG_LINES_SHOWN:] for line in text.splitlines()][-2 * LOG_LINES_SHOWN :]


def rollout_wait_s(grace_period_s: float) -> float:
    """How long a rollout may take until ECS has given its verdict, in seconds.

    Its circuit breaker trips at three tasks that failed. Two start at once, so a release that starts but is never ready
    is known as such after two grace periods, each with the checks that end it.
    """
    return 2 * (grace_period_s + 120) + 600


def is_primary(deployment: dict[str, Any]) -> bool:
    """Whether this is the deployment that ECS is working towards."""
    return bool(deployment["status"] == "PRIMARY")


def short(arn: str) -> str:
    """The last part of an ARN."""
    return arn.rpartition("/")[2]


def ending(container: dict[str, Any], task: dict[str, Any]) -> str:
    """How a container ended, in one sentence."""
    code = container.get("exitCode")
    if code is None:
        reason = container.get("reason") or task.get("stoppedReason") or "ECS gives no reason."
        return f"It was never started. {reason}"
    meaning = EXIT_CODES.get(code) or told_by_migrate(code)
    reason = f" ECS says: {container['reason']}" if container.get("reason") else ""
    return f"Exit code {code}. {meaning}{reason}"


def told_by_migrate(code: int) -> str:
    """What an exit code of `migrate` means, and what to do."""
    if code not in exitcodes.EXIT_CODES:
        return "This code is none of migrate's: see the lines below."
    known = exitcodes.EXIT_CODES[code]
    return f"{known.meaning} {known.remedy}"


def log_entry(line: str) -> tuple[str, str]:
    """Level and message of a log line; a line that is no JSON is taken as it is, and for an error if it says so."""
    try:
        entry = json.loads(line)
        return str(entry["level"]), str(entry["message"])
    except (ValueError, KeyError, TypeError):
        looks_bad = re.search(r"Migrations failed|Error\b|What it means|What to do|Traceback|check failed", line)
        return ("ERROR" if looks_bad else "INFO"), line


def deploy(environment: Environment, options: argparse.Namespace) -> None:
    """Bring an image to the service; then, if told to, apply what its migrations held back."""
    image = environment.image(options.image)
    refuse_unproved(environment, image)
    definition = bring(environment, image, is_rollback=False)
    if options.contract:
        try:
            environment.run(definition, ["migrate", "--contract", "--noinput"])
        except DeploymentError as error:
            raise DeploymentError(
                f"{image.version} serves, but its contract migrations were not applied. {error}", error.details
            ) from error


def bring(environment: Environment, image: Image, *, is_rollback: bool) -> str:
    """Roll an image out and write down that it serves; returns what one-off commands of it run by."""
    environment.report.fact("Image", f"{image.version} ({image.digest})")
    environment.record_restore_point()
    environment.roll_out(image, at_once=is_rollback)
    environment.mark(image, is_rollback=is_rollback)
    if environment.dry_run:
        environment.report.say(f"would register {environment.facts.migrate_family} with {image.uri}")
        return environment.facts.migrate_family
    # Also what the daily checks run from now on.
    return environment.register(environment.facts.migrate_family, image)


def refuse_unproved(environment: Environment, image: Image) -> None:
    """Let nothing into production that has not served staging, and nothing that staging rolled back from."""
    prover = PROVED_BY.get(environment.name)
    if prover is None:
        return
    proved = Served(environment.ssm, prover)
    if not proved.has(image.digest):
        raise DeploymentError(f"{image.version} ({image.digest}) has never served {prover}. Deploy it there first.")
    if proved.is_rolled_back(image.digest):
        raise DeploymentError(f"{image.version} was rolled back from in {prover}. Deploy it there again to clear it.")


def roll_back(environment: Environment, options: argparse.Namespace) -> None:
    """Bring back the image that served before, or another older one. The schema stays as it is."""
    served = environment.served
    if options.image:
        image = environment.image(options.image)
        if not served.has(image.digest):
            raise DeploymentError(f"{image.version} has never served {environment.name}: that is for `deploy`.")
        if served.is_rolled_back(image.digest):
            raise DeploymentError(
                f"{image.version} was rolled back from. Whoever wants it all the same must `deploy` it."
            )
    else:
        before = served.before()
        if before is None:
            raise DeploymentError(
                "Nothing served before what serves now, but what was rolled back from. Name an image."
            )
        image = environment.image(before.digest)
    try:
        environment.run(environment.once(image), ["migrate", "--dry-run"])
    except DeploymentError as error:
        raise DeploymentError(
            f"{image.version} was not brought back: it cannot serve on this schema, or it could not be asked. {error}",
            error.details,
        ) from error
    bring(environment, image, is_rollback=True)


def run(environment: Environment, options: argparse.Namespace) -> None:
    """Run one `manage.py` command with the release that serves, or with the image that is named."""
    definition = environment.facts.migrate_family
    if options.image:
        definition = environment.once(environment.image(options.image))
    environment.run(definition, options.arguments)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for on the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--environment", required=True, choices=("staging", "production"))
    common.add_argument(
        "--dry-run", action="store_true", help="read everything, say what would be done, change nothing"
    )
    common.add_argument("--poll-s", type=float, default=10, metavar="SECONDS", help="how often to look (10)")
    common.add_argument(
        "--proof-timeout-s",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long after a completed rollout the load balancer may take to agree (300)",
    )
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="deploy|rollback|run")

    verb = verbs.add_parser("deploy", parents=[common], help="bring an image to the service")
    verb.add_argument("--image", required=True, help="a tag such as v41-abc1234, or a digest")
    verb.add_argument(
        "--no-contract", dest="contract", action="store_false", help="leave contract migrations for later"
    )
    verb.set_defaults(verb=deploy, title="Deployment to")

    verb = verbs.add_parser("rollback", parents=[common], help="bring back the image that served before")
    verb.add_argument("--image", help="another one than that")
    verb.set_defaults(verb=roll_back, title="Rollback of")

    verb = verbs.add_parser("run", parents=[common], help="run a manage.py command as a task of its own")
    verb.add_argument("--image", help="a release that does not serve, such as the one whose deployment failed")
    verb.add_argument("arguments", nargs="+", metavar="ARGUMENT")
    verb.set_defaults(verb=run, title="One-off task in")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Do what was asked, and report it."""
    options = parse(arguments)
    report = Report(f"{options.title} {options.environment}{' (dry run)' if options.dry_run else ''}")
    try:
        environment = Environment(
            options.environment,
            report,
            dry_run=options.dry_run,
            poll_s=options.poll_s,
            proof_timeout_s=options.proof_timeout_s,
        )
        options.verb(environment, options)
    except DeploymentError as error:
        report.say(f"FAILED: {error}")
        report.close(f"**Failed.** {error}", error.details)
        return 1
    except (BotoCoreError, ClientError) as error:
        text = f"AWS refused or did not answer: {error}"
        report.say(f"FAILED: {text}")
        report.close(f"**Failed.** {text}")
        return 1
    report.say("done")
    report.close("Nothing was changed." if options.dry_run else "**Done.**")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
