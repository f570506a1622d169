"""The door to Django's inside does what the rest relies on, whichever version is installed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, migrations, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import CaptureQueriesContext

from rupaya.migrator.django import (
    PLAIN_OPTIONS,
    DjangoMigrate,
    Planned,
    applied_state,
    apps_with,
    full_order,
    no_savepoint_within,
    record_applied,
    recorded_keys,
    recorded_rows,
)
from rupaya.migrator.management.commands.migrate import Command
from rupaya.migrator.plan.status import read_status

OPTIONS: dict[str, Any] = {**PLAIN_OPTIONS, "verbosity": 0, "database": "default"}


def planned(**options: Any) -> Planned:
    return DjangoMigrate(Command(), {**OPTIONS, **options}).plan()


@pytest.mark.django_db
def test_djangos_command_says_what_it_would_do_and_changes_nothing() -> None:
    before = recorded_rows(connection)

    everything = planned()
    back = planned(app_label="transactions", migration_name="zero")

    assert everything.steps == ()
    assert [migration.app_label for migration, backwards in back.steps if backwards]
    assert recorded_rows(connection).keys() == before.keys()


def test_a_model_and_what_it_refers_to_are_made_as_among_all() -> None:
    loader = MigrationLoader(None)
    state = loader.project_state()
    alone = {key: apps_with(state, key) for key in state.models}

    assert "apps" not in vars(state), "all models were made"
    assert not {"accounts", "transactions"} & {
        model._meta.app_label for model in alone["contenttypes", "contenttype"].get_models()
    }
    for key, apps in alone.items():
        assert columns_of(apps.get_model(*key)) == columns_of(state.apps.get_model(*key))


def columns_of(model: Any) -> list[tuple[Any, ...]]:
    """What of a model the database has, and the tables that its foreign keys refer to."""
    return [
        (
            field.column,
            field.db_parameters(connection),
            field.remote_field.model._meta.db_table if field.remote_field else None,
        )
        for field in [*model._meta.local_concrete_fields, *model._meta.local_many_to_many]
    ]


@pytest.mark.django_db
def test_the_full_order_is_djangos_own() -> None:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)

    assert full_order(executor.loader) == [(migration.app_label, migration.name) for migration, _backwards in plan]


@pytest.mark.django_db
def test_rows_are_rows_in_the_order_in_which_they_were_recorded() -> None:
    rows = recorded_rows(connection)

    assert [row.pk for row in rows.values()] == sorted(row.pk for row in rows.values())
    assert all(row.applied for row in rows.values())
    assert recorded_keys(connection) == tuple(rows)


@pytest.mark.django_db(transaction=True)
def test_only_the_editor_straight_in_the_block_makes_no_savepoint() -> None:
    block = transaction.atomic()
    with (
        CaptureQueriesContext(connection) as outer,
        block,
        no_savepoint_within(block, connection),
        connection.schema_editor(),
        CaptureQueriesContext(connection) as inner,
        connection.schema_editor(),
    ):
        pass
    said = [query["sql"] for query in outer.captured_queries]

    assert [line.split()[0] for line in said] == ["BEGIN", "SAVEPOINT", "RELEASE", "COMMIT"]
    assert len(inner.captured_queries) == 2


@pytest.mark.django_db
def test_a_squashed_migration_is_recorded_with_what_it_replaces() -> None:
    squashed = migrations.Migration("0001_squashed_0002", "shop")
    squashed.replaces = [("shop", "0001_one"), ("shop", "0002_two")]

    record_applied(MigrationExecutor(connection), squashed)

    recorded = MigrationRecorder(connection).applied_migrations()
    assert {("shop", "0001_one"), ("shop", "0002_two")} <= recorded.keys()


@pytest.mark.django_db
def test_the_applied_state_has_the_models_of_applied_migrations() -> None:
    assert ("transactions", "budget") in applied_state(MigrationExecutor(connection)).models


def test_one_status_tells_newer_older_and_foreign_apart() -> None:
    loader = MigrationLoader(None)
    order = full_order(loader)
    history = [("accounts", "0000_before"), *order, ("accounts", "9999_after"), ("polls", "0001_initial")]

    status = read_status(loader, history)

    assert status.pending == ()
    assert status.applied == set(order)
    assert status.older == {("accounts", "0000_before")}
    assert status.newer == {("accounts", "9999_after")}
    assert status.foreign == {("polls", "0001_initial")}
    assert read_status(loader, []).pending == tuple(order)
