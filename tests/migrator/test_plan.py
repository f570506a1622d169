"""What a plan says of a database and of this code, asked in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import migrations, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import (
    BadMigrationError,
    CircularDependencyError,
    InconsistentMigrationHistory,
    NodeNotFoundError,
)
from django.db.migrations.migration import Migration
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.django import Conflict, Planned
from rupaya.migrator.errors import HistoryRefused
from rupaya.migrator.plan.plan import (
    Plan,
    backwards_plan,
    history_explained,
    pending_phases,
    read_plan,
    refuse_conflicts,
)
from rupaya.migrator.plan.status import Status, read_status
from tests.migrator.plans import KEY, executor_of, loaded, loader_of, made, planned

CREATE = migrations.CreateModel("Item", [KEY, ("name", models.CharField(max_length=50))], {"db_table": '"Wares"'})
WIDER = migrations.AlterField("item", "name", models.CharField(max_length=80))
LESS_WIDE = migrations.AlterField("item", "name", models.CharField(max_length=60))

# Status


def keys(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((app, name) for app, _, name in (full.rpartition(".") for full in names))


def shop(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple(("shop", name) for name in names)


ONE, TWO = made("0001"), made("0002", "0001")
SQUASH = made("0001_squashed", replaces=[("shop", "0001"), ("shop", "0002")])
THREE = made("0003", "0001_squashed")
SQUASH_OF_SQUASH = made("0001_again", replaces=[("shop", "0001_squashed"), ("shop", "0003")])


@pytest.mark.parametrize(
    ("disk", "recorded", "applied", "pending"),
    [
        ([ONE, TWO], (), (), ("0001", "0002")),
        ([ONE, TWO], ("0001",), ("0001",), ("0002",)),
        ([SQUASH, THREE], ("0001", "0002"), ("0001_squashed",), ("0003",)),
        ([SQUASH, THREE], ("0001",), (), ("0001_squashed", "0003")),
        ([SQUASH, THREE], ("0001_squashed", "0003"), ("0001_squashed", "0003"), ()),
        ([SQUASH, THREE, SQUASH_OF_SQUASH], ("0001", "0002", "0003"), ("0001_again",), ()),
    ],
)
def test_a_squash_is_applied_if_all_that_it_replaces_is_and_that_is_known(
    disk: list[Migration], recorded: tuple[str, ...], applied: tuple[str, ...], pending: tuple[str, ...]
) -> None:
    status = read_status(loader_of(None, disk), shop(*recorded))

    assert status == Status(applied=frozenset(shop(*applied)), pending=shop(*pending))
    assert status.unknown == frozenset()


def test_what_only_the_database_has_is_newer_older_or_foreign_by_its_app_and_its_place() -> None:
    recorded = keys("shop.0000", "crm.0001", "polls.0001", "shop.0001", "polls.0002", "shop.0002", "shop.0004")

    status = read_status(loader_of(None, [ONE], ("shop", "crm")), recorded)

    assert status.older == set(keys("shop.0000"))
    assert status.newer == set(keys("shop.0002", "shop.0004", "crm.0001"))
    assert status.foreign == set(keys("polls.0001", "polls.0002"))
    assert status.unknown == set(recorded) - set(shop("0001"))


# Plan


def plan_of(connection: BaseDatabaseWrapper, *steps: tuple[Migration, bool], recorded: tuple[str, ...] = ()) -> Plan:
    executor = executor_of(connection, [migration for migration, _backwards in steps], recorded)
    return read_plan(Planned(executor, (), steps))


def test_a_plan_tells_what_it_leaves_and_what_is_recorded(scratch: BaseDatabaseWrapper) -> None:
    one, two = made("0001", "", CREATE), made("0002", "0001", WIDER)
    executor = executor_of(scratch, [one, two])

    whole, part, none = (
        read_plan(Planned(executor, (), steps)) for steps in (((one, False), (two, False)), ((one, False),), ())
    )

    assert [plan.is_complete for plan in (whole, part, none)] == [True, False, False]
    assert [plan.has_work for plan in (whole, part, none)] == [True, True, False]
    assert whole.history_is_empty
    assert (whole.applied, whole.recorded, whole.history) == (0, (), frozenset())
    assert whole.is_up_to_date()
    MigrationRecorder(scratch).record_applied("shop", "0001")
    MigrationRecorder(scratch).record_applied("polls", "0001")
    assert not whole.is_up_to_date()
    after = read_plan(Planned(executor_of(scratch, [one, two]), (), ((two, False),)))
    assert (after.is_complete, after.history_is_empty, after.applied) == (True, False, 1)
    assert after.recorded == keys("shop.0001", "polls.0001")
    assert after.history == after.status.applied | after.unknown
    back = read_plan(Planned(after.executor, (), ((one, True),)))
    assert (back.is_complete, back.has_work, back.with_steps([]).steps) == (False, True, ())


@pytest.mark.parametrize(
    ("recorded", "unrecorded"),
    [(("0001", "0002"), ("0001_squashed",)), (("0001",), ()), (("0001", "0002", "0001_squashed"), ()), ((), ())],
)
def test_a_squash_whose_parts_are_applied_is_to_be_recorded(
    scratch: BaseDatabaseWrapper, recorded: tuple[str, ...], unrecorded: tuple[str, ...]
) -> None:
    plan = read_plan(Planned(executor_of(scratch, [SQUASH], recorded), (), ()))

    assert plan.unrecorded == set(shop(*unrecorded))
    assert plan.has_work == bool(unrecorded)


def test_each_migration_is_judged_by_what_was_before_it(scratch: BaseDatabaseWrapper) -> None:
    one, two, three = made("0001", "", CREATE), made("0002", "0001", WIDER), made("0003", "0002", LESS_WIDE)
    plan = plan_of(scratch, (one, False), (two, False), (three, False))

    assert plan.phases == {("shop", "0001"): "expand", ("shop", "0002"): "expand", ("shop", "0003"): "contract"}
    assert pending_phases(plan.executor.loader, [three]) == {("shop", "0003"): "contract"}
    assert pending_phases(plan.executor.loader, []) == {}


def test_the_tables_are_those_that_all_of_this_code_makes(scratch: BaseDatabaseWrapper) -> None:
    more = [migrations.CreateModel("Note", [KEY]), migrations.CreateModel("Theirs", [KEY], {"managed": False})]
    tables = {("shop", "item"): "Wares", ("shop", "note"): "shop_note"}

    pending = planned(scratch, [CREATE], more)
    nothing = read_plan(Planned(pending.executor, (), ()))

    assert (pending.tables(), pending.known_tables) == (tables, tables)
    assert (nothing.tables(), nothing.known_tables) == (tables, None)


def test_what_is_known_of_the_same_code_is_not_worked_out_again(scratch: BaseDatabaseWrapper) -> None:
    one, two = made("0001", "", CREATE), made("0002", "0001", WIDER)
    first = plan_of(scratch, (one, False), (two, False))
    marked = replace(first, phases=first.phases | {("shop", "0002"): "as marked"}, digest="as marked", known_tables={})
    steps = ((two, False),)

    again = read_plan(Planned(executor_of(scratch, [one, two], ["0001"]), (), steps), marked)
    edited = read_plan(Planned(executor_of(scratch, [one, made("0002", "0001", WIDER)]), (), steps), marked)
    unknown = read_plan(Planned(first.executor, (), steps), replace(marked, phases={}))

    assert (again.phases, again.digest, again.tables()) == ({("shop", "0002"): "as marked"}, "as marked", {})
    assert (edited.phases, edited.digest) == ({("shop", "0002"): "expand"}, "")
    assert (unknown.phases, unknown.digest) == ({("shop", "0002"): "expand"}, "as marked")
    assert unknown.tables() == {("shop", "item"): "Wares"}


def test_code_is_the_same_if_its_migrations_and_their_graph_are(scratch: BaseDatabaseWrapper) -> None:
    squash = made("0001_squashed", replaces=[("shop", "0001"), ("shop", "0002")])
    plan = plan_of(scratch, (ONE, False), (TWO, False))

    assert plan.is_of_the_same_code(loader_of(None, [ONE, TWO]))
    assert not plan.is_of_the_same_code(loader_of(None, [ONE]))
    assert not plan.is_of_the_same_code(loader_of(None, [ONE, made("0002", "0001")]))
    assert not plan.is_of_the_same_code(loader_of(None, [ONE, TWO, squash]))


def test_the_way_back_undoes_the_last_one_first(scratch: BaseDatabaseWrapper) -> None:
    one, two, three = made("0001", "", CREATE), made("0002", "0001", WIDER), made("0003", "0002", WIDER)
    executor = executor_of(scratch, [one, two, three], ["0001", "0002", "0003"])

    plan = backwards_plan(executor, set(shop("0002", "0003")))

    assert plan.steps == ((three, True), (two, True))
    assert not plan.is_complete


# The digest

SOURCE = "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n    pass\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., Migration]:
    """Write a migration into a folder of an installed app, and load it from there: ``tree("0001")``."""
    folder = tmp_path / "digested" / "migrations"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS, settings.RELEASE = ["digested"], "v1"

    def write(name: str, *, elsewhere: Path | None = None) -> Migration:
        return loaded((elsewhere or folder) / f"{name}.py", SOURCE)

    return write


def test_a_release_has_a_digest_if_each_loaded_migration_is_found_without_django(
    scratch: BaseDatabaseWrapper, tree: Callable[..., Migration], tmp_path: Path, settings: Any
) -> None:
    def digest(*disk: Migration) -> str:
        return read_plan(Planned(executor_of(scratch, disk), (), ())).digest

    found = tree("0001")
    elsewhere = tree("0002", elsewhere=tmp_path)
    known = digest(found)
    assert len(known) == 64
    assert digest(found, elsewhere) == ""
    assert digest(found, made("0003")) != known  # of this test's own file
    assert digest(found, made("0004", __module__="nowhere")) == ""
    (tmp_path / "digested" / "migrations" / "0002.py").symlink_to(tmp_path / "0002.py")
    assert len(digest(found, elsewhere)) == 64
    settings.RELEASE = ""
    assert digest(found) == ""


# What does not fit together


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InconsistentMigrationHistory("b before a"), "ran in an order that this code does not allow"),
        (Conflict("two leaves"), "makemigrations --merge"),
        (NodeNotFoundError("no 0007", ("shop", "0007")), "do not fit together: no 0007"),
        (CircularDependencyError("a, b"), "do not fit together: a, b"),
        (BadMigrationError("no class"), "do not fit together: no class"),
    ],
)
def test_what_django_says_of_migrations_is_explained(error: Exception, words: str) -> None:
    with pytest.raises(HistoryRefused, match=words), history_explained():
        raise error


def test_what_is_no_fault_of_the_migrations_is_left_as_it_is() -> None:
    with pytest.raises(LookupError, match="elsewhere"), history_explained():
        raise LookupError("elsewhere")


def test_two_last_migrations_of_an_app_are_refused_with_their_names() -> None:
    refuse_conflicts(loader_of(None, [ONE, TWO]))

    with pytest.raises(HistoryRefused, match=r"leaf nodes in the migration graph: \(0002, 0002_other in shop\)"):
        refuse_conflicts(loader_of(None, [ONE, TWO, made("0002_other", "0001")]))
