"""Both releases' code at work in threads of their own, each statement timed, while the schema changes under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.contrib.postgres.fields import IntegerRangeField
from django.db import DatabaseError, connections, models
from django.db.migrations.state import ProjectState

from rupaya.migrator.errors import sqlstate
from rupaya.migrator.sqlstates import RETRYABLE
from tests.migrator.debts.shop import ALIAS, Shop
from tests.patience import HANGING_S

LOCK_TIMEOUT_MS = 500
LONGEST_WAIT_S = 1.5
ROUNDS = 3


class Code:
    """A release's code, serving: it inserts, reads, changes and deletes with its own models, over and over."""

    def __init__(self, shop: Shop, state: ProjectState, name: str) -> None:
        self.shop, self.state, self.name = shop, state, name
        self.apps = shop.rendered(state)
        self.rounds = 0
        self.longest_s = 0.0
        self.slowest = ""
        self.failures: list[str] = []
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"{name} code", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the last round end."""
        self._finished.set()
        self._thread.join(HANGING_S)
        assert not self._thread.is_alive()

    def wait(self, rounds: int = ROUNDS) -> None:
        """Until it has done so much more, or failed."""
        wanted = self.rounds + rounds
        deadline = time.monotonic() + HANGING_S
        while self.rounds < wanted and not self.failures:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def _serve(self) -> None:
        connection = connections[ALIAS]
        try:
            with connection.execute_wrapper(self._timed):
                while not self._finished.is_set() and not self.failures:
                    self._round()
                    self.rounds += 1
        except Exception as error:  # whatever a statement raises is a query that failed
            self.failures.append(f"{self.name} code: {type(error).__name__}: {error}")
        finally:
            connection.close()

    def _timed(self, execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        began = time.monotonic()
        try:
            return execute(sql, *arguments)
        finally:
            took_s = time.monotonic() - began
            if took_s > self.longest_s:
                self.longest_s, self.slowest = took_s, sql

    def _round(self) -> None:
        """All with rows of its own, so that what two codes do at once can only be what the schema makes of it."""
        apps = self.apps
        maker = apps.get_model("shop", "Maker").objects.using(ALIAS).create(name="passing")
        for label, name in sorted(self.state.models):
            model = apps.get_model(label, name)
            if name == "maker":
                continue
            self._use(model, maker)
        maker.delete()

    def _use(self, model: Any, maker: Any) -> None:
        rows = model._default_manager.using(ALIAS)
        given = self.shop.values(self.apps, model)
        given |= {f.name: maker for f in model._meta.local_fields if f.name in given and f.related_model is type(maker)}
        row = rows.create(**given)
        read = rows.get(pk=row.pk)
        wrong = [
            name
            for name, value in given.items()
            if getattr(read, name) != value and not _is_django_s(model._meta.get_field(name))
        ]
        assert not wrong, f"{model.__name__}.{', '.join(wrong)} was read as {[getattr(read, name) for name in wrong]}"
        read.save(using=ALIAS)
        for field in model._meta.local_fields:
            rows.filter(pk=row.pk, **{field.attname: getattr(read, field.attname)}).exists()
        others = [field.name for field in model._meta.local_fields if field.is_relation and not field.null]
        rows.select_related(*others or [None]).order_by("-pk").first()
        for field in model._meta.local_many_to_many:
            other = field.related_model.objects.using(ALIAS).create(name="passing")
            getattr(read, field.name).add(other)
            assert getattr(read, field.name).using(ALIAS).count() == 1
            getattr(read, field.name).remove(other)
            other.delete()
        read.delete()


def _is_django_s(field: Any) -> bool:
    """Whether what is written is not what was given: a canonical range, a moment, an order."""
    return isinstance(field, IntegerRangeField | models.OrderWrt) or bool(getattr(field, "auto_now", False))


class Traffic:
    """The codes that serve just now, and what they ever met."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.codes: dict[str, Code] = {}

    @contextmanager
    def of(self, **states: ProjectState) -> Iterator[None]:
        """Let exactly these serve during the block, each from before to after it; none may fail or wait."""
        codes = [Code(self.shop, state, name) for name, state in states.items()]
        try:
            for code in codes:
                code.wait()
            yield
            for code in codes:
                code.wait()
        finally:
            for code in codes:
                code.stop()
        failures = [failure for code in codes for failure in code.failures]
        assert failures == [], failures
        slow = [f"{code.longest_s:.2f} s: {code.slowest}" for code in codes if code.longest_s > LONGEST_WAIT_S]
        assert slow == [], slow


def patiently(shop: Shop, work: Callable[[], Any]) -> None:
    """As `migrate` does: wait for no lock longer than traffic may queue behind it, and try again."""
    deadline = time.monotonic() + HANGING_S
    while True:
        shop.sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        try:
            work()
        except DatabaseError as error:
            if sqlstate(error) not in RETRYABLE or time.monotonic() > deadline:
                raise
        else:
            return
        finally:
            with suppress(DatabaseError):
                shop.sql("RESET lock_timeout")
