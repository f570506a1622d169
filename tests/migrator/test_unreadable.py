"""What cannot be read of this code's migrations is refused in a sentence and with 14, whichever command reads them."""

from __future__ import annotations

import pytest

from tests.faults.migrator import applied
from tests.migrator.releases import Deployed, Release, migration

COMMANDS = [
    ("migrate", "--check"),
    ("migrate", "--plan"),
    ("migrate", "shop", "--prune"),
    ("showmigrations",),
    ("showmigrations", "--audit", "--check"),
    ("schemadiff", "--against", "code"),
    ("presumptions",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_exits_is_no_success_of_any_command(
    deployed: Deployed, release: Release, command: list[str]
) -> None:
    url = deployed(release)
    release.write("0002_broken", "raise SystemExit(0)\n")

    refused = release.run(url, *command)

    assert refused.returncode == 14, refused.stdout + refused.stderr
    assert "A migration of this release cannot be loaded: SystemExit: 0 at " in refused.stderr


@pytest.mark.parametrize("command", [("migrate", "--check"), ("migrate", "--plan")], ids=" ".join)
def test_a_history_out_of_order_is_refused_by_what_only_looks(
    deployed: Deployed, release: Release, command: list[str]
) -> None:
    url = deployed(release)
    release.write("0002_next", migration("", "0001_initial"))
    release.write("0000_before", migration(""))
    release.write("0001_initial", migration("", "0000_before"))

    refused = release.run(url, *command)

    assert refused.returncode == 14, refused.stdout + refused.stderr
    assert "is applied before its dependency shop.0000_before" in refused.stderr


UNFOLLOWED = {
    "a model that is not there": 'migrations.AddField("nothing", "x", models.TextField(null=True))',
    "a text in the place of an operation": '"AddField"',
}


@pytest.mark.parametrize("operation", UNFOLLOWED.values(), ids=UNFOLLOWED.keys())
def test_an_operation_that_does_not_follow_is_refused_by_its_name(
    deployed: Deployed, release: Release, operation: str
) -> None:
    url = deployed(release)
    release.write("0002_wrong", migration(operation, "0001_initial"))

    for command in ([], ["migrate", "--dry-run"], ["showmigrations", "--audit"]):
        refused = release.run(url, *command)

        assert refused.returncode == 14, refused.stdout + refused.stderr
        assert "shop.0002_wrong does not follow from those before it: " in refused.stderr
    assert applied(url) == ["shop.0001_initial"]
