"""The workflows: as the linters and the project's rules want them; test_act.py runs their steps."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.tools import PROJECT, require, stand_in

pytestmark = [pytest.mark.infra, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

yaml = pytest.importorskip("yaml", reason="PyYAML is installed by `make infra-test`")

FOLDER = PROJECT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
NAMES = {
    "05-common-backend-cicd",
    "06-terraform-infrastructure",
    "08-aws-ecs-deploy",
    "09-aws-deploy-staging",
    "10-aws-deploy-production",
}


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes the word `on` for true.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(path.read_text()).items()}


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield f"{path.stem}:{name}", job


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, timeout=500, check=False, **options)


def test_they_have_the_names_that_people_know() -> None:
    assert {path.stem for path in WORKFLOWS} == NAMES | {"ecs-deploy", "release"}


def test_actionlint_is_content() -> None:
    # With shellcheck, where it is there.
    completed = run(require("actionlint"), "-no-color", *map(str, WORKFLOWS), cwd=PROJECT)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_zizmor_is_content() -> None:
    completed = run(require("zizmor"), "--offline", "--no-progress", "--format=plain", ".", cwd=PROJECT)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_every_action_is_pinned_by_commit_and_says_which_release_that_is() -> None:
    for path in WORKFLOWS:
        for used in re.findall(r"uses: (.*)", path.read_text()):
            if not used.startswith("./"):
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), f"{path.name}: {used}"


def test_dependabot_knows_every_place_that_pins_something() -> None:
    updates = yaml.safe_load((PROJECT / ".github" / "dependabot.yml").read_text())["updates"]
    watched = {
        (each["package-ecosystem"], folder.strip("/"))
        for each in updates
        for folder in each.get("directories", [each.get("directory")])
    }
    pinned = {("pip", "requirements"), ("docker", ""), ("docker-compose", ""), ("github-actions", "")}
    terraform = {
        ("terraform", str(lock.parent.relative_to(PROJECT))) for lock in PROJECT.glob("infra/**/.terraform.lock.hcl")
    }
    assert watched == pinned | terraform


def test_nothing_is_allowed_that_a_job_does_not_ask_for() -> None:
    for path in WORKFLOWS:
        assert load(path)["permissions"] == {}, path.name
    for name, job in jobs():
        assert "permissions" in job, name
        written = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert written <= {"id-token", "pull-requests", "contents"}, name
        if "contents" in written:
            assert name in ("10-aws-deploy-production:deployed", "release:tag")


def test_no_long_lived_key_is_named() -> None:
    for path in WORKFLOWS:
        text = path.read_text()
        assert "secrets." not in text, path.name
        assert "aws-access-key" not in text, path.name


def test_no_step_puts_an_expression_into_a_shell() -> None:
    for name, job in jobs():
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", ""), f"{name}: {step}"


def test_every_job_that_runs_ends_by_itself() -> None:
    assert [name for name, job in jobs() if "uses" not in job and "timeout-minutes" not in job] == []


def test_the_image_is_built_for_the_machines_that_run_it() -> None:
    build = load(FOLDER / "08-aws-ecs-deploy.yml")["jobs"]["build"]
    assert build["runs-on"] == "${{ vars.CPU_ARCHITECTURE == 'ARM64' && 'ubuntu-24.04-arm' || 'ubuntu-24.04' }}"


def test_a_push_to_main_reaches_staging_and_never_production() -> None:
    build = load(FOLDER / "08-aws-ecs-deploy.yml")
    assert build["on"]["push"]["branches"] == ["main"]
    assert build["jobs"]["staging"]["uses"].endswith("/09-aws-deploy-staging.yml")
    assert "10-aws-deploy-production" not in (FOLDER / "08-aws-ecs-deploy.yml").read_text()
    assert list(load(FOLDER / "10-aws-deploy-production.yml")["on"]) == ["workflow_dispatch"]


def test_a_push_is_built_when_the_image_or_what_deploys_it_changes() -> None:
    paths = load(FOLDER / "08-aws-ecs-deploy.yml")["on"]["push"]["paths"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    for name in {word for line in copied for word in line.split()} - {".", "requirements/dev.txt"}:
        assert name in paths or f"{name}/**" in paths, name


def test_rollouts_are_never_cancelled_half_way_and_a_rollback_waits_for_none() -> None:
    deploy = load(FOLDER / "ecs-deploy.yml")["jobs"]["deploy"]
    group = "${{ inputs.action }}-${{ inputs.environment }}"
    assert deploy["concurrency"] == {"group": group, "cancel-in-progress": False}
    assert deploy["environment"] == "${{ inputs.environment }}"


def test_the_tag_of_the_migration_gate_moves_only_once_production_is_proved() -> None:
    job = load(FOLDER / "10-aws-deploy-production.yml")["jobs"]["deployed"]
    assert "needs.deploy.outputs.git_sha != ''" in job["if"]
    assert "inputs.action == 'deploy'" in job["if"]  # after a rollback production has what it had
    assert job["steps"][0]["env"]["SHA"] == "${{ needs.deploy.outputs.git_sha }}"


def test_the_checks_cover_each_python_and_postgresql_that_is_promised() -> None:
    matrix = load(FOLDER / "05-common-backend-cicd.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "postgres": ["15", "17"]}


def step_of(workflow: str, job: str, name: str) -> str:
    (step,) = [step for step in load(FOLDER / workflow)["jobs"][job]["steps"] if step.get("name") == name]
    return str(step["run"])


def shell(script: str, directory: Path, tools: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does, with stand-ins for what it calls."""
    folder = directory / "tools"
    for name, body in tools.items():
        stand_in(folder, name, body)
    outputs = {"GITHUB_OUTPUT": str(directory / "output"), "GITHUB_STEP_SUMMARY": str(directory / "summary")}
    return run(
        *("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script),
        cwd=directory,
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | outputs | variables,
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_a_version_is_built_once_however_often_its_jobs_are_run(is_there: bool, tmp_path: Path) -> None:
    told = shell(
        step_of("08-aws-ecs-deploy.yml", "build", "Build once, push"),
        tmp_path,
        {"aws": f"exit {0 if is_there else 254}", "docker": 'echo "docker $1 $*"'},
        REGISTRY="registry.example",
        VERSION="v41-abc1234",
        GITHUB_SHA="abc1234",
    )

    assert told.returncode == 0, told.stderr
    assert ("docker build" in told.stdout) is not is_there
    pushed = [line.split()[-1] for line in told.stdout.splitlines() if line.startswith("docker push")]
    assert pushed == [*([] if is_there else ["registry.example/rupaya-backend:v41-abc1234"]),
                      "registry.example/rupaya-backend:latest"]  # fmt: skip


def test_no_wait_of_the_script_outlives_the_job_or_its_credentials() -> None:
    job = load(FOLDER / "ecs-deploy.yml")["jobs"]["deploy"]
    (session_s,) = [step["with"]["role-duration-seconds"] for step in job["steps"] if "role-to-assume" in str(step)]
    found = re.search(r"^WITHIN_S = ([\d.]+)$", (PROJECT / "deploy" / "ecs.py").read_text(), re.MULTILINE)
    assert found
    # The script begins some minutes after the job.
    assert float(found[1]) + 240 < job["timeout-minutes"] * 60 < session_s


def test_what_the_reviewers_agree_to_is_a_digest() -> None:
    jobs = load(FOLDER / "10-aws-deploy-production.yml")["jobs"]
    assert "environment" not in jobs["choose"]  # it asks nobody, so it runs before they are asked
    assert jobs["deploy"]["needs"] == "choose"
    assert jobs["deploy"]["with"]["image"] == (
        "${{ inputs.action == 'deploy' && needs.choose.outputs.digest || inputs.image }}"
    )


@pytest.mark.parametrize(
    ("image", "asked"),
    [("staging", "imageTag=staging"), ("sha256:ab", "imageDigest=sha256:ab"), ("$(x)", "imageTag=$(x)")],
)
def test_the_image_is_looked_up_before_anybody_agrees(image: str, asked: str, tmp_path: Path) -> None:
    script = step_of("10-aws-deploy-production.yml", "choose", "Look it up")
    aws = 'echo "$*" >> asked; case $* in *imageDigest) echo sha256:cd ;; *) echo v41-abc1234 ;; esac'

    told = shell(script, tmp_path, {"aws": aws}, IMAGE=image)

    assert told.returncode == 0, told.stderr
    assert asked in (tmp_path / "asked").read_text()
    assert (tmp_path / "output").read_text() == "digest=sha256:cd\n"
    assert "`v41-abc1234`, `sha256:cd`" in (tmp_path / "summary").read_text()
    assert shell(script, tmp_path, {"aws": "exit 254"}, IMAGE=image).returncode != 0


# A step by itself, with what no person would choose


@pytest.mark.parametrize(
    ("action", "image", "contract", "expected"),
    [
        ("deploy", "v1-abc1234", "true", "deploy --environment staging --image v1-abc1234"),
        ("deploy", "v1-abc1234", "false", "deploy --environment staging --image v1-abc1234 --no-contract"),
        ("rollback", "", "true", "rollback --environment staging"),
        ("deploy", "$(touch x); y", "true", "deploy --environment staging --image $(touch x); y"),
    ],
    ids=["deploy", "without contract", "rollback", "hostile"],
)
def test_the_script_is_told_what_the_inputs_say(
    action: str, image: str, contract: str, expected: str, tmp_path: Path
) -> None:
    step = load(FOLDER / "ecs-deploy.yml")["jobs"]["deploy"]["steps"][-1]
    tools = stand_in(tmp_path / "tools", "python", 'shift; echo "told: $*"')
    given = {"ACTION": action, "IMAGE": image, "CONTRACT": contract}
    told = run(
        "bash",
        "--noprofile",
        "--norc",
        "-eo",
        "pipefail",
        "-c",
        step["run"],
        cwd=tmp_path,
        env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "ENVIRONMENT": "staging"} | given,
    )
    assert told.stdout.strip() == f"told: {expected}"
    assert not (tmp_path / "x").exists()
