"""`make demo` and the sample behind it: people, accounts to look at them with, and sentences instead of tracebacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from accounts.models import User
from bench.demo import ADMINISTRATOR, INSPECTOR, PEOPLE
from tests.faults.migrator import query
from tests.patience import HANGING_S
from tests.server.service import PROJECT, manage


def bench(module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"bench.{module}", *arguments],
        cwd=PROJECT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_has_people_and_two_accounts(migrated_url: str) -> None:
    shown = bench("demo", DATABASE_URL=migrated_url)

    assert shown.returncode == 0, shown.stderr
    assert query(migrated_url, "SELECT count(*) FROM users WHERE NOT is_staff") == [(PEOPLE,)]
    for email, superuser, group in ((ADMINISTRATOR, True, "operator"), (INSPECTOR, False, "inspector")):
        rows = query(
            migrated_url,
            "SELECT password_hash, is_superuser, g.name FROM users JOIN users_groups USING (user_id) "
            f"JOIN auth_group g ON g.id = group_id WHERE email = '{email}' AND is_staff",
        )
        (password,) = re.findall(rf"{email}  (\S+)  ", shown.stdout)
        assert User(password=f"bcrypt${rows[0][0]}").check_password(password)
        assert [(bool(row[1]), row[2]) for row in rows] == [(superuser, group)]
    # The sample is loaded without indexes and keys; all must be as they were.
    assert manage(PROJECT, "schemadiff", DATABASE_URL=migrated_url).returncode == 0

    again = bench("demo", DATABASE_URL=migrated_url)
    assert again.returncode == 0, again.stderr
    assert query(migrated_url, "SELECT count(*) FROM users WHERE NOT is_staff") == [(PEOPLE,)]


def test_production_is_refused_made_up_people(migrated_url: str) -> None:
    refused = bench(
        "demo",
        DATABASE_URL=migrated_url,
        RUPAYA_ENV="production",
        SECRET_KEY="k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN",
        ALLOWED_HOSTS="api.example.com",
    )

    assert refused.returncode == 16
    assert query(migrated_url, "SELECT count(*) FROM users") == [(0,)]


def test_people_are_added_beside_an_administrator_and_once(migrated_url: str) -> None:
    assert manage(PROJECT, "administrator", ADMINISTRATOR, DATABASE_URL=migrated_url).returncode == 0

    first = bench("people", "20", DATABASE_URL=migrated_url)
    second = bench("people", "20", DATABASE_URL=migrated_url)

    assert first.returncode == 0, first.stderr
    assert "\r" not in first.stderr, "a bar that draws itself anew is for a terminal"
    assert (second.returncode, second.stderr) == (1, "This database has people already; nothing was loaded.\n")


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        (["many"], {}, "usage:"),
        ([], {"DATABASE_URL": "postgresql://rupaya@127.0.0.1:1/rupaya"}, "Start a database with `make run`"),
        (["20"], {}, "Run manage.py migrate first"),
    ],
    ids=["no number", "no server", "no tables"],
)
def test_what_is_wrong_is_said_in_a_sentence(
    database_url: str, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    refused = bench("people", *arguments, **{"DATABASE_URL": database_url, **variables})

    assert refused.returncode in (1, 2)
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
