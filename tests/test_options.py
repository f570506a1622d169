"""One declaration of the MIGRATE_* settings: what else names defaults or bounds is compared with it."""

from __future__ import annotations

import re
from pathlib import Path
from secrets import token_urlsafe

import pytest

from rupaya.environment import Environment
from rupaya.migrator.options import OPTIONS, PREFIX, Option

ROOT = Path(__file__).parent.parent
UNITS = ("_s", "_ms", "_h")


def documented() -> dict[str, str]:
    """The default of each setting, as the table of docs/migrate.md has it."""
    text = (ROOT / "docs/migrate.md").read_text("utf-8").partition("\n## Settings\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(MIGRATE_\w+)` \| ([^|]+) \|", text, re.MULTILINE))


def in_words(option: Option) -> str:
    def one(value: object) -> str:
        return f"`{value}`" if isinstance(value, str) and value else str(value or "none" if value == "" else value)

    if option.production == option.default:
        return one(option.default)
    return f"{one(option.production)} in production, else {one(option.default)}"


def test_the_table_of_the_docs_has_each_setting_and_its_defaults() -> None:
    assert documented() == {PREFIX + name.upper(): in_words(option) for name, option in OPTIONS.items()}


def test_a_number_has_bounds_and_but_for_a_count_a_unit_in_its_name() -> None:
    numbers = {name: option for name, option in OPTIONS.items() if not isinstance(option.default, str)}

    assert [name for name, option in numbers.items() if option.bounds is None] == []
    assert [name for name in numbers if not name.endswith(UNITS)] == ["retries"]


@pytest.mark.parametrize("name", OPTIONS)
def test_each_default_is_a_value_that_its_setting_may_hold(name: str) -> None:
    option = OPTIONS[name]

    assert (option.read(option.default), option.read(option.production)) == (option.default, option.production)


@pytest.mark.parametrize("production", [False, True])
def test_the_environment_has_these_defaults_and_no_others(production: bool) -> None:
    there = {
        "RUPAYA_ENV": "production",
        "SECRET_KEY": token_urlsafe(50),
        "ALLOWED_HOSTS": "service.example",
        "DATABASE_URL": "postgresql://user:password@db.example/name",
    }
    env = Environment(there if production else {})

    for name, option in OPTIONS.items():
        expected = option.production if production else option.default
        assert env.migrate.get(PREFIX + name.upper(), str(option.default)) == str(expected)


def test_terraform_takes_what_migrate_takes() -> None:
    blocks = re.findall(
        r'^variable "migrate_(\w+)" \{\n(.*?)^\}',
        (ROOT / "infra/variables.tf").read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )

    assert {name for name, _block in blocks} == {"db_wait_s", "lock_wait_s", "deadline_s"}
    for name, block in blocks:
        option = OPTIONS[name]
        (low,), (high,) = re.findall(r">= (\d+)", block), re.findall(r"<= (\d+)", block)
        assert (int(low), int(high)) == option.bounds
        (default,) = re.findall(r"default += (\d+)", block)
        assert option.read(default) == int(default)
