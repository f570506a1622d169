"""The rehearsal: releases rolled out as ECS would, behind a real load balancer, while people use the service.

One story, for each step stands on the one before it. It prints its report, and adds it to the job's summary.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rupaya.localdb import LocalPostgres
from tests.image.containers import free_port
from tests.image.engine import Engine, EngineError
from tests.rollout.balancer import Balancer, program
from tests.rollout.load import Load
from tests.rollout.releases import build
from tests.rollout.service import RolloutFailed, Service

# A cold build downloads every dependency.
pytestmark = [pytest.mark.rollout, pytest.mark.timeout(1800)]

# Traffic before, between and after, so that each release is seen to serve.
QUIET_S = 3
# Some hundred requests, of which a few see the new release.
CANARY_S = 12
# Nobody can say that a column is unused who has watched for a minute.
KNOWN = ("--in-use-anyway", "a rehearsal lasts no night")


@pytest.fixture
def images(engine: Engine, tmp_path: Path) -> dict[str, str]:
    if program() is None:
        pytest.skip("haproxy is not installed; on Debian and Ubuntu: apt install haproxy")
    images = build(engine, tmp_path)
    try:
        engine("run", "--rm", "--network=none", "--entrypoint=true", images["v1-old"])
    except EngineError as error:
        if os.environ.get("CI"):  # where a skip would be a green light
            raise
        pytest.skip(f"{engine.program} builds images on this machine but runs no containers: {str(error)[-300:]}")
    return images


@pytest.fixture
def service(engine: Engine, postgres: LocalPostgres, tmp_path: Path) -> Iterator[Service]:
    name = f"rollout_{uuid.uuid4().hex[:12]}"
    postgres.psql(f'CREATE DATABASE "{name}" OWNER rupaya')
    with Balancer(tmp_path, free_port()) as balancer:
        service = Service(engine, balancer, postgres.socket_dir, name)
        try:
            yield service
        finally:
            service.stop_all()
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


def columns(postgres: LocalPostgres, database: str) -> set[str]:
    sql = "SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0 AND NOT attisdropped"
    return set(postgres.psql(sql, database).split())


def canary_of(load: Load, release: str, *, goes_on: bool) -> Callable[[], bool]:
    """Look on while a release has a few of the requests; then decide."""

    def look() -> bool:
        began = time.monotonic()
        time.sleep(CANARY_S)
        served = load.releases_since(began)
        assert 0.02 < served[release] / served.total() < 0.1, served
        assert not [answer for answer in load.since(began) if answer.failed]
        return goes_on

    return look


def test_rollouts_lose_no_request(
    images: dict[str, str], service: Service, postgres: LocalPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    report: list[str] = []
    service.deploy(images["v1-old"], "v1-old")
    postgres.psql(
        "INSERT INTO users (email) SELECT 'user' || n || '@example.com' FROM generate_series(1, 20000) n",
        service.database,
    )

    with Load(service.balancer.port) as load:
        time.sleep(QUIET_S)

        # A release with a pending expand migration and a contract one; 5 % of the requests see it first. It is taken
        # back once, which leaves the schema, and then goes on: both releases serve on the schema of both.
        with pytest.raises(RolloutFailed, match="taken back"):
            service.deploy(images["v2-new"], "v2-new", canary_of(load, "v2-new", goes_on=False))
        assert "nickname" in columns(postgres, service.database)
        began = time.monotonic()
        took_s = service.deploy(images["v2-new"], "v2-new", canary_of(load, "v2-new", goes_on=True))
        report.append(f"v1-old → v2-new at 5 % for {CANARY_S} s, taken back, and again")
        report.append(f"v1-old → v2-new: {took_s:.1f} s")
        assert {"nickname", "old_note"} <= columns(postgres, service.database), "the contract migration must wait"
        completed = time.monotonic()
        time.sleep(QUIET_S)
        assert set(load.releases_since(began)) == {"v1-old", "v2-new"}
        assert set(load.releases_since(completed)) == {"v2-new"}

        contract = ("migrate", "--contract", "--noinput", *KNOWN)
        early = service.run(images["v2-new"], "v2-new", *contract)
        assert early.exit_code == 0, early.log
        assert "old_note" in columns(postgres, service.database), "the rollback window is not over"

        # The next release comes within the window, and the oldest serves once more before the column goes.
        for release in ("v2-next", "v1-old", "v2-new"):
            service.deploy(images[release], release)
            assert {"city", "old_note"} <= columns(postgres, service.database), "nothing is paid within the window"
            time.sleep(QUIET_S)
        report.append("v2-new → v2-next → v1-old → v2-new, all within the rollback window")
        paid = service.run(images["v2-new"], "v2-new", *contract, MIGRATE_CONTRACT_AFTER_H="0")
        assert paid.exit_code == 0, paid.log
        assert "old_note" not in columns(postgres, service.database)
        report.append("v2-new: contract migration applied by a task of its own")
        time.sleep(QUIET_S)

        # Regret: what was paid is owed again while v2-new serves; the older release comes back, and goes once more.
        unpaid = service.run(images["v2-new"], "v2-new", "rollback", "--paid", "--to", "1")
        assert unpaid.exit_code == 0, unpaid.log
        assert "old_note" in columns(postgres, service.database)
        service.deploy(images["v1-old"], "v1-old")
        report.append("v2-new → v1-old: what was paid taken back, the older release serves")
        time.sleep(QUIET_S)
        service.deploy(images["v2-new"], "v2-new")
        paid = service.run(images["v2-new"], "v2-new", *contract, MIGRATE_CONTRACT_AFTER_H="0")
        assert paid.exit_code == 0, paid.log
        assert "old_note" not in columns(postgres, service.database)
        time.sleep(QUIET_S)

        # A release whose migration fails.
        began = time.monotonic()
        with pytest.raises(RolloutFailed):
            service.deploy(images["v3-broken"], "v3-broken")
        report.append(f"v2-new → v3-broken: given up after {time.monotonic() - began:.1f} s; v2-new serves on")
        time.sleep(QUIET_S)
        assert set(load.releases_since(began)) == {"v2-new"}
        broken = [task for task in service.tasks if task.release == "v3-broken"]
        codes = [task.exit_code for task in broken]
        assert 13 in codes, Service.logs(broken)
        assert set(codes) <= {13, 15, 143}, Service.logs(broken)
        assert not any("Starting server..." in task.log for task in broken)
        assert "half_done" not in columns(postgres, service.database)

        # A release that proves itself, and is taken back all the same.
        took_s = service.deploy(images["v4-newer"], "v4-newer")
        report.append(f"v2-new → v4-newer: {took_s:.1f} s")
        time.sleep(QUIET_S)
        began = time.monotonic()
        took_s = service.deploy(images["v2-new"], "v2-new")
        report.append(f"v4-newer → v2-new (rollback, the schema stays): {took_s:.1f} s")
        completed = time.monotonic()
        assert "motto" in columns(postgres, service.database)
        time.sleep(QUIET_S)
        assert set(load.releases_since(completed)) == {"v2-new"}

        # A rollback too far: this release would need the column that the contract migration removed.
        with pytest.raises(RolloutFailed):
            service.deploy(images["v1-old"], "v1-old")
        too_old = [task for task in service.tasks if task.release == "v1-old" and task.ready_after_s is None]
        assert {task.exit_code for task in too_old} <= {14, 143}, Service.logs(too_old)
        report.append("v2-new → v1-old (a rollback too far): refused with 14 before it served; v2-new serves on")
        time.sleep(QUIET_S)

    failures = [answer for answer in load.answers if answer.failed]
    seconds = load.answers[-1].at - load.answers[0].at
    report.append(f"{len(load.answers)} requests in {seconds:.0f} s, {len(failures)} failed")
    # Signing in hashes a password with bcrypt, which is slow on purpose.
    for what in ("ready", "form", "sign-in"):
        slowest_s = max(answer.took_s for answer in load.answers if answer.what == what)
        report.append(f"slowest {what}: {slowest_s * 1000:.0f} ms")
    for task in service.tasks:
        ready = f"ready after {task.ready_after_s:.1f} s" if task.ready_after_s is not None else "never ready"
        end = "still serves" if task.exit_code is None else f"exit {task.exit_code}"
        report.append(f"task {task.name}: {ready}, {end}")
    text = "\n".join(report)
    with capsys.disabled():
        logs = "\n".join(line for line in Service.logs(service.tasks).splitlines() if "gunicorn.access" not in line)
        print(f"\n{logs}\n\n{text}")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a") as file:
            file.write("## Rollout rehearsal\n\n" + "".join(f"- {line}\n" for line in report))

    assert failures == []
    stopped = [task for task in service.tasks if task.ready_after_s is not None and task.exit_code is not None]
    assert {task.exit_code for task in stopped} == {0}, Service.logs(stopped)
    for task in service.tasks:
        if "migrate" not in task.name:
            assert "Traceback" not in (task.log or task.container.logs()), task.name
