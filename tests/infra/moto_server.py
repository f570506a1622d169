"""AWS on loopback: a moto server in this process, with what moto lacks.

In this process, so that rollouts, which moto does not simulate, can go the way that a test wants.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest import mock

ACCOUNT_ID = "590184132516"
REGION = "us-east-1"


@dataclass(frozen=True)
class Ending:
    """How a container ends: its exit code, None if it was never started, and what it wrote before."""

    exit_code: int | None
    log: Sequence[str] = ()
    reason: str = ""


@dataclass
class Aws:
    """The server's address, and what is to happen in it next."""

    url: str
    rollout: str = "completes"
    """What the next rollout does: completes, fails (and goes back, if it can), is replaced by another, or hangs.

    One that hangs has a task that has written what the first of `endings` says.
    """
    endings: list[Ending] = field(default_factory=list)
    """How the next tasks end, in order: those of a failing rollout, or one-off ones."""
    calls: list[str] = field(default_factory=list)
    """The calls that changed ECS."""
    deployment_configuration: dict[str, Any] = field(default_factory=dict)
    """What ECS tells of every service, and moto of none."""
    updates: list[dict[str, Any]] = field(default_factory=list)
    """What UpdateService was told, whole, whatever moto makes of it."""
    denied: set[str] = field(default_factory=set)
    """What nobody may do, as SERVICE:ACTION; moto itself checks no permissions."""
    denied_after: dict[str, int] = field(default_factory=dict)
    """The same, after so many times."""
    throttled: dict[str, int] = field(default_factory=dict)
    """What is asked for too often, so many times more."""
    sidecar: bool = False
    """Whether AWS puts a container of its own into one-off tasks, before theirs."""
    unknown_tasks: int = 0
    """How many times more DescribeTasks knows nothing yet of what has just been started."""
    before_update: Callable[[Any], None] = lambda _service: None
    """Called with the service before UpdateService changes it: what somebody else does meanwhile."""
    on_start: Callable[[str], None] = lambda _address: None
    """Called with the address of a task that a hanging rollout starts."""
    on_complete: Callable[[str], None] = lambda _image: None
    """Called with the image of a rollout that completes."""

    @property
    def ecs(self) -> Any:
        """moto's own model of ECS."""
        from moto.ecs.models import ecs_backends

        return ecs_backends[ACCOUNT_ID][REGION]


def _supply_what_moto_lacks(stack: Any) -> None:
    from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
    from moto.core.responses import ActionResult, EmptyResult
    from moto.logs.responses import LogsResponse
    from moto.rds.models import DBInstance

    def associate_kms_key(self: Any) -> str:
        self.logs_backend.groups[self._get_param("logGroupName")].kms_key_id = self._get_param("kmsKeyId")
        return "{}"

    stack.enter_context(
        mock.patch.object(DBInstance, "latest_restorable_time", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), create=True)
    )
    # The provider lists and sets tags of scalable targets.
    for name, answer in (
        ("list_tags_for_resource", lambda self: ActionResult({"Tags": {}})),
        ("tag_resource", lambda self: EmptyResult()),
        ("untag_resource", lambda self: EmptyResult()),
    ):
        stack.enter_context(mock.patch.object(ApplicationAutoScalingResponse, name, answer, create=True))
    # A log group that was made without a key gets one.
    stack.enter_context(mock.patch.object(LogsResponse, "associate_kms_key", associate_kms_key, create=True))


class _Rollouts:
    """What ECS does with a service after UpdateService, one step for each time that somebody looks."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self._steps: Iterator[None] = iter(())
        self._ids = itertools.count(1)

    def started(self, service: Any) -> None:
        """A new primary deployment; the one before is still active."""
        before = service.deployments[0]
        before["status"] = "ACTIVE"
        deployment = before | {
            "id": f"ecs-svc/{next(self._ids):019d}",
            "status": "PRIMARY",
            "taskDefinition": service.task_definition,
            "desiredCount": service.desired_count,
            "runningCount": 0,
            "failedTasks": 0,
            "rolloutState": "IN_PROGRESS",
        }
        service.deployments = [deployment, before]
        steps = {"completes": self._complete, "fails": self._fail, "is replaced": self._replace, "hangs": self._hang}
        self._steps = steps[self.aws.rollout](service, deployment, before)

    def look(self) -> None:
        next(self._steps, None)

    def _complete(self, service: Any, ours: dict[str, Any], before: dict[str, Any]) -> Iterator[None]:
        ours["runningCount"] = 1
        yield
        ours |= {"runningCount": ours["desiredCount"], "rolloutState": "COMPLETED"}
        service.deployments = [ours]
        definition = self.aws.ecs.describe_task_definition(ours["taskDefinition"])
        self.aws.on_complete(definition.container_definitions[0]["image"])
        yield

    def _fail(self, service: Any, ours: dict[str, Any], before: dict[str, Any]) -> Iterator[None]:
        for ending in self.aws.endings:
            end_task(self.aws, service.cluster_name, ours["taskDefinition"], ending)
            ours["failedTasks"] += 1
            yield
        ours["rolloutState"] = "FAILED"
        if before["taskDefinition"] != ours["taskDefinition"] and before["runningCount"]:
            # What the circuit breaker does: a new deployment of the old task definition is primary now.
            ours["status"] = "ACTIVE"
            back = before | {"id": f"ecs-svc/{next(self._ids):019d}", "status": "PRIMARY", "rolloutState": "COMPLETED"}
            service.task_definition = before["taskDefinition"]
            service.deployments = [back, ours]
        yield

    def _hang(self, service: Any, ours: dict[str, Any], _before: dict[str, Any]) -> Iterator[None]:
        ending = self.aws.endings.pop(0)
        task = run_task(self.aws, service.cluster_name, ours["taskDefinition"])
        task.last_status = task.desired_status = "RUNNING"
        task.advance = lambda: None
        _write(task, ours["taskDefinition"], ending.log)
        ours["runningCount"] = 1
        details = task.attachments[0]["details"]
        self.aws.on_start(next(item["value"] for item in details if item["name"] == "privateIPv4Address"))
        while True:
            yield

    def _replace(self, service: Any, ours: dict[str, Any], before: dict[str, Any]) -> Iterator[None]:
        yield
        other = ours | {"id": "ecs-svc/other", "taskDefinition": ours["taskDefinition"][:-1] + "99"}
        service.deployments = [other]
        yield


def end_task(aws: Aws, cluster: str, definition: str, ending: Ending) -> None:
    """A task of a task definition that has already ended, with its log."""
    _stop(run_task(aws, cluster, definition), definition, ending)


def run_task(aws: Aws, cluster: str, definition: str) -> Any:
    """A task of a task definition, where the service's are."""
    service = next(iter(aws.ecs.services.values()))
    network = {"awsvpcConfiguration": service.network_configuration["awsvpcConfiguration"]}
    return _plain_run_task(aws.ecs, cluster, definition, 1, None, "", None, "FARGATE", network)[0]


def _stop(task: Any, definition: str, ending: Ending) -> None:
    task.desired_status = "STOPPED"
    task._status = "STOPPED"
    task.last_status = "STOPPED"
    task.advance = lambda: None
    container = task.containers[0]
    container.exitCode = ending.exit_code
    if ending.reason:
        container.reason = ending.reason
    if ending.log:
        _write(task, definition, ending.log)


def _write(task: Any, definition: str, lines: Sequence[str]) -> None:
    """A task's log."""
    from moto.logs.models import logs_backends

    logs = logs_backends[ACCOUNT_ID][REGION]
    options = task._backend.describe_task_definition(definition).container_definitions[0]["logConfiguration"]
    group = options["options"]["awslogs-group"]
    stream = f"ecs/{task.containers[0].name}/{task.id}"
    logs.create_log_stream(group, stream)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    logs.put_log_events(group, stream, [{"timestamp": now_ms, "message": line} for line in lines])


_plain_run_task: Any = None


@contextmanager
def running() -> Iterator[Aws]:
    """A server on a port of its own, empty; rollouts go as `Aws.rollout` says."""
    from contextlib import ExitStack

    os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT_ID
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    from moto.core.responses import BaseResponse
    from moto.ecs.models import EC2ContainerServiceBackend
    from moto.moto_api._internal.models import moto_api_backend
    from moto.server import ThreadedMotoServer

    global _plain_run_task  # noqa: PLW0603 - a patched method has no better place for what it was
    plain_update, plain_describe = (
        EC2ContainerServiceBackend.update_service,
        EC2ContainerServiceBackend.describe_services,
    )
    _plain_run_task = _plain_run_task or EC2ContainerServiceBackend.run_task
    plain_run = _plain_run_task

    with ExitStack() as stack:
        _supply_what_moto_lacks(stack)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto_api_backend.reset()
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        aws = Aws(f"http://{host}:{port}")
        rollouts = _Rollouts(aws)

        def update_service(self: Any, properties: dict[str, Any]) -> Any:
            is_rollout = bool(properties.get("task_definition"))
            aws.before_update(next(iter(self.services.values())))
            service = plain_update(self, properties)
            aws.calls.append("UpdateService")
            if is_rollout:
                rollouts.started(service)
            return service

        def describe_services(self: Any, *arguments: Any) -> Any:
            rollouts.look()
            services, failures = plain_describe(self, *arguments)
            for service in services if aws.deployment_configuration else ():
                service.deployment_configuration = aws.deployment_configuration
            return services, failures

        def run_task(self: Any, *arguments: Any, **named: Any) -> Any:
            tasks = plain_run(self, *arguments, **named)
            aws.calls.append("RunTask")
            _stop(tasks[0], tasks[0].task_definition_arn, aws.endings.pop(0) if aws.endings else Ending(0))
            if aws.sidecar:
                agent = copy.copy(tasks[0].containers[0])
                agent.name, agent.exitCode = "aws-guardduty-agent", 0
                tasks[0].containers.insert(0, agent)
            return tasks

        plain_dispatch = BaseResponse.call_action

        def call_action(self: Any) -> Any:
            asked = f"{self.service_name}:{self._get_action()}"
            if asked == "ecs:UpdateService":
                aws.updates.append(json.loads(self.body))
            if asked in aws.denied_after:
                aws.denied_after[asked] -= 1
            if aws.throttled.get(asked, 0) > 0:
                aws.throttled[asked] -= 1
                return 400, {}, json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"})
            if asked == "ecs:DescribeTasks" and aws.unknown_tasks > 0:
                aws.unknown_tasks -= 1
                return 200, {}, json.dumps({"tasks": [], "failures": [{"reason": "MISSING"}]})
            if asked in aws.denied or aws.denied_after.get(asked, 0) < 0:
                text = f"not authorized to perform: {asked}"
                if "X-Amz-Target" in self.headers:
                    return 400, {}, json.dumps({"__type": "AccessDeniedException", "message": text})
                error = f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>"
                return 403, {}, f"<ErrorResponse>{error}</ErrorResponse>"
            return plain_dispatch(self)

        stack.enter_context(mock.patch.object(BaseResponse, "call_action", call_action))
        for name, function in (
            ("update_service", update_service),
            ("describe_services", describe_services),
            ("run_task", run_task),
        ):
            stack.enter_context(mock.patch.object(EC2ContainerServiceBackend, name, function))
        yield aws
