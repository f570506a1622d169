"""How a new release comes to its requests: task by task, or by ECS' own canary or linear shift of two target groups.

The pinned boto3 has no names for these strategies; `newer.carry` adds them to the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from newer import carry


@dataclass(frozen=True)
class Shift:
    """What Terraform wrote down of it (infra/traffic_shift.tf), where there is one."""

    strategy: str
    """canary: some percent for some minutes, then all. linear: so many percent more every so many minutes."""
    percent: float
    minutes: int
    takes_s: float
    """From the first percent to the last, in seconds."""
    other_target_group_arn: str
    listener_rule_arn: str
    role_arn: str

    @contextmanager
    def carried(self, ecs: Any, service: dict[str, Any], facts: Any, *, at_once: bool) -> Iterator[None]:
        """Let the next UpdateService shift; `at_once` is for a way back, which nobody wants to wait for."""
        configuration = dict(service["deploymentConfiguration"])
        if at_once:
            configuration["strategy"] = "BLUE_GREEN"
        elif self.strategy == "canary":
            configuration["strategy"] = "CANARY"
            configuration["canaryConfiguration"] = {
                "canaryPercent": self.percent,
                "canaryBakeTimeInMinutes": self.minutes,
            }
        else:
            configuration["strategy"] = "LINEAR"
            configuration["linearConfiguration"] = {
                "stepPercent": self.percent,
                "stepBakeTimeInMinutes": self.minutes,
            }
        balancer = {
            "targetGroupArn": facts.target_group_arn,
            "containerName": facts.container,
            "containerPort": facts.port,
            "advancedConfiguration": {
                "alternateTargetGroupArn": self.other_target_group_arn,
                "productionListenerRule": self.listener_rule_arn,
                "roleArn": self.role_arn,
            },
        }
        # The alarms say when to go back, and need no time after all requests have moved: they went on meanwhile.
        with carry(
            ecs,
            "UpdateService",
            deploymentConfiguration=configuration | {"bakeTimeInMinutes": 0},
            loadBalancers=[balancer],
        ):
            yield
