"""A plan that was cut off may go on with what it made, for no code that serves knows of it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder

from rupaya.migrator.debts.fresh import Fresh, fresh_of
from rupaya.migrator.debts.owing import Owing, forecast
from rupaya.migrator.errors import HistoryRefused
from tests.migrator.debts.shop import KEY, Shop, base, char, migration

MADE: list[Operation] = [
    migrations.CreateModel("Shelf", [KEY, ("name", char(10)), ("tags", models.ManyToManyField("shop.Tag"))]),
    migrations.RenameModel("Shelf", "Rack"),
    migrations.AddField("item", "first", models.IntegerField(null=True)),
    migrations.RenameField("item", "first", "second"),
    migrations.AddField("item", "labels", models.ManyToManyField("shop.Tag", related_name="+")),
]


def loader(*steps: migrations.Migration) -> Any:
    """As much of Django's loader as is asked: a graph, what is applied, and the state of that."""
    graph = MigrationGraph()
    for step in steps:
        graph.add_node(("shop", step.name), step)
    for before, after in itertools.pairwise(steps):
        graph.add_dependency(after, ("shop", after.name), ("shop", before.name))

    def project_state(nodes: Any) -> Any:
        return graph.make_state(nodes=nodes, at_end=True, real_apps=None)

    return SimpleNamespace(graph=graph, applied_migrations=dict.fromkeys(graph.nodes), project_state=project_state)


def test_what_was_made_is_known_by_its_present_name() -> None:
    steps = migration("0001_initial", *base()), migration("0002_change", *MADE)

    assert fresh_of(loader(*steps), {("shop", "0002_change")}) == Fresh(
        {"shop_rack", "shop_rack_tags", "shop_item_labels"}, {("shop_item", "second")}
    )
    assert fresh_of(loader(*steps), set()) == Fresh()


def test_what_was_cut_off_is_what_no_successful_run_came_after(shop: Shop) -> None:
    steps = migration("0001_initial", *base()), migration("0002_change", *MADE)
    shop.apply(steps[1])
    run = "INSERT INTO migrator_runs (command, release, git_sha, environment, task, python_version, django_version{}) "
    attempt = (
        "INSERT INTO migrator_attempts (run_id, batch, app, name, direction, phase, atomic, fingerprint, file_hash, "
        "finished_at, outcome) VALUES ({}, 1, 'shop', '{}', 'apply', 'expand', true, '', '', now(), 'succeeded')"
    )
    ended = ", finished_at, outcome"
    shop.sql(run.format(ended) + "VALUES ('migrate', 'a', '', '', '', '', '', now(), 'succeeded')")
    shop.sql(attempt.format(1, "0001_initial"))
    shop.sql(run.format(ended) + "VALUES ('migrate', 'b', '', '', '', '', '', now(), 'interrupted')")
    shop.sql(attempt.format(2, "0002_change"))
    MigrationRecorder(shop.connection).record_applied("shop", "0002_change")
    later = migration("0003_later", migrations.RenameField("rack", "name", "title"))

    with pytest.raises(HistoryRefused, match="renames the column"):
        shop.forecast(later)
    fresh = fresh_of(loader(*steps), shop.store.never_served())

    assert "shop_rack" in fresh.tables
    assert forecast(shop.connection, [(later, False)], shop.state, fresh=fresh).owed == []
    shop.owing = Owing(shop.connection, run_id=3, release="c", fresh=fresh)
    shop.apply(later)
    shop.work(shop.old)
