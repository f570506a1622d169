"""deploy/ecs.py from outside, against AWS on loopback: what it changes, what it believes, and what it tells people."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.infra.moto_server import Ending, end_task
from tests.infra.staging import Staging, definition

pytestmark = [pytest.mark.infra, pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]

# What works


def test_the_first_deployment_starts_the_service_and_proves_it(staging: Staging) -> None:
    result = staging.ecs("deploy", "--image=v1-aaaaaaa")

    assert result.returncode == 0, result.stdout + result.stderr
    service = staging.clients("ecs").describe_services(cluster="rupaya-staging", services=["rupaya-backend-staging"])
    assert service["services"][0]["desiredCount"] == 2
    assert staging.service_image.endswith(f"@{staging.digests['v1-aaaaaaa']}")
    assert staging.aws.calls == ["UpdateService", "RunTask"]
    assert "staging" in staging.tags("v1-aaaaaaa")


def test_the_summary_and_the_outputs_say_what_serves_and_what_to_restore(staging: Staging) -> None:
    staging.ecs("deploy", "--image=v1-aaaaaaa")

    assert "## Deployment to staging" in staging.summary
    assert "**Done.**" in staging.summary
    assert re.search(
        r"Restore point before it \| rupaya-postgres-staging at 20\d\d-\S+ \(backups reach", staging.summary
    )
    assert "`manage.py migrate --contract --noinput` | done" in staging.summary
    assert staging.outputs["git_sha"] == "a" * 40
    assert staging.outputs["release"] == "v1-aaaaaaa"
    assert staging.outputs["digest"] == staging.digests["v1-aaaaaaa"]


def test_an_update_keeps_terraforms_newest_settings_and_changes_the_image_alone(deployed: Staging) -> None:
    newer = definition("rupaya-backend-staging", "rupaya-backend")
    newer["containerDefinitions"][0]["environment"].append({"name": "WEB_CONCURRENCY", "value": "4"})
    deployed.clients("ecs").register_task_definition(**newer)

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0

    answer = deployed.clients("ecs").describe_task_definition(taskDefinition="rupaya-backend-staging", include=["TAGS"])
    container = answer["taskDefinition"]["containerDefinitions"][0]
    assert container["image"].endswith(f"rupaya-backend@{deployed.digests['v2-bbbbbbb']}")
    assert {"name": "WEB_CONCURRENCY", "value": "4"} in container["environment"]
    assert container["readonlyRootFilesystem"] is True
    assert answer["tags"] == [{"key": "Project", "value": "rupaya"}]


def test_an_update_keeps_the_number_of_tasks_that_autoscaling_chose(deployed: Staging) -> None:
    deployed.clients("ecs").update_service(cluster="rupaya-staging", service="rupaya-backend-staging", desiredCount=5)
    deployed.set_targets("10.0.0.13", "10.0.0.14", "10.0.0.15")

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0

    found = deployed.clients("ecs").describe_services(cluster="rupaya-staging", services=["rupaya-backend-staging"])
    assert found["services"][0]["desiredCount"] == 5


def test_what_autoscaling_adds_while_a_deployment_begins_is_not_undone(deployed: Staging) -> None:
    deployed.set_targets("10.0.0.13", "10.0.0.14", "10.0.0.15")

    def scale_out(service: Any) -> None:
        service.desired_count = 5

    deployed.aws.before_update = scale_out
    completed = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert completed.returncode == 0, completed.stdout
    found = deployed.clients("ecs").describe_services(cluster="rupaya-staging", services=["rupaya-backend-staging"])
    assert found["services"][0]["desiredCount"] == 5


def test_what_a_moving_tag_names_is_deployed_by_digest(deployed: Staging) -> None:
    ecr = deployed.clients("ecr")
    image = ecr.batch_get_image(repositoryName="rupaya-backend", imageIds=[{"imageTag": "v2-bbbbbbb"}])["images"][0]
    ecr.put_image(
        repositoryName="rupaya-backend",
        imageManifest=image["imageManifest"],
        imageTag="latest",
        imageDigest=image["imageId"]["imageDigest"],
    )

    assert deployed.ecs("deploy", "--image=latest").returncode == 0

    assert deployed.service_image.endswith(f"@{deployed.digests['v2-bbbbbbb']}")


def test_the_contract_migrations_are_run_by_the_new_image_after_the_rollout(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0

    assert deployed.aws.calls == ["UpdateService", "RunTask"]
    task = list(next(iter(deployed.aws.ecs.tasks.values())).values())[-1]
    assert deployed.image_of(task.task_definition_arn).endswith(deployed.digests["v2-bbbbbbb"])
    assert task.overrides["containerOverrides"][0]["command"][-3:] == ["migrate", "--contract", "--noinput"]


def test_contract_migrations_can_be_left_for_later(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb", "--no-contract").returncode == 0
    assert deployed.aws.calls == ["UpdateService"]


def test_a_rollback_brings_back_what_served_before_and_runs_no_migration(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    deployed.aws.calls.clear()

    result = deployed.ecs("rollback")

    assert result.returncode == 0, result.stdout
    assert deployed.service_image.endswith(deployed.digests["v1-aaaaaaa"])
    assert deployed.aws.calls == ["RunTask", "UpdateService"]  # the first asks that release whether it can serve
    assert deployed.last_command == ["migrate", "--dry-run"]
    assert "## Rollback of staging" in deployed.summary
    assert {"staging"} <= deployed.tags("v1-aaaaaaa")
    assert {"staging-previous"} <= deployed.tags("v2-bbbbbbb")


def test_a_rollback_can_name_its_image(deployed: Staging) -> None:
    for version in ("v2-bbbbbbb", "v3-ccccccc"):
        assert deployed.ecs("deploy", f"--image={version}").returncode == 0

    assert deployed.ecs("rollback", f"--image={deployed.digests['v1-aaaaaaa']}").returncode == 0

    assert deployed.service_image.endswith(deployed.digests["v1-aaaaaaa"])


def test_a_second_rollback_goes_further_back_and_never_to_what_was_rolled_back_from(deployed: Staging) -> None:
    for version in ("v2-bbbbbbb", "v3-ccccccc"):
        assert deployed.ecs("deploy", f"--image={version}").returncode == 0

    for expected in ("v2-bbbbbbb", "v1-aaaaaaa"):
        assert deployed.ecs("rollback").returncode == 0
        assert deployed.service_image.endswith(deployed.digests[expected])

    assert deployed.ecs("rollback").returncode == 1
    assert "Nothing served before what serves now" in deployed.summary
    assert deployed.ecs("rollback", "--image=v3-ccccccc").returncode == 1
    assert "v3-ccccccc was rolled back from" in deployed.summary
    assert deployed.service_image.endswith(deployed.digests["v1-aaaaaaa"])


def test_what_was_rolled_back_from_and_is_deployed_again_may_be_gone_back_to(deployed: Staging) -> None:
    for arguments in (["deploy", "--image=v2-bbbbbbb"], ["rollback"], ["deploy", "--image=v2-bbbbbbb"]):
        assert deployed.ecs(*arguments).returncode == 0
    assert deployed.ecs("deploy", "--image=v3-ccccccc").returncode == 0

    assert deployed.ecs("rollback").returncode == 0

    assert deployed.service_image.endswith(deployed.digests["v2-bbbbbbb"])


def test_a_tag_that_moves_changes_nothing_about_what_a_rollback_brings(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    ecr = deployed.clients("ecr")
    other = ecr.batch_get_image(repositoryName="rupaya-backend", imageIds=[{"imageTag": "v3-ccccccc"}])["images"][0]
    for tag in ("staging", "staging-previous"):
        ecr.put_image(
            repositoryName="rupaya-backend",
            imageManifest=other["imageManifest"],
            imageTag=tag,
            imageDigest=other["imageId"]["imageDigest"],
        )

    assert deployed.ecs("rollback").returncode == 0

    assert deployed.service_image.endswith(deployed.digests["v1-aaaaaaa"])


def test_a_release_that_cannot_serve_on_the_schema_is_not_brought_back(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    deployed.aws.calls.clear()
    deployed.aws.endings = [Ending(14, ["Error: the schema has a breaking migration"])]

    assert deployed.ecs("rollback").returncode == 1

    assert deployed.aws.calls == ["RunTask"]
    assert "v1-aaaaaaa was not brought back" in deployed.summary
    assert "Exit code 14." in deployed.summary
    assert deployed.service_image.endswith(deployed.digests["v2-bbbbbbb"])


def test_a_rollback_goes_to_nothing_that_never_served(deployed: Staging) -> None:
    assert deployed.ecs("rollback", "--image=v3-ccccccc").returncode == 1
    assert "v3-ccccccc has never served staging" in deployed.summary


@pytest.mark.parametrize("reference", ["v3-ccccccc", "latest"])
def test_production_takes_no_image_that_staging_has_not_proved(deployed: Staging, reference: str) -> None:
    deployed.become_production()
    ecr = deployed.clients("ecr")
    image = ecr.batch_get_image(repositoryName="rupaya-backend", imageIds=[{"imageTag": "v3-ccccccc"}])["images"][0]
    ecr.put_image(
        repositoryName="rupaya-backend",
        imageManifest=image["imageManifest"],
        imageTag="latest",
        imageDigest=image["imageId"]["imageDigest"],
    )
    deployed.aws.calls.clear()

    assert deployed.ecs("deploy", f"--image={reference}").returncode == 1

    assert "has never served staging" in deployed.summary
    assert deployed.aws.calls == []


def test_production_takes_what_staging_has_proved_but_not_what_it_rolled_back_from(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    assert deployed.ecs("rollback").returncode == 0
    deployed.become_production()

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 1
    assert "was rolled back from in staging" in deployed.summary
    result = deployed.ecs("deploy", "--image=v1-aaaaaaa")
    assert result.returncode == 0, result.stdout + result.stderr


SERVER_STARTED = Ending(None, ['{"message": "Running database migrations..."}', '{"message": "Starting server..."}'])


def test_a_server_that_started_and_is_never_ready_ends_the_rollout_and_is_named(deployed: Staging) -> None:
    deployed.aws.rollout, deployed.aws.endings = "hangs", [SERVER_STARTED]
    deployed.set_fact(ready_within_s=0.2)

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "is not ready after 0.2 s (not registered: the load balancer does not know it)" in deployed.summary
    assert "The service was sent back to rupaya-backend-staging:" in deployed.summary
    assert "Starting server..." in deployed.summary
    assert deployed.aws.calls == ["UpdateService", "UpdateService"]
    assert deployed.service_image.endswith(deployed.digests["v1-aaaaaaa"])


def test_the_first_release_that_is_never_ready_is_left_for_people_to_look_at(staging: Staging) -> None:
    staging.aws.rollout, staging.aws.endings = "hangs", [SERVER_STARTED]
    staging.set_fact(ready_within_s=0.2)

    assert staging.ecs("deploy", "--image=v1-aaaaaaa").returncode == 1

    assert "There is nothing to go back to: it was left as it is." in staging.summary
    assert staging.aws.calls == ["UpdateService"]


def test_it_is_not_sent_back_to_a_release_of_which_no_task_runs_any_more(deployed: Staging) -> None:
    deployed.aws.rollout, deployed.aws.endings = "hangs", [SERVER_STARTED]
    deployed.set_fact(ready_within_s=0.2)
    deployed.aws.before_update = lambda service: service.deployments[0].update(runningCount=0)

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 1

    assert "There is nothing to go back to: it was left as it is." in deployed.summary
    assert deployed.aws.calls == ["UpdateService"]


SHIFT = {
    "strategy": "canary",
    "percent": 5,
    "minutes": 7,
    "takes_s": 420,
    "other_target_group_arn": "…",
    "listener_rule_arn": "arn:rule",
    "role_arn": "arn:role",
}


@pytest.fixture
def shifting(deployed: Staging) -> Staging:
    """Staging with v1 in it and a second target group."""
    other = deployed.clients("elbv2").create_target_group(
        Name="o", Protocol="HTTP", Port=8000, TargetType="ip", VpcId=deployed.vpc
    )["TargetGroups"][0]["TargetGroupArn"]
    deployed.set_fact(shift=SHIFT | {"other_target_group_arn": other})
    deployed.aws.deployment_configuration = {
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    }
    deployed.aws.updates.clear()
    return deployed


def test_a_canary_gets_a_few_percent_first_and_keeps_the_services_own_rules(shifting: Staging) -> None:
    result = shifting.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 0, result.stdout + result.stderr
    (told,) = shifting.aws.updates
    asked = told["deploymentConfiguration"]
    assert asked["strategy"] == "CANARY"
    assert asked["canaryConfiguration"] == {"canaryPercent": 5, "canaryBakeTimeInMinutes": 7}
    service = shifting.clients("ecs").describe_services(cluster="rupaya-staging", services=["rupaya-backend-staging"])
    assert service["services"][0]["deploymentConfiguration"].items() <= asked.items()
    (balancer,) = told["loadBalancers"]
    assert balancer["targetGroupArn"] == shifting.target_group
    assert balancer["advancedConfiguration"]["productionListenerRule"] == "arn:rule"
    assert balancer["advancedConfiguration"]["roleArn"] == "arn:role"


def test_a_linear_shift_goes_step_by_step(shifting: Staging) -> None:
    shifting.set_fact(shift=SHIFT | {"strategy": "linear", "other_target_group_arn": shifting.target_group})

    assert shifting.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0

    asked = shifting.aws.updates[0]["deploymentConfiguration"]
    assert asked["strategy"] == "LINEAR"
    assert asked["linearConfiguration"] == {"stepPercent": 5, "stepBakeTimeInMinutes": 7}


def test_the_way_back_is_no_canary(shifting: Staging) -> None:
    assert shifting.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    assert shifting.ecs("rollback").returncode == 0
    shifting.aws.rollout, shifting.aws.endings = "hangs", [SERVER_STARTED]
    ssm = json.loads(shifting.clients("ssm").get_parameter(Name="/rupaya/staging/deployment")["Parameter"]["Value"])
    shifting.set_fact(ready_within_s=0.2, shift=ssm["shift"])
    assert shifting.ecs("deploy", "--image=v3-ccccccc").returncode == 1

    strategies = [told["deploymentConfiguration"]["strategy"] for told in shifting.aws.updates]
    assert strategies == ["CANARY", "BLUE_GREEN", "CANARY", "BLUE_GREEN"]


def test_tasks_of_either_group_are_seen_to_be_healthy(shifting: Staging) -> None:
    elb = shifting.clients("elbv2")
    known = json.loads(shifting.clients("ssm").get_parameter(Name="/rupaya/staging/deployment")["Parameter"]["Value"])
    targets = [{"Id": address, "Port": 8000} for address in ("10.0.0.11", "10.0.0.12")]
    elb.register_targets(TargetGroupArn=known["shift"]["other_target_group_arn"], Targets=targets)
    elb.deregister_targets(TargetGroupArn=shifting.target_group, Targets=targets)

    result = shifting.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 0, result.stdout + result.stderr


def test_without_a_shift_a_rollout_is_task_by_task(deployed: Staging) -> None:
    deployed.aws.updates.clear()
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 0
    assert "deploymentConfiguration" not in deployed.aws.updates[0]


@pytest.mark.parametrize("ending", [Ending(None, ["Running database migrations..."]), SERVER_STARTED])
def test_a_task_that_still_migrates_or_is_ready_is_waited_for(deployed: Staging, ending: Ending) -> None:
    deployed.aws.rollout, deployed.aws.endings = "hangs", [ending]
    # The second makes it two seconds until nobody waits for the rollout any longer.
    deployed.set_fact(ready_within_s=0.2, grace_period_s=-419)
    if ending is SERVER_STARTED:
        deployed.aws.on_start = deployed.set_targets

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "still under way" in deployed.summary
    assert deployed.aws.calls == ["UpdateService"]


def test_a_command_can_be_run_by_the_release_whose_deployment_failed(deployed: Staging) -> None:
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [MIGRATION_FAILED]
    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 1
    deployed.aws.endings = []

    result = deployed.ecs("run", "--image=v2-bbbbbbb", "--", "migrate", "--retry-failed")

    assert result.returncode == 0, result.stdout + result.stderr
    assert deployed.last_command == ["migrate", "--retry-failed"]
    assert deployed.image_of(deployed.last_task.task_definition_arn).endswith(deployed.digests["v2-bbbbbbb"])
    # The daily checks, and commands without an image, are still the serving release's.
    assert deployed.image_of("rupaya-backend-staging-migrate").endswith(deployed.digests["v1-aaaaaaa"])


def test_a_person_may_run_any_command_with_the_release_that_serves(deployed: Staging) -> None:
    result = deployed.ecs("run", "--", "migrate", "--dry-run")

    assert result.returncode == 0, result.stdout + result.stderr
    task = list(next(iter(deployed.aws.ecs.tasks.values())).values())[-1]
    assert task.overrides["containerOverrides"][0]["command"][-2:] == ["migrate", "--dry-run"]
    assert deployed.image_of(task.task_definition_arn).endswith(deployed.digests["v1-aaaaaaa"])


@pytest.mark.parametrize("arguments", [["deploy", "--image=v2-bbbbbbb"], ["run", "--", "migrate"]])
def test_a_dry_run_changes_nothing_and_says_what_it_would_do(deployed: Staging, arguments: list[str]) -> None:
    revisions = len(deployed.clients("ecs").list_task_definitions()["taskDefinitionArns"])

    verb, *rest = arguments
    result = deployed.ecs(verb, "--dry-run", *rest)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "would" in result.stdout
    assert "Nothing was changed" in deployed.summary
    assert deployed.aws.calls == []
    assert len(deployed.clients("ecs").list_task_definitions()["taskDefinitionArns"]) == revisions
    assert "staging" in deployed.tags("v1-aaaaaaa")


# What does not


MIGRATION_FAILED = Ending(
    13,
    [
        json.dumps({"level": "INFO", "message": "Running database migrations..."}),
        json.dumps({"level": "ERROR", "message": "accounts.0100 failed: no_such_table\n  What to do: fix it"}),
        json.dumps({"level": "ERROR", "message": "Migrations failed with exit status 13; no server was started."}),
    ],
)


def test_a_failed_migration_fails_the_deployment_in_plain_words(deployed: Staging) -> None:
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [MIGRATION_FAILED, Ending(15, ["accounts.0100 failed before in the same way"])]

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "Exit code 13. A migration or a handler failed; the message says what became of it" in deployed.summary
    assert "Exit code 15. The same migration failed before" in deployed.summary
    assert "accounts.0100 failed: no_such_table\n  What to do: fix it" in deployed.summary
    assert "Running database migrations" not in deployed.summary
    assert "ECS went back to rupaya-backend-staging:2, which served all along." in deployed.summary


def test_a_failed_rollout_moves_no_tag_and_runs_no_contract_migration(deployed: Staging) -> None:
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [MIGRATION_FAILED]

    deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert "staging" in deployed.tags("v1-aaaaaaa")
    assert deployed.tags("v2-bbbbbbb") == {"v2-bbbbbbb"}
    assert deployed.aws.calls == ["UpdateService"]
    assert "git_sha" not in deployed.outputs


def test_a_failed_first_deployment_says_that_nothing_serves(staging: Staging) -> None:
    staging.aws.rollout = "fails"
    staging.aws.endings = [MIGRATION_FAILED]

    assert staging.ecs("deploy", "--image=v1-aaaaaaa").returncode == 1

    assert "nothing serves" in staging.summary


@pytest.mark.parametrize("code", [10, 11, 12, 13, 14, 15, 16, 137, 143])
def test_every_exit_code_has_its_sentence(deployed: Staging, code: int) -> None:
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [Ending(code)]

    deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert re.search(rf"Exit code {code}\. [A-Z][^.]{{20,}}", deployed.summary)
    assert "none of migrate's" not in deployed.summary


def test_a_container_that_never_started_is_told_with_ecs_own_reason(deployed: Staging) -> None:
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [Ending(None, reason="CannotPullContainerError: not found")]

    deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert "It was never started. CannotPullContainerError: not found" in deployed.summary


def test_tasks_of_other_releases_are_not_blamed(deployed: Staging) -> None:
    end_task(deployed.aws, "rupaya-staging", "rupaya-backend-staging:2", Ending(10, ["an old story"]))
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [MIGRATION_FAILED]

    deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert "an old story" not in deployed.summary


def test_a_deployment_that_another_replaced_has_not_succeeded(deployed: Staging) -> None:
    deployed.aws.rollout = "is replaced"

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 1

    assert "has taken its place" in deployed.summary


def test_a_completed_rollout_that_nobody_sees_has_not_succeeded(deployed: Staging) -> None:
    deployed.aws.on_complete = lambda _image: None

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "should be answered by v2-bbbbbbb, but the answer is: v1-aaaaaaa" in deployed.summary
    assert "RunTask" not in deployed.aws.calls


def test_a_load_balancer_that_is_closed_to_the_runner_is_not_asked(deployed: Staging) -> None:
    ssm = deployed.clients("ssm")
    name = "/rupaya/staging/deployment"
    facts = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    ssm.put_parameter(Name=name, Value=json.dumps(facts | {"is_public": False}), Overwrite=True)
    deployed.aws.on_complete = lambda _image: None

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 0, result.stderr
    assert "it lets in client_cidrs alone" in deployed.summary
    assert deployed.outputs["release"] == "v2-bbbbbbb"


def test_a_completed_rollout_with_too_few_targets_has_not_succeeded(deployed: Staging) -> None:
    deployed.clients("elbv2").deregister_targets(
        TargetGroupArn=deployed.target_group, Targets=[{"Id": "10.0.0.12", "Port": 8000}]
    )

    assert deployed.ecs("deploy", "--image=v2-bbbbbbb").returncode == 1

    assert "does not find 2 targets healthy" in deployed.summary


def test_a_failed_contract_migration_says_that_the_release_serves_all_the_same(deployed: Staging) -> None:
    deployed.aws.endings = [Ending(12, ["Migrations failed with exit status 12; this was manage.py migrate"])]

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert result.returncode == 1
    assert "v2-bbbbbbb serves, but its contract migrations were not applied" in deployed.summary
    assert "Exit code 12. A table stayed locked" in deployed.summary
    assert deployed.outputs["git_sha"] == "b" * 40


def test_an_image_that_is_not_there_is_named(deployed: Staging) -> None:
    assert deployed.ecs("deploy", "--image=v9-fffffff").returncode == 1
    assert "There is no image v9-fffffff in rupaya-backend." in deployed.summary
    assert deployed.aws.calls == []


def test_log_lines_can_neither_leave_their_frame_nor_command_the_workflow(deployed: Staging) -> None:
    deployed.aws.rollout = "fails"
    deployed.aws.endings = [Ending(13, ["::add-mask::x Error", "```\n# not a headline Error"])]

    result = deployed.ecs("deploy", "--image=v2-bbbbbbb")

    assert not [line for line in result.stdout.splitlines() if line.startswith("::")]
    assert "'''" in deployed.summary
    assert deployed.summary.count("```") == 2
