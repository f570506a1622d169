"""Tasks of ECS: one for a command, and how those ended that were to serve."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from environment import Environment, short
from report import DeploymentError

sys.path.append(str(Path(__file__).resolve().parents[1]))
from rupaya.migrator import exitcodes

# What only a container can end with, or a server; the others are migrate's own.
EXIT_CODES = {
    0: "It ended by itself, which a server never does.",
    1: "manage.py was given wrong arguments, or Python failed: see the lines below.",
    137: "It was killed: out of memory, or it did not end within 30 s of being told to.",
    139: "It crashed (segmentation fault).",
}

LOG_LINES_SHOWN = 20
LOG_LINES_READ = 500
STOPPED_TASKS_SHOWN = 3


class Tasks:
    """What runs, or ran, in an environment's cluster."""

    def __init__(self, environment: Environment) -> None:
        self.environment, self.facts, self.report = environment, environment.facts, environment.report

    def run(self, definition: str, arguments: Sequence[str]) -> None:
        """Run one `manage.py` command as a task of its own, and wait for its end.

        Raises:
            DeploymentError: if it did not end with 0.
        """
        command = " ".join(["manage.py", *arguments])
        if self.environment.dry_run:
            self.report.say(f"would run {command} as a task of {short(definition)}")
            return
        answer = self.environment.ecs.run_task(
            cluster=self.facts.cluster,
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration=self.environment.service()["networkConfiguration"],
            startedBy="deploy/ecs.py",
            overrides={
                "containerOverrides": [
                    {
                        "name": self.facts.migrate_container,
                        "command": [*self.facts.migrate_command, *arguments],
                    }
                ]
            },
        )
        if not answer["tasks"]:
            reasons = "; ".join(failure.get("reason", "no reason given") for failure in answer.get("failures", []))
            raise DeploymentError(f"ECS did not start {command}: {reasons}.")
        arn = answer["tasks"][0]["taskArn"]
        self.report.say(f"{command} runs as {short(arn)}")
        stood = self.report.stands
        self.report.stands = f"{command} goes on as {short(arn)}, though nobody waits for it: its log says how it ends."
        task = self.end_of(arn)
        if task is None:
            raise DeploymentError(f"{command} still runs as {short(arn)}, but nobody waits for it any longer.")
        self.report.stands = stood
        container = container_of(task, self.facts.migrate_container)
        if container.get("exitCode") != 0:
            raise DeploymentError(
                f"{command} failed as a task of its own. {ending(container, task)}",
                self.details(task, self.facts.migrate_container),
            )
        for line in self.log_lines(task, self.facts.migrate_container)[-LOG_LINES_SHOWN:]:
            self.report.say(f"  | {line}")
        self.report.fact(f"`{command}`", "done")

    def end_of(self, arn: str) -> dict[str, Any] | None:
        """A task once it has ended; None if that takes too long."""
        for _ in self.environment.polls(self.facts.grace_period_s + 1800):
            # ECS may not know yet what it has just started.
            for task in self.environment.ecs.describe_tasks(cluster=self.facts.cluster, tasks=[arn])["tasks"]:
                if task["lastStatus"] == "STOPPED":
                    return dict(task)
        return None

    def stopped(self, definition: str) -> str:
        """How the tasks of a task definition ended, as Markdown: newest last, their last words with them."""
        arns = self.environment.ecs.list_tasks(
            cluster=self.facts.cluster, family=self.facts.service, desiredStatus="STOPPED"
        )["taskArns"]
        tasks = (
            self.environment.ecs.describe_tasks(cluster=self.facts.cluster, tasks=arns[:100])["tasks"] if arns else []
        )
        ours = [task for task in tasks if task["taskDefinitionArn"] == definition]
        # A failed migration shows best in the first task that tried it; those after it say only that it failed.
        ours.sort(key=lambda task: task.get("createdAt") or task.get("startedAt") or datetime.min.replace(tzinfo=UTC))
        if not ours:
            return "No task of it has ended; ECS may not have been able to start one: look at the service's events.\n"
        more = len(ours) - STOPPED_TASKS_SHOWN
        text = "".join(self.details(task, self.facts.container) for task in ours[:STOPPED_TASKS_SHOWN])
        return text + (f"{more} more ended after these.\n" if more > 0 else "")

    def details(self, task: dict[str, Any], container_name: str) -> str:
        """One task: how it ended, and the log lines that matter."""
        container = container_of(task, container_name)
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
            events = self.environment.logs.get_log_events(
                logGroupName=self.facts.log_group,
                logStreamName=stream,
                limit=LOG_LINES_READ,
                startFromHead=False,
            )["events"]
        except self.environment.logs.exceptions.ResourceNotFoundException:
            return []
        entries = [log_entry(event["message"]) for event in events]
        matter = [text for level, text in entries if level in ("ERROR", "CRITICAL")]
        chosen = matter or [text for _, text in entries]
        return [line for text in chosen[-LOG_LINES_SHOWN:] for line in text.splitlines()][-2 * LOG_LINES_SHOWN :]


def container_of(task: dict[str, Any], name: str) -> dict[str, Any]:
    """A task's container of that name: AWS may put some of its own beside it, before it even."""
    return next((dict(item) for item in task["containers"] if item["name"] == name), {})


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
