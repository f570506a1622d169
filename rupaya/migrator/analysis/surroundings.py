"""What sessions of a scratch database find there as in the live one: its settings, and the schema that tables go to."""

from __future__ import annotations

from contextlib import closing

import psycopg2
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class, whatever its author named it
from psycopg2.extensions import quote_ident

from rupaya.migrator.errors import is_lost
from rupaya.migrator.session import database

# What ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET have set; a role's own settings are every database's.
_SETTINGS = """
    SELECT setrole <> 0, split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1)
    FROM pg_db_role_setting CROSS JOIN unnest(setconfig) entry
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
"""
_HOME = """
    SELECT coalesce(
        (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('django_migrations')),
        quote_ident(current_schema())
    ), quote_ident(session_user)
"""


def take_settings(keeper: PgConnection, name: str) -> None:
    """Set for a scratch database what the keeper's database has set, but for what only a superuser may set.

    Not read and written: a list of schemas is stored in another way than it is set.
    """
    with keeper.cursor() as cursor:
        cursor.execute(_HOME)
        ((_home, user),) = cursor.fetchall()
        cursor.execute(_SETTINGS)
        for is_of_role, setting, value in cursor.fetchall():
            scratch = f"DATABASE {quote_ident(name, keeper)}"
            whose = f"ROLE {user} IN {scratch}" if is_of_role else scratch
            quoted = ".".join(quote_ident(part, keeper) for part in setting.split("."))
            try:
                # One text is one transaction: for the keeper nothing is set any longer.
                sql = f"SELECT set_config(%s, %s, true); ALTER {whose} SET {quoted} FROM CURRENT"  # noqa: S608 - quoted
                cursor.execute(sql, [setting, value])
            except psycopg2.Error as error:
                if is_lost(error):
                    raise


def make_schema(connection: BaseDatabaseWrapper, keeper: PgConnection, name: str) -> None:
    """Make the schema in a scratch database that the keeper's sessions make tables in, if it is not there already."""
    with keeper.cursor() as cursor:
        cursor.execute(_HOME)
        ((home, _user),) = cursor.fetchall()
    if home:
        with closing(database.connect(connection, dbname=name)) as raw, raw.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {home}")
