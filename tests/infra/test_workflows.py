"""The workflows: as the linters and the project's rules want them, and their own steps run where they need no AWS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import PROJECT, require

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
    assert {path.stem for path in WORKFLOWS} == NAMES | {"ecs-deploy"}


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


def test_nothing_is_allowed_that_a_job_does_not_ask_for() -> None:
    for path in WORKFLOWS:
        assert load(path)["permissions"] == {}, path.name
    for name, job in jobs():
        assert "permissions" in job, name
        written = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert written <= {"id-token", "pull-requests", "contents"}, name
        if "contents" in written:
            assert name == "10-aws-deploy-production:deployed"


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


def test_rollouts_are_never_cancelled_half_way_nor_run_beside_each_other() -> None:
    deploy = load(FOLDER / "ecs-deploy.yml")["jobs"]["deploy"]
    assert deploy["concurrency"] == {"group": "deploy-${{ inputs.environment }}", "cancel-in-progress": False}
    assert deploy["environment"] == "${{ inputs.environment }}"


def test_the_tag_of_the_migration_gate_moves_only_once_production_is_proved() -> None:
    job = load(FOLDER / "10-aws-deploy-production.yml")["jobs"]["deployed"]
    assert "needs.deploy.outputs.git_sha != ''" in job["if"]
    assert job["steps"][0]["env"]["SHA"] == "${{ needs.deploy.outputs.git_sha }}"


def test_the_checks_cover_each_python_and_postgresql_that_is_promised() -> None:
    matrix = load(FOLDER / "05-common-backend-cicd.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "postgres": ["15", "17"]}


# The workflows' own steps, run by act on this machine


@pytest.fixture
def act(tmp_path: Path) -> Any:
    """Runs a job's own steps on this machine, in a clone of this commit; foreign actions do nothing."""
    program = require("act")
    require("git")
    clone = tmp_path / "clone"
    cloned = run("git", "clone", "--quiet", "--no-tags", str(PROJECT), str(clone))
    if cloned.returncode != 0:
        pytest.skip(f"this is not a git repository: {cloned.stderr}")
    shutil.rmtree(clone / ".github")
    shutil.copytree(PROJECT / ".github", clone / ".github")
    run("git", "remote", "set-url", "origin", "https://github.com/rupaya/rupaya.git", cwd=clone)
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "action.yml").write_text(
        "name: stub\ndescription: nothing\nruns:\n  using: composite\n  steps: [{run: 'true', shell: sh}]\n"
    )
    actions = sorted({used for path in WORKFLOWS for used in re.findall(r"uses: ([\w-]+/\S+)", path.read_text())})

    def run_act(event: str, workflow: str, job: str, tools: Path | None = None) -> subprocess.CompletedProcess[str]:
        path = os.environ["PATH"] if tools is None else f"{tools}{os.pathsep}{os.environ['PATH']}"
        return run(
            program,
            event,
            f"--workflows=.github/workflows/{workflow}",
            f"--job={job}",
            "--platform=ubuntu-24.04=-self-hosted",
            "--no-cache-server",
            *(f"--local-repository={action}={stub}" for action in actions),
            cwd=clone,
            env={**os.environ, "PATH": path, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        )

    run_act.clone = clone  # type: ignore[attr-defined]
    return run_act


def fake_tool(directory: Path, name: str, script: str) -> Path:
    """A program that stands in for one that would need AWS, Docker or GitHub."""
    directory.mkdir(exist_ok=True)
    tool = directory / name
    tool.write_text(f"#!/bin/sh\nset -eu\n{script}\n")
    tool.chmod(0o755)
    return directory


def test_a_first_release_is_linted_without_a_base_and_a_later_one_against_what_production_runs(
    act: Any, tmp_path: Path
) -> None:
    tools = fake_tool(tmp_path / "tools", "make", 'echo "make was told: $*"')

    first = act("pull_request", "05-common-backend-cicd.yml", "lint", tools)
    run("git", "tag", "deployed", cwd=act.clone)
    later = act("pull_request", "05-common-backend-cicd.yml", "lint", tools)

    assert "make was told: lint DEPLOYED=none" in first.stdout, first.stdout + first.stderr
    assert "make was told: lint DEPLOYED=deployed" in later.stdout, later.stdout + later.stderr


def test_terraforms_format_is_checked_by_its_own_step(act: Any, tmp_path: Path) -> None:
    require("terraform")
    terraform = require("terraform")
    script = f'if [ "$1" = fmt ]; then exec {terraform} "$@"; else echo "terraform was told: $*"; fi'
    tools = fake_tool(tmp_path / "tools", "terraform", script)

    good = act("push", "06-terraform-infrastructure.yml", "check", tools)
    with (act.clone / "infra" / "outputs.tf").open("a") as outputs:
        outputs.write('output   "crooked" { value=1 }\n')
    bad = act("push", "06-terraform-infrastructure.yml", "check", tools)

    assert good.returncode == 0, good.stdout + good.stderr
    assert "terraform was told: test" in good.stdout
    assert bad.returncode != 0
    assert "terraform was told: test" not in bad.stdout


def test_production_moves_the_tag_or_makes_it(act: Any, tmp_path: Path) -> None:
    """The step by itself: the job needs a deployment."""
    job = load(FOLDER / "10-aws-deploy-production.yml")["jobs"]["deployed"]
    for exists, expected in ((True, "--method PATCH repos/o/r/git/refs/tags/deployed"), (False, "--method POST")):
        tools = fake_tool(
            tmp_path / f"tools-{exists}",
            "gh",
            f'case "$2" in repos/*) exit {0 if exists else 1} ;; *) echo "gh was told: $*" ;; esac',
        )
        told = run(
            "bash",
            "--noprofile",
            "--norc",
            "-eo",
            "pipefail",
            "-c",
            job["steps"][0]["run"],
            env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "REPOSITORY": "o/r", "SHA": "a" * 40},
        )
        assert expected in told.stdout, told.stdout + told.stderr
        assert "a" * 40 in told.stdout


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
    tools = fake_tool(tmp_path / "tools", "python", 'shift; echo "told: $*"')
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


def test_a_version_names_the_run_and_the_commit(tmp_path: Path) -> None:
    steps = load(FOLDER / "08-aws-ecs-deploy.yml")["jobs"]["build"]["steps"]
    step = next(step for step in steps if step.get("id") == "version")
    output = tmp_path / "output"
    run(
        "bash",
        "-eo",
        "pipefail",
        "-c",
        step["run"],
        env={
            "PATH": os.environ["PATH"],
            "GITHUB_OUTPUT": str(output),
            "GITHUB_RUN_NUMBER": "41",
            "GITHUB_SHA": "abc1234" * 5,
        },
    )
    assert output.read_text() == "version=v41-abc1234\n"
