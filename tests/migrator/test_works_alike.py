"""Every connection of a run works in the schemas and as the role that the project has given Django's own."""

from __future__ import annotations

from tests.faults.migrator import query
from tests.migrator.test_django_habits import RELEASE, Foreign, foreign

__all__ = ["foreign"]

RECEIVER = """
from django.apps import AppConfig
from django.db.backends.signals import connection_created

def set_up(connection, **kwargs):
    connection.cursor().execute("{sql}")

class BlogConfig(AppConfig):
    name = "blog"
    def ready(self):
        connection_created.connect(set_up)
"""
TENANTS = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
for schema in ("one", "two"):
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path = {schema}")
    call_command("migrate")
"""
_SCHEMAS = """
    SELECT DISTINCT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname IN ('blog_thing', 'django_migrations', 'migrator_runs') ORDER BY 1
"""
_OWNERS = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'"


def receiving(foreign: Foreign, sql: str) -> None:
    package = foreign.app("blog", "blog.apps.BlogConfig")
    (package / "apps.py").write_text(RECEIVER.format(sql=sql))


def test_the_schema_that_a_receiver_sets_has_the_tables_and_the_ledger(foreign: Foreign) -> None:
    query(foreign.url, "CREATE SCHEMA one")
    receiving(foreign, "SET search_path = one")

    starts = [foreign.manage("migrate", extra=RELEASE) for _ in range(2)]

    assert [start.returncode for start in starts] == [0, 0], starts[0].stderr
    assert query(foreign.url, _SCHEMAS) == [("one",)]
    assert "Nothing to migrate" in starts[1].stdout


def test_the_role_that_a_receiver_sets_owns_the_tables_and_the_ledger(foreign: Foreign) -> None:
    role = "owner_" + query(foreign.url, "SELECT current_database()::text")[0][0][-12:].lower()
    query(foreign.url, f'CREATE ROLE "{role}"')
    try:
        query(foreign.url, f'GRANT CREATE ON SCHEMA public TO "{role}"')
        receiving(foreign, f"SET ROLE '{role}'")

        ran = foreign.manage("migrate", extra=RELEASE)

        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert query(foreign.url, _OWNERS) == [(role,)]
    finally:
        query(foreign.url, f'DROP OWNED BY "{role}" CASCADE')
        query(foreign.url, f'DROP ROLE "{role}"')


def test_a_project_that_migrates_schema_after_schema_has_a_history_and_a_ledger_in_each(foreign: Foreign) -> None:
    query(foreign.url, "CREATE SCHEMA one")
    query(foreign.url, "CREATE SCHEMA two")
    foreign.app("blog")
    assert foreign.manage("check", extra=RELEASE).returncode == 0

    ran = foreign.python("-c", TENANTS)

    assert ran.returncode == 0, ran.stderr
    assert query(foreign.url, _SCHEMAS) == [("one",), ("two",)]
    for schema in ("one", "two"):
        assert query(foreign.url, f"SELECT count(*) FROM {schema}.blog_thing") == [(0,)]
