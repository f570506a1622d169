"""Which task of a rollout has started its server and is never ready: ECS itself waits for a whole grace period, twice.

That period is made for migrations. Once the entrypoint has said that it starts the server there are none any more, and
minutes are enough. It needs nothing but the clients of boto3.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

SERVER_STARTS = "Starting server..."
"""As entrypoint.sh says it, in either format of the log."""
LINES_READ = 500


class Readiness:
    """Looks at a rollout's tasks again and again."""

    def __init__(self, ecs: Any, elb: Any, logs: Any, facts: Any) -> None:
        self.ecs, self.elb, self.logs, self.facts = ecs, elb, logs, facts
        self._started: dict[str, float] = {}
        self._ready: set[str] = set()

    def late(self, definition: str) -> tuple[dict[str, Any], str] | None:
        """A task whose server started too long ago and which is not ready, and what the load balancer says of it.

        One that was ready once is ECS' own to judge.
        """
        tasks = [task for task in self._running(definition) if task["taskArn"] not in self._ready]
        if not tasks:
            return None
        health = self._health()
        for task in tasks:
            arn = task["taskArn"]
            state, why = health.get(_address(task), ("not registered", "the load balancer does not know it"))
            if state == "healthy":
                self._ready.add(arn)
            elif arn not in self._started:
                if self._has_started(task):
                    self._started[arn] = time.monotonic()
            elif time.monotonic() - self._started[arn] >= self.facts.ready_within_s:
                return task, f"{state}: {why}"
        return None

    def _running(self, definition: str) -> Iterator[dict[str, Any]]:
        arns = self.ecs.list_tasks(cluster=self.facts.cluster, family=self.facts.service, desiredStatus="RUNNING")
        if not arns["taskArns"]:
            return
        for task in self.ecs.describe_tasks(cluster=self.facts.cluster, tasks=arns["taskArns"][:100])["tasks"]:
            if task["taskDefinitionArn"] == definition and task["lastStatus"] == "RUNNING":
                yield task

    def _health(self) -> dict[str, tuple[str, str]]:
        """State and reason by address."""
        found = [
            item
            for group in self.facts.target_groups
            for item in self.elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        ]
        return {
            item["Target"]["Id"]: (
                item["TargetHealth"]["State"],
                item["TargetHealth"].get("Description") or item["TargetHealth"].get("Reason") or "no reason given",
            )
            for item in found
        }

    def _has_started(self, task: dict[str, Any]) -> bool:
        """Whether its log says that migrating is done and the server starts."""
        stream = f"ecs/{self.facts.container}/{task['taskArn'].rpartition('/')[2]}"
        try:
            events = self.logs.get_log_events(
                logGroupName=self.facts.log_group, logStreamName=stream, limit=LINES_READ, startFromHead=False
            )["events"]
        except self.logs.exceptions.ResourceNotFoundException:
            return False
        return any(SERVER_STARTS in event["message"] for event in events)


def _address(task: dict[str, Any]) -> str:
    """The address of a task in its subnet, by which the load balancer knows it."""
    for attachment in task.get("attachments", []):
        for detail in attachment.get("details", []):
            if detail.get("name") == "privateIPv4Address":
                return str(detail["value"])
    return ""
