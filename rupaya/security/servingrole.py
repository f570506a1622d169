"""The role that serves, made and kept by `migrate`: no owner of anything, and no right to change a table.

`DB_CREDENTIALS` says who serves, by which password and as a member of which group. Rights are the group's. Its members
are the logins, two of which take turns: a new password goes to the other one, and running processes keep the old one.
So nobody needs a way to the database to change a password. A process that starts with a new one brings it there.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg2.extensions import encrypt_password, quote_ident

from rupaya.adoption.privileges import grants
from rupaya.credentials import Credentials
from rupaya.migrator.errors import DatabaseUnreachable, EnvironmentUnfit
from rupaya.migrator.schema.prescribed import HISTORY
from rupaya.migrator.session import database

# Held for a moment while the roles are looked after, so that of many who start at once one makes them.
KEY = 0x72757061_726F6C65
_SINCE = "rupaya: password of "
_ROLE = """
    SELECT shobj_description(r.oid, 'pg_authid'), r.rolcanlogin,
           EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                   WHERE m.member = r.oid AND g.rolname = %(group)s),
           r.rolname = current_user OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb
    FROM pg_roles r WHERE r.rolname = %(name)s
"""
# The tables of the role that migrates, no matter what describes them: models, RunSQL, the ledger.
_OWN = """
    SELECT relname FROM pg_class
    WHERE relnamespace = coalesce(current_schema(), 'public')::regnamespace AND relkind IN ('r', 'p', 'v')
      AND pg_get_userbyid(relowner) = current_user
"""
_OPEN_SCHEMA = """
    SELECT n.nspname FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
    WHERE n.oid = coalesce(current_schema(), 'public')::regnamespace AND a.grantee = 0 AND a.privilege_type = 'CREATE'
      AND pg_has_role(n.nspowner, 'USAGE')
"""


def keep(connection: BaseDatabaseWrapper) -> None:
    """Give the role that serves its password and its rights, where `DB_CREDENTIALS` says that it is to be made.

    For `MIGRATOR_RIGHTS`: before a run looks at anything, and after it has changed something.

    Raises:
        DatabaseUnreachable: if somebody has given that role a newer password.
        EnvironmentUnfit: if the name is somebody else's.
    """
    credentials: Credentials | None = settings.SERVING_CREDENTIALS
    if credentials is None or not credentials.are_to_be_made or not _is_the_owners(connection):
        return
    fits = credentials.fit(**database.connection_parameters(connection))
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
        _keep_group(cursor, credentials.member_of)
        _keep_login(cursor, credentials, fits=fits)


def _is_the_owners(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is the one that migrates the service's own database, and not a scratch one."""
    migrating: dict[str, Any] | None = settings.MIGRATION_DATABASE
    return (
        migrating is not None
        and connection.alias == DEFAULT_DB_ALIAS
        and all(connection.settings_dict[key] == migrating[key] for key in ("HOST", "PORT", "NAME", "USER"))
    )


def _keep_group(cursor: Any, group: str) -> None:
    """The group, and its rights on what is there and on what will be."""
    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [group])
    if cursor.fetchone() is None:
        cursor.execute(f"CREATE ROLE {_quoted(cursor, group)} NOLOGIN")
    tables: set[str] = set()
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [HISTORY])
    if cursor.fetchone()[0]:  # else what is there is somebody else's, who may not even know of this run
        cursor.execute(_OPEN_SCHEMA)
        for (schema,) in cursor.fetchall():
            cursor.execute(f"REVOKE CREATE ON SCHEMA {_quoted(cursor, schema)} FROM PUBLIC")
        cursor.execute(_OWN)
        tables = {name for (name,) in cursor.fetchall()}
    for statement in list(grants(cursor, group, tables)):
        cursor.execute(statement)


def _keep_login(cursor: Any, credentials: Credentials, *, fits: bool) -> None:
    """The login: its membership, and its password where that is not older than the one that it has."""
    name, group = credentials.username, credentials.member_of
    cursor.execute(_ROLE, {"name": name, "group": group})
    row = cursor.fetchone()
    if row is None:
        cursor.execute(
            f"CREATE ROLE {_quoted(cursor, name)} LOGIN IN ROLE {_quoted(cursor, group)} PASSWORD %s",
            [_verifier(cursor, credentials)],
        )
        _note(cursor, credentials)
        return
    comment, may_log_in, is_member, is_more = row
    if is_more or not (is_member or str(comment or "").startswith(_SINCE)):
        raise EnvironmentUnfit(
            f"DB_CREDENTIALS names {name!r}, which is a role of its own and no member of {group!r}.",
            "Its password would be changed; nothing was changed.",
            f"Name another user there, or make it one of the group: GRANT {group} TO {name}.",
        )
    given = str(comment or "").removeprefix(_SINCE)
    if given > credentials.since:
        raise DatabaseUnreachable(
            f"The role {name!r} was given another password at {given}; this process was started with that of "
            f"{credentials.since}.",
            "It could not serve; nothing was changed.",
            "Start again: each new process is given the new one.",
        )
    if not is_member:
        cursor.execute(f"GRANT {_quoted(cursor, group)} TO {_quoted(cursor, name)}")
    if fits and may_log_in and given == credentials.since:
        return
    cursor.execute(f"ALTER ROLE {_quoted(cursor, name)} LOGIN PASSWORD %s", [_verifier(cursor, credentials)])
    _note(cursor, credentials)


def _note(cursor: Any, credentials: Credentials) -> None:
    cursor.execute(f"COMMENT ON ROLE {_quoted(cursor, credentials.username)} IS %s", [_SINCE + credentials.since])


def _verifier(cursor: Any, credentials: Credentials) -> str:
    """What the server keeps of a password: whatever logs or counts the statement never sees the password itself."""
    return str(
        encrypt_password(credentials.password, credentials.username, scope=cursor.connection, algorithm="scram-sha-256")
    )


def _quoted(cursor: Any, name: str) -> str:
    return quote_ident(name, cursor.connection)
