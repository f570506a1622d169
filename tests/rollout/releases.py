"""Images of some releases: this tree's, and what migrations it might have had before and will have after."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.image.conftest import PROJECT
from tests.image.engine import Engine

HEADER = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "{depends}")]
"""

OLD_NOTE = """
    operations = [migrations.AddField("user", "old_note", models.TextField(null=True))]
"""
NICKNAME = """
    operations = [migrations.AddField("user", "nickname", models.CharField(max_length=50, null=True))]
"""
WITHOUT_OLD_NOTE = """
    operations = [migrations.RemoveField("user", "old_note")]
"""
BROKEN = """
    phase = "expand"
    operations = [
        migrations.RunSQL("ALTER TABLE users ADD COLUMN half_done integer"),
        migrations.RunSQL("ALTER TABLE there_is_no_such_table ADD COLUMN anything integer"),
    ]
"""
CITY = """
    operations = [migrations.AddField("user", "city", models.TextField(null=True))]
"""
MOTTO = """
    operations = [migrations.AddField("user", "motto", models.TextField(null=True))]
"""

Migrations = dict[str, str]


def chain(*migrations: tuple[str, str]) -> Migrations:
    """Migrations of the app accounts, each after the one before it, as file contents by name."""
    existing = sorted(path.stem for path in (PROJECT / "accounts" / "migrations").glob("0*.py"))
    files, depends = {}, existing[-1]
    for name, body in migrations:
        files[name] = HEADER.format(depends=depends) + body
        depends = name
    return files


FIRST = (("0900_old_note", OLD_NOTE),)
SECOND = (*FIRST, ("0901_nickname", NICKNAME), ("0902_without_old_note", WITHOUT_OLD_NOTE))
THIRD = (*SECOND, ("0903_city", CITY))

RELEASES: Mapping[str, Migrations] = {
    "v1-old": chain(*FIRST),
    "v2-new": chain(*SECOND),
    "v2-next": chain(*THIRD),
    "v3-broken": chain(*THIRD, ("0904_broken", BROKEN)),
    "v4-newer": chain(*THIRD, ("0905_motto", MOTTO)),
}


def build(engine: Engine, directory: Path) -> dict[str, str]:
    """The production image of this tree, and one of each release on top of it; returns tags by release."""
    base = "rupaya:rollout-base"
    engine.build(PROJECT, base, target="production", arguments={"GIT_SHA": git_sha(), "RELEASE": "base"})
    tags = {}
    for release, files in RELEASES.items():
        context = directory / release
        (context / "migrations").mkdir(parents=True)
        for name, text in files.items():
            path = context / "migrations" / f"{name}.py"
            path.write_text(text)
            path.chmod(0o644)
        registry = "localhost/" if engine.is_podman else ""
        (context / "Dockerfile").write_text(
            f"FROM {registry}{base} AS production\nCOPY migrations/ accounts/migrations/\nENV RELEASE={release}\n"
        )
        tags[release] = f"rupaya:rollout-{release}"
        engine.build(context, tags[release], target="production", arguments={})
    return tags


def git_sha() -> str:
    """This commit, or a word for a tree that is none."""
    completed = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, text=True, capture_output=True, check=False)
    return completed.stdout.strip() or "unknown"
