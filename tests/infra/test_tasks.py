"""What Terraform renders for tasks, run for real: its commands and variables, against PostgreSQL behind a pooler.

And what they write, held against the metric filters, as Terraform rendered these. The names of the database and of the
proxy are resolved to loopback, and the port is a free one; nothing else is changed but what a test says.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rupaya.migrator.session.lock import FIRST_KEY
from tests.infra import rds
from tests.infra.terraform import Applied
from tests.infra.tools import PROJECT, require
from tests.patience import HANGING_S
from tests.server.service import free_port

pytestmark = [pytest.mark.infra, pytest.mark.timeout(1200), pytest.mark.filterwarnings("default")]

ENTRYPOINT = ("dumb-init", "--", "./entrypoint.sh")  # the image's own, which the service's definition leaves alone
WRONG = '{"username": "rupaya_app_a", "password": "wrong"}'
SERVER = ("gunicorn", "rupaya.wsgi")


def matches(pattern: str, line: str) -> bool:
    """Whether CloudWatch would count a line: quoted phrases, all of them, or with ? any; or fields of a JSON line.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    if pattern.startswith("{"):
        return all(holds(line, condition) for condition in pattern.strip("{ }").split(" && "))
    terms = re.findall(r'(\??)"([^"]+)"', pattern)
    assert " ".join(f'{mark}"{phrase}"' for mark, phrase in terms) == pattern, f"{pattern} is more than this knows"
    marks = {mark for mark, _ in terms}
    assert len(marks) == 1, f"{pattern}: CloudWatch ignores ? beside terms without"
    return (any if marks == {"?"} else all)(phrase in line for _, phrase in terms)


def holds(line: str, condition: str) -> bool:
    """Whether a field of a JSON line is what one condition says: a number, or a text."""
    found = re.fullmatch(r'\$\.(\w+) (>=|=) (\d+|"[^"]*")', condition)
    assert found, f"{condition} is more than this knows"
    try:
        value = json.loads(line).get(found[1])
    except (ValueError, AttributeError):  # no JSON, or no object
        return False
    wanted = json.loads(found[3])
    return isinstance(value, int | float) and value >= wanted if found[2] == ">=" else bool(value == wanted)


@pytest.fixture(scope="module")
def server(applied: Applied) -> Iterator[rds.Database]:
    with rds.database(applied.master_password, applied.parameters) as server:
        yield server


class Task:
    """A container's process, told what ECS tells it; a context manager that always ends it."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], tree: Path = PROJECT) -> None:
        image = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "GIT_SHA": "a" * 40,
            "RELEASE": "v1-aaaaaaa",
        }
        require("dumb-init")
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the task
        self.process = subprocess.Popen(
            command,
            cwd=tree,
            env={**image, **variables},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()  # dumb-init hands it to all
            self.process.wait(40)
        self._output.close()

    @property
    def output(self) -> str:
        """What it wrote so far, as the log has it."""
        self._output.seek(0)
        return self._output.read().decode()

    def end(self) -> int:
        return self.process.wait(120)


@dataclass
class Environment:
    """The applied environment: its tasks can be run."""

    applied: Applied
    server: rds.Database
    pooler: str

    def variables(self, container: Mapping[str, Any], **others: str) -> dict[str, str]:
        """What ECS sets in a container: its variables and its secrets' values; and what a test says."""
        told = {item["name"]: item["value"] for item in container["environment"]}
        # The image has this file; whom it vouches for are RDS and its proxy, and not the servers here.
        assert told["DB_SSL_ROOT_CERT"].removeprefix("/app/") == "rupaya/rds-ca.pem"
        assert (PROJECT / "rupaya" / "rds-ca.pem").is_file()
        told["DB_SSL_ROOT_CERT"] = ""
        for name, address in (
            (self.applied.proxy_name, self.pooler),
            (self.applied.database_name, self.server.address),
        ):
            told = {key: value.replace(name, address) for key, value in told.items()}
        given = {item["name"]: self.applied.told_secret(item["valueFrom"]) for item in container["secrets"]}
        return told | given | others

    def counted(self, output: str) -> set[str]:
        """The metric filters, by their names without the environment's, that count a line of a log."""
        return {
            name.removeprefix("rupaya-staging-")
            for name, pattern in self.applied.patterns.items()
            if any(matches(pattern, line) for line in output.splitlines())
        }

    def start(self, *command: str, tree: Path = PROJECT, **others: str) -> Task:
        """A task of the service, with another command than gunicorn if one is given."""
        return Task([*ENTRYPOINT, *(command or SERVER)], self.variables(self.applied.service, **others), tree)

    def migrates(self, tree: Path = PROJECT, **others: str) -> tuple[int, str]:
        """A task of the service up to where the server would start; its exit status and its log."""
        with self.start("true", tree=tree, **others) as task:
            return task.end(), task.output

    def runs(self, command: Sequence[str] = (), tree: Path = PROJECT, **others: str) -> tuple[int, str]:
        """A task of the migration's definition, with its own command or one that overrides it."""
        migrate = self.applied.migrate
        with Task(
            [*migrate["entryPoint"], *(command or migrate["command"])], self.variables(migrate, **others), tree
        ) as task:
            return task.end(), task.output

    def checks(self, **others: str) -> tuple[int, str]:
        """The daily task."""
        assert self.applied.override["name"] == self.applied.migrate["name"]
        return self.runs(self.applied.override["command"], **others)


@pytest.fixture(scope="module")
def environment(applied: Applied, server: rds.Database) -> Iterator[Environment]:
    """The environment after its first deployment."""
    known = [json.loads(applied.secret(name)) for name in ("db/proxy", "db/proxy-2")]
    with rds.proxy(server, {one["username"]: one["password"] for one in known}) as pooler:
        environment = Environment(applied, server, pooler)
        status, output = environment.migrates()
        assert status == 0, output
        server.keep_as("deployed")
        yield environment


@pytest.fixture
def deployed(environment: Environment) -> Environment:
    """The environment as its first deployment left it, whatever the last test did."""
    environment.server.renew("deployed")
    return environment


# Behind the proxy


def test_the_service_serves_through_the_proxy_and_migrations_pass_by_it(
    deployed: Environment, production_release: Path
) -> None:
    deployed.server.renew()
    status, output = deployed.migrates(MIGRATION_DATABASE_URL="")
    assert status == 16, "what stands in the proxy's place is no pooler"
    assert "MIGRATION_DATABASE_URL" in output

    port = free_port()
    with deployed.start(tree=production_release, PORT=str(port)) as task:
        ready = wait_until_ready(port, task)

        assert ready["release"] == "v1-aaaaaaa"
        assert "Starting server..." in task.output
        sessions = [
            name
            for (name,) in deployed.server.sql("SELECT application_name FROM pg_stat_activity")
            if name.startswith("release ")
        ]
        assert sessions
        # The pooler adds to a session's name from where its client came.
        assert all(re.search(r" - 127[.\d]+:\d+$", name) for name in sessions), sessions


def test_a_task_of_its_own_migrates_past_the_proxy_with_the_password_alone(deployed: Environment) -> None:
    variables = deployed.variables(deployed.applied.migrate)
    assert variables["PGPASSWORD"] not in variables["MIGRATION_DATABASE_URL"]
    deployed.server.renew()

    status, output = deployed.runs()

    assert status == 0, output
    assert re.search(r"Batch 1 run: \d+ migrations", output)
    assert deployed.counted(output) == set()


def test_what_serves_is_a_role_that_changes_no_table_and_the_statements_of_all_are_counted(
    deployed: Environment,
) -> None:
    serves = json.loads(deployed.applied.secret("db/service"))["username"]
    owned = "SELECT count(*) FILTER (WHERE tableowner = %r), count(*) FROM pg_tables WHERE schemaname = 'public'"
    mine, tables = deployed.server.sql(owned % serves)[0]
    assert (mine, tables > 10) == (0, True)
    assert deployed.server.sql(f"SELECT has_table_privilege('{serves}', 'migrator_runs', 'INSERT')") == [(False,)]
    assert deployed.server.sql("SHOW pg_stat_statements.max") == [("10000",)]


def test_a_release_that_starts_and_is_not_ready_is_counted(deployed: Environment) -> None:
    port = free_port()
    with deployed.start(PORT=str(port)) as task:
        wait_until_ready(port, task)
        assert "not-ready" not in deployed.counted(task.output)
        # What its image cannot know of: the history lost what it needs.
        deployed.server.sql("DELETE FROM django_migrations WHERE app = 'transactions'")
        deadline = time.monotonic() + HANGING_S
        while "not-ready" not in deployed.counted(task.output):
            assert time.monotonic() < deadline, task.output
            ask(port)
            time.sleep(0.2)
        assert task.output.index("Starting server...") < task.output.index("/health/ready")


# Once a day


def test_the_daily_checks_of_a_sound_database_pass_and_purge(deployed: Environment) -> None:
    deployed.server.sql(
        "INSERT INTO phone_otps (phone_number, code_hash, expires_at)"
        " VALUES ('+919876543210', 'x', now() - interval '1 day'), ('+919876543210', 'x', now() + interval '1 day')"
    )

    status, output = deployed.checks()

    assert status == 0, output
    assert deployed.server.sql("SELECT count(*) FROM phone_otps") == [(1,)]
    assert deployed.counted(output) == {"daily-checks-ended", "attic-bytes"}
    assert "The database is the same as the code" in output


def test_drift_raises_its_alarm(deployed: Environment) -> None:
    deployed.server.sql("ALTER TABLE users ADD COLUMN by_hand text")

    status, output = deployed.checks()

    assert status == 1
    assert "by_hand" in output
    assert deployed.counted(output) == {"drift", "daily-check-failed", "daily-checks-ended", "attic-bytes"}
    for command in ("schemadiff", "showmigrations --audit --check"):
        line = f"Daily check failed: manage.py {command} exited with 1."
        assert line in output.splitlines()
        assert "drift" in deployed.counted(line)


def test_a_daily_check_that_cannot_look_is_no_drift(deployed: Environment) -> None:
    status, output = deployed.runs(
        deployed.applied.override["command"], DB_CREDENTIALS=WRONG, PGPASSWORD="wrong", MIGRATE_DB_WAIT_S="1"
    )

    assert status == 1
    assert deployed.counted(output) == {"daily-check-failed", "daily-checks-ended"}, output


# Each exit code


def test_a_migration_that_succeeds_raises_no_alarm(deployed: Environment, newer_release: Path) -> None:
    status, output = deployed.migrates(newer_release)

    assert status == 0
    assert deployed.counted(output) == set()


def assert_alarmed(environment: Environment, ended: tuple[int, str], code: int) -> None:
    """The code, and the one alarm that is its own."""
    status, output = ended
    assert status == code, output
    assert environment.counted(output) == {f"migrate-exit-{code}"}, output


def test_10_is_alarmed(deployed: Environment, newer_release: Path) -> None:
    assert_alarmed(deployed, deployed.migrates(newer_release, PGPASSWORD="wrong"), 10)


def test_11_is_alarmed(deployed: Environment, newer_release: Path) -> None:
    with deployed.server.session() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [FIRST_KEY])
        assert_alarmed(deployed, deployed.migrates(newer_release, MIGRATE_LOCK_WAIT_S="1"), 11)


def test_12_is_alarmed(deployed: Environment, newer_release: Path) -> None:
    with deployed.server.session() as cursor:
        cursor.execute("LOCK TABLE users")
        ended = deployed.migrates(newer_release, MIGRATE_RETRIES="1", MIGRATE_LOCK_TIMEOUT_MS="300")
    assert_alarmed(deployed, ended, 12)


def test_13_and_then_15_are_alarmed(deployed: Environment, failing_release: Path) -> None:
    tree = without_waiting(failing_release)
    assert_alarmed(deployed, deployed.migrates(tree), 13)
    assert_alarmed(deployed, deployed.migrates(tree), 15)


def test_14_is_alarmed(deployed: Environment, newer_release: Path) -> None:
    deployed.server.sql("DELETE FROM django_migrations WHERE name = '0002_add_phone_number_to_users'")
    assert_alarmed(deployed, deployed.migrates(newer_release), 14)


def test_16_is_alarmed(deployed: Environment) -> None:
    assert_alarmed(deployed, deployed.migrates(SECRET_KEY="short"), 16)


def test_a_task_of_its_own_is_alarmed_in_the_same_way(deployed: Environment, failing_release: Path) -> None:
    assert_alarmed(deployed, deployed.runs(tree=failing_release), 13)


@pytest.mark.parametrize("own", [False, True], ids=["the service's", "a task of its own"])
def test_137_is_alarmed(deployed: Environment, slow_release: Path, own: bool) -> None:
    with migrating(deployed, slow_release, own) as task:
        (migrator,) = (pid for pid in descendants(task.process.pid) if program_of(pid) == "python")
        os.kill(migrator, signal.SIGKILL)
        assert_alarmed(deployed, (task.end(), task.output), 137)


@pytest.mark.parametrize("own", [False, True], ids=["the service's", "a task of its own"])
def test_143_is_alarmed(deployed: Environment, slow_release: Path, own: bool) -> None:
    with migrating(deployed, slow_release, own) as task:
        task.process.terminate()
        assert_alarmed(deployed, (task.end(), task.output), 143)


def without_waiting(tree: Path) -> Path:
    """The same release, its own migration declared to be one for before the rollout: the service applies no other."""
    (migration,) = (tree / "accounts" / "migrations").glob("0100_*.py")
    migration.write_text(migration.read_text().replace("    operations", '    phase = "expand"\n    operations'))
    return tree


@contextmanager
def migrating(environment: Environment, tree: Path, own: bool) -> Iterator[Task]:
    """A task in the middle of a migration: one of the service, or one of its own."""
    migrate = environment.applied.migrate
    with (
        Task([*migrate["entryPoint"], *migrate["command"]], environment.variables(migrate), tree)
        if own
        else environment.start("true", tree=without_waiting(tree))
    ) as task:
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
        deadline = time.monotonic() + 60
        while not environment.server.sql(sleeping):
            assert task.process.poll() is None, task.output
            assert time.monotonic() < deadline, task.output
            time.sleep(0.05)
        yield task


def descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)


def program_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0].rpartition("/")[2]


def ask(port: int) -> tuple[int, bytes]:
    """What readiness answers to the load balancer, which asks by address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health/ready", headers={"Host": f"10.0.2.7:{port}"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until_ready(port: int, task: Task) -> dict[str, Any]:
    """What readiness answers to the load balancer, which asks by address."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert task.process.poll() is None, task.output
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health/ready", headers={"Host": f"10.0.2.7:{port}"})
            response = connection.getresponse()
            if response.status == 200:
                return dict(json.load(response))
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise AssertionError(task.output)
