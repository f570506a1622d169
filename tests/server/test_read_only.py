"""As on ECS nothing can be written but /dev/shm: the service migrates and serves all the same."""

from __future__ import annotations

import re
import subprocess

import pytest

from rupaya.migrator.options import OPTIONS
from tests.server.service import PROJECT, Service
from tests.server.test_health import session_cookie

# Every place that Python takes for temporary files, and the working directory.
READ_ONLY = """
for place in /tmp /var/tmp /usr/tmp "$PWD"; do
    [ -d "$place" ] || continue
    mount --bind "$place" "$place" && mount -o remount,bind,ro "$place" || exit 97
done
exec ./entrypoint.sh gunicorn rupaya.wsgi
"""


def test_a_task_that_may_write_nowhere_but_in_memory_serves_every_page(
    migrated_url: str,
) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root may take /tmp away from a process")
    command = ("unshare", "--mount", "sh", "-c", READ_ONLY)
    cookie = session_cookie(migrated_url)
    with Service(command=command, DATABASE_URL=migrated_url, TMPDIR="/dev/shm") as service:
        service.wait_until_ready()
        for page in ("/health/", "/health/?format=json", "/admin/"):
            answered = service.request(page, headers={"Cookie": cookie})
            assert answered.status == 200, (page, service.output[-2000:])


def test_the_image_has_a_place_for_what_is_written() -> None:
    assert re.search(r"^ +TMPDIR=/dev/shm ", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_heartbeat_of_a_task_is_in_memory() -> None:
    assert str(OPTIONS["heartbeat_file"].production).startswith("/dev/shm/")
