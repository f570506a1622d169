"""A database of its own on the same server, in which migrations can be tried; it is always gone afterwards.

While it is there, Django's connection `default` *is* the scratch database, as a migration's Python code seldom says
which connection it means: under another alias it would write to the live one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psycopg2
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.migration import Migration
from django.db.migrations.state import ProjectState
from psycopg2.errors import InsufficientPrivilege, ObjectInUse
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it
from psycopg2.extensions import quote_ident

from rupaya.migrator.analysis.contained import Containment
from rupaya.migrator.analysis.surroundings import make_schema, take_settings
from rupaya.migrator.debts.debt import Debt
from rupaya.migrator.debts.debtstore import DebtStore
from rupaya.migrator.debts.owing import Owing
from rupaya.migrator.debts.pay import Limits, Payer
from rupaya.migrator.errors import EnvironmentUnfit, MigrationFailed, MigratorError, driver_text, is_lost
from rupaya.migrator.ledger.ledger import Ledger
from rupaya.migrator.output import heard
from rupaya.migrator.session import database
from rupaya.migrator.session.lock import advisory_key

NAME_MAX_BYTES = 63
_MARK = "_scratch_"
_LOCALE = """
    SELECT pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datlocprovider::text,
           coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
    FROM pg_database d WHERE d.datname = current_database()
"""


class NotAllowed(EnvironmentUnfit):
    """The role may not create databases."""


def name_prefix(live: str) -> str:
    """How the scratch databases of a live one are called. The hash keeps names apart that are cut to the same."""
    tail = _MARK + hashlib.sha256(live.encode()).hexdigest()[:8]
    return live.encode()[: NAME_MAX_BYTES - len(tail) - 8].decode(errors="ignore") + tail


@contextmanager
def database_like(connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """Make an empty scratch database and let the connection lead to it for as long as the block runs.

    Raises:
        EnvironmentUnfit: if the role may not create databases, or the server has no room.
    """
    with _database(connection, connection.settings_dict["NAME"], template=""):
        yield connection


@contextmanager
def copied(connection: BaseDatabaseWrapper, live: str) -> Iterator[BaseDatabaseWrapper]:
    """Within a scratch database of the database `live`: the same in a copy of it, which leaves it as it is.

    Raises:
        EnvironmentUnfit: as `database_like`.
    """
    template = connection.settings_dict["NAME"]
    connection.close()  # a database that somebody is connected to cannot be copied
    with _database(connection, live, template):
        yield connection


@contextmanager
def _database(connection: BaseDatabaseWrapper, live: str, template: str) -> Iterator[None]:
    # Each scratch database has a keeper: a session on the live database that holds an advisory lock by its name, from
    # before it is created until it is dropped. Whoever gets that lock knows that the creator is dead.
    keeper = database.connect(connection, dbname=live)
    try:
        database.prepare_session(keeper)
        prefix = name_prefix(live)
        _sweep(keeper, prefix)
        name = prefix + secrets.token_hex(4)
        containment = Containment(connection, keeper, name)
        _run(keeper, "SELECT pg_advisory_lock(%s)", [_key(name)])  # nobody else knows the name: there is no waiting
        try:
            _create(keeper, name, template)
            take_settings(keeper, name)
            if not template:
                make_schema(connection, keeper, name)
            with _leading_to(connection, name), containment.kept():
                yield
        finally:
            # Forced: what a migration may have left open must not keep it alive.
            with suppress(psycopg2.OperationalError, psycopg2.InterfaceError):  # the next use will sweep it
                _run(keeper, f"DROP DATABASE IF EXISTS {quote_ident(name, keeper)} WITH (FORCE)")
                _run(keeper, "SELECT pg_advisory_unlock(%s)", [_key(name)])  # a pooler keeps the session
                containment.drop_roles()
    finally:
        with suppress(psycopg2.Error):
            keeper.close()


class Builder(MigrationExecutor):
    """Django's executor, which carries out by halves what owes something in the live database, and names what fails."""

    owing: Owing | None = None
    owed: frozenset[tuple[str, str]] = frozenset()

    def apply_migration(
        self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False
    ) -> ProjectState:
        """As Django does, or the half of it.

        Raises:
            MigrationFailed: if it cannot be applied where nothing else is.
        """
        by_halves = self.owing is not None and (migration.app_label, migration.name) in self.owed
        try:
            with self.owing.carrying_out(migration) if self.owing is not None and by_halves else nullcontext():
                return super().apply_migration(state, migration, fake, fake_initial)
        except MigratorError:
            raise
        except Exception as error:
            if is_lost(error):
                raise
            raise MigrationFailed(
                f"A scratch database could not be built: {migration} failed: {type(error).__name__}: "
                f"{driver_text(error)}",
                "It does not work where only the migrations before it have been; nothing live was touched.",
                "Fix it, so that a new environment can be built, then start again.",
            ) from error


def build(
    connection: BaseDatabaseWrapper,
    history: set[tuple[str, str]] | None = None,
    *,
    owed: Collection[Debt] = (),
) -> MigrationExecutor:
    """Apply this code's migrations to the database that the connection leads to; with `history`, only those.

    What is `owed` in the live database is owed there too. Signals are not sent: what their receivers make is not what
    migrations build.
    """
    executor = Builder(connection)
    if owed:
        connection.ensure_connection()
        Ledger(connection.connection).ensure_schema()
        executor.owing = Owing(connection, run_id=0, release="")
        executor.owed = frozenset(debt.key for debt in owed)
    loader = executor.loader
    left_out: set[tuple[str, str]] = set()
    if history is not None:
        partly = [
            key
            for key, squashed in loader.replacements.items()
            if key not in history and any(replaced in history for replaced in squashed.replaces)
        ]
        if partly:  # in the middle of what a squashed migration stands for, only what it replaces can be applied
            left_out = set(loader.replacements)
            loader.replace_migrations = False  # type: ignore[attr-defined]
            loader.build_graph()
    plan = [
        (migration, backwards)
        for migration, backwards in executor.migration_plan(loader.graph.leaf_nodes())
        if (key := (migration.app_label, migration.name)) not in left_out and (history is None or key in history)
    ]
    with heard(lambda _message, _is_warning: None):  # of the past, on tables without a row
        executor.migrate([], plan=plan)
        loader.build_graph()
        if owed:
            still = {debt.identity for debt in owed}
            payer = Payer(connection, Limits(0, 0), run_id=0, loader=loader)
            for debt in DebtStore(connection).owed():
                if debt.identity not in still:
                    payer.pay(debt)
    return executor


def _create(keeper: PgConnection, name: str, template: str) -> None:
    encoding, collate, ctype, provider, locale = _run(keeper, _LOCALE)[0]
    # From template0: template1 may hold anything, and the same locale as the live one is allowed.
    options = f"TEMPLATE template0 ENCODING {_text(encoding)} LC_COLLATE {_text(collate)} LC_CTYPE {_text(ctype)}"
    if locale and provider in ("i", "b"):
        kind, word = ("icu", "ICU_LOCALE") if provider == "i" else ("builtin", "BUILTIN_LOCALE")
        options += f" LOCALE_PROVIDER {kind} {word} {_text(locale)}"
    if template:
        options = f"TEMPLATE {quote_ident(template, keeper)}"
    try:
        _run(keeper, f"CREATE DATABASE {quote_ident(name, keeper)} {options}")
    except InsufficientPrivilege as error:
        (role,) = _run(keeper, "SELECT current_user")[0]
        raise NotAllowed(
            f"The role '{role}' cannot create a scratch database: {driver_text(error)}",
            "Without one nothing can be tried out; nothing was changed.",
            f"Let a superuser run: ALTER ROLE {role} CREATEDB; 'manage.py schemadiff' is content with CREATE on the "
            "database. Or name a server and role of a development machine in "
            "DATABASE_URL; what needs no scratch database are 'manage.py schemadiff --against snapshot' and "
            "'manage.py migrate --dry-run'.",
        ) from None
    except psycopg2.Error as error:
        if is_lost(error):
            raise
        raise EnvironmentUnfit(
            f"A scratch database cannot be created: {driver_text(error)}",
            "Without one nothing can be tried out; nothing was changed.",
            "Fix what the server names, then start again.",
        ) from None


def _sweep(keeper: PgConnection, prefix: str) -> None:
    """Drop what dead processes have left: ours by name, their creator's lock free, and no session in it."""
    found = _run(keeper, "SELECT datname FROM pg_database WHERE datname ~ %s", ["^" + _regex(prefix) + "[0-9a-f]{8}$"])
    for (name,) in found:
        if not _run(keeper, "SELECT pg_try_advisory_lock(%s)", [_key(name)])[0][0]:
            continue
        try:
            _run(keeper, f"DROP DATABASE IF EXISTS {quote_ident(name, keeper)}")
        except (ObjectInUse, InsufficientPrivilege):
            pass  # a statement of the dead process still runs there, or another role made it: another time, another one
        finally:
            _run(keeper, "SELECT pg_advisory_unlock(%s)", [_key(name)])


@contextmanager
def _leading_to(connection: BaseDatabaseWrapper, name: str) -> Iterator[None]:
    """Change the database's name in the settings that all threads' connections are made from."""
    settings = connections[DEFAULT_DB_ALIAS].settings_dict
    live = settings["NAME"]
    connection.close()
    settings["NAME"] = connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        # A body that failed may have left a transaction open, in which Django refuses to close.
        with suppress(psycopg2.Error):
            if connection.connection is not None:
                connection.connection.close()
        connection.connection = None
        connection.in_atomic_block = False
        connection.savepoint_ids = []
        connection.needs_rollback = False
        connection.closed_in_transaction = False
        connection.run_on_commit = []
        settings["NAME"] = connection.settings_dict["NAME"] = live


def _key(name: str) -> int:
    return advisory_key(f"scratch database: {name}")


def _run(connection: PgConnection, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _regex(text: str) -> str:
    return "".join(character if character.isalnum() or character == "_" else "\\" + character for character in text)
