"""How long a migration's statements may wait and run, as the server has it while they do."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.migrator import query
from tests.migrator.releases import CREATE, Release, migration

NOTED = """
    CREATE TABLE noted (n serial, object text, lock_timeout text, statement_timeout text);
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO noted (object, lock_timeout, statement_timeout)
        SELECT object_identity, current_setting('lock_timeout'), current_setting('statement_timeout')
        FROM pg_event_trigger_ddl_commands();
    END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()
"""
# What is checked at the end of the transaction, within the limits of COMMIT.
AT_COMMIT = """
    CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO noted (object, lock_timeout, statement_timeout)
        VALUES ('COMMIT', current_setting('lock_timeout'), current_setting('statement_timeout'));
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT ON shop_item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION note_commit();
    TRUNCATE noted
"""
ROW = "migrations.RunSQL(\"INSERT INTO shop_item (name) VALUES ('x')\", migrations.RunSQL.noop)"
DEADLINE = re.compile(r"3[0-5]\d{5}ms|3[0-5]\d\ds|\d\dmin|1h")
EXPAND = 'phase = "expand"; '
INDEX = (
    "__import__('django.contrib.postgres.operations').contrib.postgres.operations.AddIndexConcurrently("
    '"item", models.Index(fields=["name"], name="{}"))'
)


def add(number: int) -> str:
    return f'migrations.AddField("item", "n{number}", models.IntegerField(null=True))'


def sql(number: int, before: str = "") -> str:
    return f'migrations.RunSQL("{before}CREATE TABLE n{number} ()", migrations.RunSQL.noop)'


def noted(url: str) -> list[tuple[str, ...]]:
    """Each change of the schema, in order: of what, and within which limits."""
    rows = query(url, "SELECT object, lock_timeout, statement_timeout FROM noted ORDER BY n")
    return [(*others, "to the deadline" if DEADLINE.fullmatch(limit) else limit) for *others, limit in rows]


def test_each_migration_has_its_own_limits_and_leaves_none_to_the_next(database_url: str, tmp_path: Path) -> None:
    query(database_url, NOTED)
    limits = {"MIGRATE_LOCK_TIMEOUT_MS": "700", "MIGRATE_STATEMENT_TIMEOUT_MS": "3000", "MIGRATE_DEADLINE_S": "3600"}
    release = Release(tmp_path, "v1", {"0001_initial": migration(CREATE)})
    first = release.run(database_url, **limits)
    assert first.returncode == 0, first.stdout + first.stderr
    # Nobody can be using it yet: what takes long keeps nobody waiting.
    assert ("public.shop_item", "700ms", "0") in noted(database_url)

    steps = (
        (add(2), ""),
        (add(3), "lock_timeout_ms = 111; statement_timeout_ms = 0"),
        (add(4), ""),
        (sql(5, "SET lock_timeout = 9000; SET statement_timeout = 8000; "), ""),
        (sql(6), ""),
        (sql(7), "atomic = False"),
        (sql(8), "atomic = False; statement_timeout_ms = 222"),
        (INDEX.format("n9"), "atomic = False"),
        (sql(10), ""),
        (ROW, ""),
        (ROW, "statement_timeout_ms = 0"),
    )
    before = "0001_initial"
    for number, (operation, said) in enumerate(steps, 2):
        name = f"{number:04}_step"
        release.write(name, migration(operation, before, EXPAND + said))
        before = name
    query(database_url, AT_COMMIT)
    ran = release.run(database_url, **limits)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert noted(database_url) == [
        ("public.shop_item", "700ms", "3s"),
        ("public.shop_item", "111ms", "0"),
        ("public.shop_item", "700ms", "3s"),
        ("public.n5", "9s", "8s"),
        ("public.n6", "700ms", "3s"),
        ("public.n7", "700ms", "0"),
        ("public.n8", "700ms", "222ms"),
        ("public.n9", "0", "0"),
        ("public.n10", "700ms", "3s"),
        ("COMMIT", "700ms", "3s"),
        ("COMMIT", "700ms", "to the deadline"),
    ]
    assert query(database_url, "SELECT DISTINCT phase FROM migrator_attempts WHERE batch = 2") == [("expand",)]
