"""The workflows' own steps, run by act on this machine: every job of all.

What a step does is real unless it needs AWS, GitHub, or a container engine; there a stand-in tells what it was told:

- foreign actions do nothing, but for those whose outputs or files later steps need;
- `gh` and `docker` tell what they were told, and so does `deploy/ecs.py`, which has tests of its own against AWS;
- act starts service containers only where there is a Docker engine: in the copy that it runs, DATABASE_URL is the
  suite's PostgreSQL instead;
- `make image-test`, `make rollout-rehearsal`, `make browser-test` and `make infra-test` are told only (they are this
  and the like), and of `make test` a few files are run.

What no stand-in shows, GitHub alone does: approvals of environments, concurrency groups, permissions of tokens.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.release import releases
from tests.infra.terraform import plugin_dir
from tests.infra.tools import PROJECT, require, stand_in
from tests.server.releases import ADD_NICKNAME, FAIL

pytestmark = [pytest.mark.infra, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

yaml = pytest.importorskip("yaml", reason="PyYAML is installed by `make infra-test`")

NOTHING = "name: stand-in\ndescription: nothing\nruns: {using: composite, steps: [{run: 'true', shell: sh}]}\n"
REGISTRY = """
name: stand-in
description: the registry, as after a login
outputs: {registry: {value: registry.example}}
runs: {using: composite, steps: [{run: 'true', shell: sh}]}
"""
UPLOAD = """
name: stand-in
description: keeps a file for later jobs
inputs: {name: {required: true}, path: {required: true}, retention-days: {}}
runs:
  using: composite
  steps:
    - shell: sh
      run: mkdir -p "$ARTIFACTS/${{ inputs.name }}" && cp "${{ inputs.path }}" "$ARTIFACTS/${{ inputs.name }}/"
"""
DOWNLOAD = """
name: stand-in
description: brings what an earlier job kept
inputs: {name: {required: true}, path: {default: .}}
runs:
  using: composite
  steps: [{run: 'cp "$ARTIFACTS/${{ inputs.name }}"/* "${{ inputs.path }}"', shell: sh}]
"""
OUTPUTS = {
    "actions/upload-artifact": UPLOAD,
    "actions/download-artifact": DOWNLOAD,
    "aws-actions/amazon-ecr-login": REGISTRY,
}
PULL_REQUEST = {
    "pull_request": {"number": 7, "head": {"repo": {"full_name": "rupaya/rupaya"}}},
    "repository": {"full_name": "rupaya/rupaya"},
}


@dataclass
class Ran:
    """How a run of act ended: the jobs that succeeded, and what their steps wrote."""

    succeeded: bool
    output: str

    def __post_init__(self) -> None:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.output)
        # [workflow/job] | what a step wrote
        self.said = re.sub(r"^\[[^\]]*\] +\| ?", "", plain, flags=re.MULTILINE)


@dataclass
class Act:
    """act, in a clone of this commit with this tree's workflows."""

    program: str
    clone: Path
    tmp_path: Path
    database_url: str
    actions: dict[str, Path] = field(default_factory=dict)

    def __call__(
        self, event: str, workflow: str, *options: str, payload: Mapping[str, Any] | None = None, **variables: str
    ) -> Ran:
        artifacts = self.tmp_path / "artifacts"
        shutil.rmtree(artifacts, ignore_errors=True)
        artifacts.mkdir()
        (self.tmp_path / "event.json").write_text(json.dumps(payload or {}))
        told = {"ARTIFACTS": str(artifacts), **variables}
        completed = subprocess.run(
            [
                self.program,
                event,
                f"--workflows=.github/workflows/{workflow}",
                "--platform=ubuntu-24.04=-self-hosted",
                "--no-cache-server",
                f"--eventpath={self.tmp_path / 'event.json'}",
                *(f"--local-repository={action}={path}" for action, path in self.actions.items()),
                *(f"--env={name}={value}" for name, value in told.items()),
                *options,
            ],
            cwd=self.clone,
            # What `make infra-test` was told is not for the `make` of a step.
            env={name: value for name, value in os.environ.items() if name not in ("ARGS", "MAKEFLAGS", "MFLAGS")}
            | {
                "PATH": f"{self.tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.tmp_path),
                "XDG_CACHE_HOME": str(self.tmp_path / "cache"),
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=500,
            check=False,
        )
        return Ran(completed.returncode == 0, completed.stdout)

    def stand_in(self, name: str, script: str) -> None:
        """Let a program be another for the steps."""
        stand_in(self.tmp_path / "tools", name, script)

    def commit(self, path: str, text: str) -> None:
        """Commit a file in the clone."""
        (self.clone / path).write_text(text)
        self.git("add", path)
        self.git("-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message=Test")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.clone, text=True, capture_output=True, check=True
        ).stdout.strip()


DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture
def act(tmp_path: Path, database_url: str) -> Act:
    program = require("act")
    require("git")
    clone = tmp_path / "clone"
    cloned = subprocess.run(
        ["git", "clone", "--quiet", "--no-tags", PROJECT, clone], text=True, capture_output=True, check=False
    )
    if cloned.returncode != 0:
        pytest.skip(f"this is not a git repository: {cloned.stderr}")
    act = Act(program, clone, tmp_path, database_url)
    # act tells the repository's name from here.
    act.git("remote", "set-url", "origin", "https://github.com/rupaya/rupaya.git")
    used: set[str] = set()
    for path in sorted((PROJECT / ".github" / "workflows").glob("*.yml")):
        text = path.read_text()
        used |= set(re.findall(r"uses: ([\w-]+/\S+)", text))
        # YAML 1.1 takes the word `on` for true.
        workflow = {("on" if key is True else key): value for key, value in yaml.safe_load(text).items()}
        for job in workflow["jobs"].values():
            job.pop("services", None)
            for environment in (job.get("env", {}), *(step.get("env", {}) for step in job.get("steps", []))):
                if "DATABASE_URL" in environment:
                    environment["DATABASE_URL"] = database_url
        (clone / ".github" / "workflows" / path.name).write_text(yaml.safe_dump(workflow, sort_keys=False))
    for action in sorted(used):
        name = action.partition("@")[0]
        folder = tmp_path / "actions" / name
        folder.mkdir(parents=True)
        (folder / "action.yml").write_text(OUTPUTS.get(name, NOTHING))
        act.actions[action] = folder
    # Dependencies are there already: those of these tests.
    act.stand_in("python", f'case "$*" in "-m pip "*) exit 0 ;; *) exec {sys.executable} "$@" ;; esac')
    act.stand_in("gh", 'echo "gh was told: $*"; for last; do :; done; if [ -f "$last" ]; then cat "$last"; fi')
    # An image that is looked up is found; one that is to be built is not there yet.
    act.stand_in("aws", f'case "$*" in *"--output text"*) echo {DIGEST} ;; *) exit 1 ;; esac')
    act.stand_in("docker", 'echo "docker was told: $*"')
    act.stand_in("make", 'echo "make was told: $*"')
    act.stand_in("sudo", 'echo "sudo was told: $*"')
    return act


# 05


def test_a_first_release_is_linted_without_a_base_and_a_later_one_against_what_production_runs(act: Act) -> None:
    first = act("pull_request", "05-common-backend-cicd.yml", "--job=lint")
    act.git("tag", "deployed")
    later = act("pull_request", "05-common-backend-cicd.yml", "--job=lint")

    assert "make was told: lint DEPLOYED=none" in first.said, first.output
    assert "make was told: lint DEPLOYED=deployed" in later.said, later.output


def real_make(act: Act, stamp: str, arguments: str = "") -> None:
    """Let `make` be itself, with this tree's own environment, which it must take for up to date."""
    environment = PROJECT / ".venv"
    if not (environment / stamp).exists():
        pytest.skip(f"{environment / stamp} is missing: `make lint` and `make test` have not been run here")
    act.stand_in(
        "make", f"exec {require('make')} -o {environment / stamp} VENV={environment} ARGS='{arguments}' \"$@\""
    )


def test_the_lint_job_passes(act: Act) -> None:
    real_make(act, ".dev")

    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=lint", DATABASE_URL=act.database_url)

    assert ran.succeeded, ran.output
    assert "Contracts: " in ran.said


def test_the_test_job_runs_the_suite_against_the_given_server(act: Act) -> None:
    real_make(act, ".test", arguments="tests/migrator/test_django.py tests/test_roundtrip.py")

    ran = act(
        "pull_request",
        "05-common-backend-cicd.yml",
        "--job=test",
        "--matrix=python:3.13",
        "--matrix=postgres:17",
    )

    assert ran.succeeded, ran.output
    assert re.search(r"\d+ passed", ran.said), ran.output


def test_the_image_is_tested_and_its_rollout_rehearsed(act: Act) -> None:
    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=image")

    told = re.findall(r"(?:make|sudo) was told: .*", ran.said)
    assert told[0] == "make was told: image-test", ran.output
    assert "haproxy" in told[2]
    assert told[3] == "make was told: rollout-rehearsal"
    assert ran.succeeded


def test_the_admin_site_is_looked_at_in_a_browser(act: Act) -> None:
    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=browser")

    assert "make was told: browser-test" in ran.said, ran.output


def test_delivery_is_tested(act: Act) -> None:
    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=infra")

    assert re.search(r"sudo was told: apt-get install .*pgbouncer", ran.said), ran.output
    assert "make was told: infra-test" in ran.said


def test_a_pull_request_is_told_what_its_migrations_do_to_what_production_has(act: Act) -> None:
    act.git("tag", "deployed")
    act.commit("accounts/migrations/0100_add_nickname_to_users.py", ADD_NICKNAME)

    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=report", payload=PULL_REQUEST)

    assert ran.succeeded, ran.output
    comment = ran.said[ran.said.index("gh was told: pr comment 7 --repo rupaya/rupaya") :]
    assert "accounts.0100_add_nickname_to_users" in comment, ran.output
    assert "accounts.0001_initial" not in comment, "what production has is no news"


def test_a_first_pull_request_is_told_of_all_migrations(act: Act) -> None:
    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=report", payload=PULL_REQUEST)

    assert ran.succeeded, ran.output
    assert "accounts.0001_initial" in ran.said[ran.said.index("gh was told: pr comment 7") :]


def test_a_failing_rehearsal_fails_its_job_and_is_told_all_the_same(act: Act) -> None:
    act.commit("accounts/migrations/0100_fails_half_way.py", FAIL)

    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=report", payload=PULL_REQUEST)

    assert not ran.succeeded
    assert "there_is_no_such_table" in ran.said[ran.said.index("gh was told: pr comment 7") :], ran.output


def test_a_fork_gets_no_comment(act: Act) -> None:
    fork = PULL_REQUEST | {"pull_request": {"number": 7, "head": {"repo": {"full_name": "stranger/rupaya"}}}}

    ran = act("pull_request", "05-common-backend-cicd.yml", "--job=report", payload=fork)

    assert ran.succeeded, ran.output
    assert "gh was told" not in ran.output


# 06


def test_infrastructure_is_formatted_valid_and_tested(act: Act) -> None:
    terraform = require("terraform")
    found = plugin_dir()
    offline = f'if [ "$1" = init ]; then set -- "$@" -plugin-dir={found}; fi\n' if found else ""
    act.stand_in("terraform", f'{offline}exec {terraform} "$@"')

    good = act("push", "06-terraform-infrastructure.yml", "--job=check", CHECKPOINT_DISABLE="1")
    if "Failed to query available provider packages" in good.output:
        pytest.skip("Terraform's AWS provider cannot be had here")
    act.commit("infra/outputs.tf", (act.clone / "infra" / "outputs.tf").read_text() + 'output   "x" { value=1 }\n')
    bad = act("push", "06-terraform-infrastructure.yml", "--job=check", CHECKPOINT_DISABLE="1")

    assert good.succeeded, good.output
    assert re.search(r"Success! \d+ passed, 0 failed", good.said)
    assert not bad.succeeded
    assert "Initializing" not in bad.said


def test_a_pull_request_plans_both_environments_and_applies_none(act: Act) -> None:
    act.stand_in("terraform", 'echo "terraform was told: $*"')

    ran = act("pull_request", "06-terraform-infrastructure.yml", payload=PULL_REQUEST)

    assert ran.succeeded, ran.output
    for environment in ("staging", "production"):
        assert f"terraform was told: init -backend-config=environments/{environment}.s3.tfbackend" in ran.said
        assert f"-var-file=environments/{environment}.tfvars" in ran.said
    assert "told: apply" not in ran.said


def test_a_failing_plan_fails_its_job(act: Act) -> None:
    act.stand_in("terraform", 'if [ "$1" = plan ]; then echo "Error: no"; exit 1; fi')

    ran = act("pull_request", "06-terraform-infrastructure.yml", payload=PULL_REQUEST)

    assert not ran.succeeded
    assert "Error: no" in ran.said


def test_a_push_plans_both_and_applies_those_very_plans_staging_first(act: Act) -> None:
    act.stand_in(
        "terraform",
        'echo "terraform was told: $*"\n'
        'for last; do case "$last" in -out=*) echo "was planned for $ENVIRONMENT" > "${last#-out=}" ;; esac; done\n'
        'if [ "$1" = apply ]; then cat "$last"; fi',
    )

    ran = act("push", "06-terraform-infrastructure.yml")

    assert ran.succeeded, ran.output
    applied = re.findall(r"terraform was told: apply (.*)", ran.said)
    assert [re.findall(r"(\w+)\.tfplan", told) for told in applied] == [["staging"], ["production"]]
    assert not [told for told in applied if "-auto-approve" in told or "-var-file" in told], "it would plan anew"
    assert ran.said.count("was planned for staging") == ran.said.count("was planned for production") == 1


# 08, 09, 10

ECS = """
case "$*" in
"-m pip "*) exit 0 ;;
"deploy/ecs.py "*) shift; echo "ecs.py was told: $*"; echo "git_sha=$SHA" >> "$GITHUB_OUTPUT"; exit "$STATUS" ;;
*) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def ecs(act: Act) -> Act:
    """act, with a deployment that proves the commit in SHA and ends with STATUS."""
    act.stand_in("python", ECS.format(python=sys.executable))
    return act


def test_a_push_is_checked_built_once_pushed_and_brought_to_staging(ecs: Act) -> None:
    sha = ecs.git("rev-parse", "HEAD")

    ran = ecs("push", "08-aws-ecs-deploy.yml", SHA=sha, STATUS="0")

    assert ran.succeeded, ran.output
    version, image = f"v1-{sha[:7]}", "registry.example/rupaya-backend"
    assert re.findall(r"docker was told: .*", ran.said) == [
        f"docker was told: build --build-arg GIT_SHA={sha} --build-arg RELEASE={version} --tag {image}:{version} .",
        f"docker was told: push {image}:{version}",
        f"docker was told: tag {image}:{version} {image}:latest",
        f"docker was told: push {image}:latest",
    ]
    assert re.findall(r"ecs.py was told: .*", ran.said) == [
        f"ecs.py was told: deploy --environment staging --image {version}"
    ]
    assert ran.said.index("make was told: lint") < ran.said.index("docker was told")
    assert ran.said.index("push registry.example/rupaya-backend:latest") < ran.said.index("ecs.py was told")


def test_a_push_that_fails_a_check_is_not_built(ecs: Act) -> None:
    ecs.stand_in("make", 'if [ "$1" = lint ]; then exit 1; fi')

    ran = ecs("push", "08-aws-ecs-deploy.yml", SHA="x", STATUS="0")

    assert not ran.succeeded
    assert "docker was told" not in ran.said
    assert "ecs.py was told" not in ran.said


@pytest.mark.parametrize(
    ("workflow", "inputs", "expected"),
    [
        ("09-aws-deploy-staging.yml", {"image": "v1-abc1234"}, "deploy --environment staging --image v1-abc1234"),
        ("09-aws-deploy-staging.yml", {"action": "rollback"}, "rollback --environment staging"),
        ("10-aws-deploy-production.yml", {}, f"deploy --environment production --image {DIGEST}"),
        (
            "10-aws-deploy-production.yml",
            {"image": "v1-abc1234", "contract": "false"},
            f"deploy --environment production --image {DIGEST} --no-contract",
        ),
        ("10-aws-deploy-production.yml", {"action": "rollback"}, "rollback --environment production"),
        (
            "10-aws-deploy-production.yml",
            {"action": "rollback", "image": "v1-abc1234"},
            "rollback --environment production --image v1-abc1234",
        ),
    ],
)
def test_what_a_person_dispatches_is_what_the_script_is_told(
    ecs: Act, workflow: str, inputs: dict[str, str], expected: str
) -> None:
    ran = ecs("workflow_dispatch", workflow, payload={"inputs": inputs}, SHA="a" * 40, STATUS="0")

    assert ran.succeeded, ran.output
    assert re.findall(r"ecs.py was told: (.*)", ran.said) == [expected]


@pytest.mark.parametrize("exists", [True, False], ids=["moved", "made"])
def test_production_tells_the_migration_gate_what_it_runs(ecs: Act, exists: bool) -> None:
    ecs.stand_in("gh", f'case "$2" in repos/*) exit {0 if exists else 1} ;; *) echo "gh was told: $*" ;; esac')

    ran = ecs("workflow_dispatch", "10-aws-deploy-production.yml", SHA="a" * 40, STATUS="0")

    assert ran.succeeded, ran.output
    told = re.search(r"gh was told: (.*)", ran.said)
    assert told
    assert ("--method PATCH repos/rupaya/rupaya/git/refs/tags/deployed" in told[1]) is exists
    assert ("--method POST repos/rupaya/rupaya/git/refs" in told[1]) is not exists
    assert "a" * 40 in told[1]


def test_the_tag_stays_where_nothing_is_proved(ecs: Act) -> None:
    ran = ecs("workflow_dispatch", "10-aws-deploy-production.yml", SHA="", STATUS="0")

    assert ran.succeeded, ran.output
    assert "ecs.py was told: deploy" in ran.said
    assert "gh was told" not in ran.said


def test_a_failed_deployment_fails_its_workflow(ecs: Act) -> None:
    assert not ecs("workflow_dispatch", "09-aws-deploy-staging.yml", SHA="", STATUS="1").succeeded


# release


@pytest.mark.parametrize("is_tagged", [False, True], ids=["new", "tagged"])
def test_a_version_is_tagged_once(act: Act, is_tagged: bool) -> None:
    act.stand_in("gh", f'case "$2" in repos/*) exit {int(not is_tagged)} ;; *) echo "gh was told: $*" ;; esac')
    version = releases((act.clone / "CHANGELOG.md").read_text("utf-8"))[0].version

    ran = act("workflow_dispatch", "release.yml")

    assert ran.succeeded, ran.output
    assert (f"gh was told: release create v{version} --repo rupaya/rupaya" in ran.said) is not is_tagged
    assert (f"v{version} is released already" in ran.said) is is_tagged
