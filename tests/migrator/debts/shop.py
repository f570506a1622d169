"""A shop's database in which a test carries migrations out as Django does and by halves, and both codes' statements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.contrib.postgres.fields import IntegerRangeField
from django.db import connections, migrations, models
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState
from psycopg2.extras import NumericRange

from rupaya.migrator.attic.atticstore import AtticStore
from rupaya.migrator.attic.bringing import finish
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.owing import Forecast, Owing, forecast
from rupaya.migrator.debts.pay import Limits, Payer
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.schema import catalog

ALIAS = "debts"
KEY = ("id", models.BigAutoField(primary_key=True))


def char(length: int, **options: Any) -> models.CharField[str, str]:
    """A CharField."""
    return models.CharField(max_length=length, **options)


def base() -> list[Operation]:
    """What the release before has: one table with a column of every kind, and some that refer to one another."""
    return [
        migrations.CreateModel("Maker", [KEY, ("name", char(50))]),
        migrations.CreateModel("Tag", [KEY, ("name", char(50))]),
        migrations.CreateModel(
            "Item",
            [
                KEY,
                ("name", char(50)),
                ("colour", char(20, null=True)),
                ("code", char(20, db_index=True)),
                ("sku", char(20, unique=True)),
                ("text", models.TextField()),
                ("price", models.DecimalField(max_digits=10, decimal_places=2)),
                ("amount", models.IntegerField()),
                ("big", models.BigIntegerField()),
                ("status", char(10, db_default="new")),
                ("span", IntegerRangeField()),
                ("maker", models.ForeignKey("shop.Maker", models.CASCADE, related_name="items")),
                (
                    "loose",
                    models.ForeignKey("shop.Maker", models.CASCADE, null=True, db_constraint=False, related_name="+"),
                ),
                ("tags", models.ManyToManyField("shop.Tag")),
            ],
            options={
                "unique_together": {("name", "amount")},
                "indexes": [models.Index(fields=["price"], name="item_price")],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(price__gte=-5, amount__gte=-5), name="item_sane"),
                    models.UniqueConstraint(fields=["sku", "code"], name="item_old"),
                ],
            },
        ),
        migrations.CreateModel(
            "Legacy",
            [
                KEY,
                ("maker", models.ForeignKey("shop.Maker", models.CASCADE, related_name="legacies")),
                ("tags", models.ManyToManyField("shop.Tag", related_name="+")),
                ("parent", models.ForeignKey("self", models.CASCADE, null=True)),
            ],
        ),
    ]


def migration(name: str, *operations: Operation, **attributes: Any) -> Migration:
    """A migration of the app shop."""
    cls = type("Migration", (Migration,), {"operations": list(operations), **attributes})
    made: Migration = cls(name, "shop")
    return made


class Shop:
    """The database, at the state of what was carried out so far."""

    def __init__(self, connection: DatabaseWrapper, url: str, *, is_made: bool = False) -> None:
        self.connection = connection
        self.url = url
        self.state = ProjectState()
        self.owing = Owing(connection, run_id=1, release="new")
        self.store = DebtStore(connection)
        # Beyond those of the rows that are there in a copy.
        self.numbers = itertools.count(1001 if is_made else 1)
        self._rendered: dict[int, tuple[ProjectState, Any]] = {}
        if is_made:
            self.state = migration("0001_initial", *base()).mutate_state(self.state)
            self.old = self.state.clone()
        else:
            self.start()

    def start(self) -> None:
        """The release before, with some rows."""
        self.sql("DROP SCHEMA IF EXISTS migrator_attic CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        self.state = ProjectState()
        self.owing = Owing(self.connection, run_id=1, release="new")
        with self.connection.cursor():  # connected
            Ledger(self.connection.connection).ensure_schema()
        MigrationRecorder(self.connection).ensure_schema()
        self.stock(migration("0001_initial", *base()))
        self.old = self.state.clone()
        self.work(self.old)
        self.work(self.old)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute, and what it gives."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def schema(self) -> catalog.Catalog:
        """All that is there, but for the ledger."""
        with self.connection.cursor() as cursor:
            return catalog.read(cursor)

    def stock(self, step: Migration) -> None:
        """As Django does, all at once."""
        with self.connection.schema_editor(atomic=step.atomic) as editor:
            self.state = step.apply(self.state.clone(), editor)

    def stock_back(self, step: Migration, state: ProjectState) -> None:
        """As Django does, backwards to the given state."""
        with self.connection.schema_editor(atomic=step.atomic) as editor:
            step.unapply(state.clone(), editor)
        self.state = state

    def apply(self, step: Migration) -> None:
        """By halves."""
        with self.owing.carrying_out(step):
            self.stock(step)
        self.finish()

    def unapply(self, step: Migration, state: ProjectState) -> None:
        """By halves, backwards to the given state."""
        with self.owing.carrying_out(step, backwards=True):
            self.stock_back(step, state)
        self.finish()

    def finish(self) -> list[str]:
        """Make what is left of what came back, as a run does at its end; what was said of it."""
        said: list[str] = []
        for item in AtticStore(self.connection).unfinished():
            finish(self.connection, item, said.append)
        return said

    def forecast(self, *steps: Migration) -> Forecast:
        """What carrying these out would owe."""
        return forecast(self.connection, [(step, False) for step in steps], self.state)

    def empty(self) -> None:
        """Without rows, to which Django's own way back could not give what was removed."""
        ours = "tablename ~ '^(shop|shelves|migrator_attic_)'"
        tables = self.sql(f"SELECT schemaname || '.' || tablename FROM pg_tables WHERE {ours}")
        self.sql(f"TRUNCATE {', '.join(table for (table,) in tables)}")

    def owed(self) -> list[Debt]:
        """What is owed now."""
        return self.store.owed()

    def payer(self, **options: Any) -> Payer:
        """Who pays, within limits that a test notices."""
        return Payer(self.connection, Limits(2_000, 5_000), run_id=2, **options)

    def payer_within_a_lock_timeout(self) -> Payer:
        """Who pays, and lets nobody queue behind it for longer than half a second."""
        return Payer(self.connection, Limits(500, 5_000), run_id=2)

    def pay(self) -> None:
        """All that is owed, in order."""
        payer = self.payer()
        for debt in self.owed():
            assert payer.pay(debt)

    # What codes do

    def work(self, state: ProjectState) -> None:
        """What a release's code does all day with its models: insert, read, change, delete."""
        apps = self.rendered(state)
        for label, name in sorted(state.models, key=lambda key: (key[1] != "maker", key)):
            model = apps.get_model(label, name)
            rows = model._default_manager.using(ALIAS)  # type: ignore[attr-defined]
            row = rows.create(**self.values(apps, model))
            read = rows.get(pk=row.pk)
            read.save(using=ALIAS)
            for field in model._meta.local_fields:
                rows.filter(**{field.attname: getattr(read, field.attname)}).exists()
            others = [field.name for field in model._meta.local_fields if field.is_relation and not field.null]
            rows.select_related(*others or [None]).order_by("-pk").first()
            for field in model._meta.local_many_to_many:
                other = field.related_model.objects.using(ALIAS).create(name=f"m{next(self.numbers)}")
                getattr(read, field.name).add(other)
                getattr(read, field.name).remove(other)
        maker = apps.get_model("shop", "Maker").objects.using(ALIAS).create(name="passing")
        maker.delete()
        doomed = apps.get_model("shop", "Maker").objects.using(ALIAS).order_by("pk").first()
        doomed.delete()
        item = apps.get_model("shop", "Item").objects.using(ALIAS)
        item.create(**self.values(apps, apps.get_model("shop", "Item"))).delete()
        # Another parent to refer to, for the next time.
        apps.get_model("shop", "Maker").objects.using(ALIAS).create(name="kept")

    def rendered(self, state: ProjectState) -> Any:
        """A release's models, of its own: those that a migration rendered remember what it removed."""
        if id(state) not in self._rendered:
            own = ProjectState({key: model.clone() for key, model in state.models.items()})
            self._rendered[id(state)] = state, own.apps
        return self._rendered[id(state)][1]

    def values(self, apps: Any, model: Any) -> dict[str, Any]:
        """Values that the release's forms would let pass, for all fields that ask for one."""
        number = next(self.numbers)
        given: dict[str, Any] = {}
        for field in model._meta.local_fields:
            if field.primary_key or field.has_default() or field.has_db_default() or getattr(field, "auto_now_add", 0):
                continue
            if field.remote_field:
                if field.related_model is not model and not (field.unique and field.null):
                    related = field.related_model.objects.using(ALIAS)
                    given[field.name] = related.order_by("-pk").first() or related.create(name="first")
            elif isinstance(field, IntegerRangeField):
                given[field.name] = NumericRange(number * 10, number * 10 + 5)
            elif isinstance(field, models.CharField | models.TextField):
                given[field.name] = f"{field.name[:3]}{number}"
            elif not field.null:
                given[field.name] = number
        return given


@contextmanager
def opened(url: str, *, is_made: bool = False) -> Iterator[Shop]:
    """A shop in the database of this address; `is_made`: a copy of one that `Shop.start` has made."""
    connections.settings[ALIAS] = connections.settings["default"] | {"NAME": urlsplit(url).path.strip("/")}
    connection = connections[ALIAS]
    try:
        assert isinstance(connection, DatabaseWrapper)
        yield Shop(connection, url, is_made=is_made)
    finally:
        connection.close()
        del connections[ALIAS]
        del connections.settings[ALIAS]
