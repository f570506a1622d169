"""Bringing a release to the service, and believing that it serves only once that is proved."""

from __future__ import annotations

import http.client
import json
import urllib.request
from contextlib import nullcontext
from typing import Any

from environment import Environment, is_primary, short
from images import Image
from readiness import Readiness
from report import DeploymentError
from tasks import Tasks

PROOFS_IN_A_ROW = 5


class Rollout:
    """Of one environment's service."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.facts, self.report = environment, environment.facts, environment.report
        self.tasks = Tasks(environment)

    def roll_out(self, image: Image, *, at_once: bool = False) -> None:
        """Deploy, and return only once the load balancer answers with this release and no other.

        `at_once`: all requests as soon as it is healthy, whatever the shift of traffic is.

        Raises:
            DeploymentError: if the rollout failed; it says which tasks ended how.
        """
        before = self.environment.service()
        desired = before["desiredCount"] or self.facts.minimum_tasks
        if self.environment.dry_run:
            self.report.say(
                f"would deploy {image.uri} as {desired} tasks in place of {self.environment.running_image(before)}"
            )
            self.report.say(json.dumps(self.environment.render(self.facts.service, image), default=str))
            return
        definition = self.environment.register(self.facts.service, image)
        # How many is autoscaling's to say, which may change its mind meanwhile; but it raises nothing from none.
        raised = {} if before["desiredCount"] else {"desiredCount": desired}
        updated = self.update(before, definition, at_once=at_once, **raised)
        self.report.stands = (
            f"ECS has begun to roll {image.version} out and goes on with it, though nobody waits: look at the "
            "service's events. Once it is through, the same command again proves it and writes it down."
        )
        primary = next(item for item in updated["deployments"] if is_primary(item))
        ours = primary["id"] if primary["taskDefinition"] == definition else None
        if ours is None:
            raise DeploymentError("Another deployment took the place of this one at once. Look for who started it.")
        self.report.fact("Task definition", short(definition))
        self.report.fact("Deployment", ours)
        self.wait_until_completed(ours, definition, before["taskDefinition"])
        self.wait_until_healthy()
        self.wait_until_seen(image)
        self.report.stands = (
            f"{image.version} serves, but not all that follows was done. The same command again does it."
        )

    def update(self, service: dict[str, Any], definition: str, *, at_once: bool, **others: Any) -> dict[str, Any]:
        """Let ECS begin a deployment, by the shift of traffic that there is; returns the service."""
        shift = self.facts.shift
        with shift.carried(self.environment.ecs, service, self.facts, at_once=at_once) if shift else nullcontext():
            answer = self.environment.ecs.update_service(
                cluster=self.facts.cluster,
                service=self.facts.service,
                taskDefinition=definition,
                **others,
            )
        return dict(answer["service"])

    def wait_until_completed(self, deployment_id: str, definition: str, definition_before: str) -> None:
        """Wait for *this* deployment: a service is stable after a rollback too."""
        said = ""
        readiness = Readiness(self.environment.ecs, self.environment.elb, self.environment.logs, self.facts)
        shift_s = self.facts.shift.takes_s if self.facts.shift else 0
        for _ in self.environment.polls(rollout_wait_s(self.facts.grace_period_s) + shift_s):
            service = self.environment.service()
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
            self.tasks.stopped(definition),
        )

    def never_ready(
        self, task: dict[str, Any], health: str, definition: str, definition_before: str
    ) -> DeploymentError:
        """Stop a rollout whose tasks start and do not serve: send the service back to what serves."""
        details = self.tasks.details(task, self.facts.container)
        cause = (
            f"The server of task {short(task['taskArn'])} started, its migrations are done, and it is not ready after "
            f"{self.facts.ready_within_s:g} s ({health})."
        )
        service = self.environment.service()
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
        details = self.tasks.stopped(definition)
        return DeploymentError(f"The rollout of {short(definition)} failed. {now}", details)

    def wait_until_healthy(self) -> None:
        """Wait until the load balancer finds as many targets healthy as there should be now, and none that is not."""
        desired = 0
        states: list[str] = []
        for _ in self.environment.polls(self.environment.proof_timeout_s):
            desired = self.environment.service()["desiredCount"]
            states = [
                item["TargetHealth"]["State"]
                for group in self.facts.target_groups
                for item in self.environment.elb.describe_target_health(TargetGroupArn=group)[
                    "TargetHealthDescriptions"
                ]
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
        for _ in self.environment.polls(self.environment.proof_timeout_s):
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
        # Whatever stands there instead may answer with anything.
        except (OSError, http.client.HTTPException, ValueError, TypeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}


def rollout_wait_s(grace_period_s: float) -> float:
    """How long a rollout may take until ECS has given its verdict, in seconds.

    Its circuit breaker trips at three tasks that failed. Two start at once, so a release that starts but is never ready
    is known as such after two grace periods, each with the checks that end it.
    """
    return 2 * (grace_period_s + 120) + 600
