"""The early exit of `migrate`: one connection and one query, before Django is even imported.

It answers only the question that nearly every container start asks, "is there anything to do at all?", and only with a
no. Whatever it cannot answer, the ordinary command does.
"""

from __future__ import annotations

import time

from rupaya.environment import Environment
from rupaya.installed_apps import INSTALLED_APPS
from rupaya.migrator.manifest import digest, migration_files

# The history must equal the code, and the last run over exactly this code must have ended well.
_QUERY = """
    SELECT (SELECT array_agg(app || '.' || name) FROM django_migrations),
           EXISTS (SELECT FROM migrator_settled WHERE digest = %s)
"""


def nothing_to_migrate(env: Environment, arguments: list[str]) -> bool:
    """Whether a plain, unattended `migrate` has nothing to do; says so if it is true.

    In development the ordinary command goes on to compare models with migrations, so there this is never true.
    """
    if (
        env.debug
        or env.settings_module != "rupaya.settings"
        or arguments[:1] != ["migrate"]
        or not set(arguments[1:]) <= {"--noinput", "--no-input"}
    ):
        return False
    began = time.monotonic()
    import psycopg2

    files = migration_files(INSTALLED_APPS)
    address = env.migration_database or env.database
    try:
        connection = psycopg2.connect(**address.connect_kwargs())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_QUERY, [digest(files)])
                recorded, is_settled = cursor.fetchone()
        finally:
            connection.close()
    except psycopg2.Error:
        return False  # no server, no tables yet: the ordinary command waits, creates and explains
    if not is_settled or set(recorded or ()) != {f"{label}.{name}" for label, name in files}:
        return False
    _say(env, f"Using environment: {env.name}")
    _say(env, f"Nothing to migrate: all {len(files)} migrations are applied ({time.monotonic() - began:.3f} s)")
    return True


def _say(env: Environment, message: str) -> None:
    if env.log_format == "json":
        from rupaya.jsonline import JsonLines

        JsonLines(env.release, env.task).write(message)
    else:
        print(message)
