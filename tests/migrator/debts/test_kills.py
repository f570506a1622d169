"""A run that carries migrations out by halves is killed after each of its steps: the next run finishes what it left."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rupaya.migrator.schema import catalog
from rupaya.migrator.schema.diff import differences
from tests.conftest import new_database
from tests.faults.migrator import applied, catalog_of, query
from tests.migrator.releases import Release, migration

pytestmark = pytest.mark.debts

V1 = {
    "0001_initial": migration(
        """
        migrations.CreateModel("Maker", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))]),
        migrations.CreateModel("Item", [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.CharField(max_length=50)),
            ("colour", models.CharField(max_length=20)),
            ("code", models.CharField(max_length=20, null=True)),
            ("size", models.IntegerField()),
            ("amount", models.IntegerField(db_index=True)),
            ("status", models.CharField(max_length=10, db_default="new")),
            ("maker", models.ForeignKey("shop.Maker", models.CASCADE, null=True)),
            ("tags", models.ManyToManyField("shop.Tag")),
        ]),
        migrations.AddIndex("item", models.Index(fields=["code"], name="item_code")),
        """
    )
}
V2 = V1 | {
    "0002_bundle": migration(
        """
        migrations.AddField("item", "flag", models.BooleanField(default=False)),
        migrations.RemoveField("item", "colour"),
        migrations.AlterField("item", "name", models.CharField(max_length=30)),
        migrations.AlterField("item", "status", models.CharField(max_length=10, default="new")),
        migrations.RemoveField("item", "tags"),
        """,
        "0001_initial",
    ),
    "0003_apart": migration(
        """
        safer.SaferAddIndexConcurrently("item", models.Index(fields=["name"], name="item_name")),
        safer.SaferAlterFieldSetNotNull("item", "code", models.CharField(max_length=20)),
        safer.SaferAddUniqueConstraint(
            "item", models.UniqueConstraint(fields=["code"], name="item_u"), raise_if_exists=False
        ),
        safer.SaferAddCheckConstraint(
            "item", models.CheckConstraint(condition=models.Q(amount__gte=0), name="item_c")
        ),
        safer.SaferRemoveIndexConcurrently("item", "item_code"),
        migrations.RemoveField("item", "size"),
        """,
        "0002_bundle",
        "atomic, idempotent = False, True",
    ).replace("\n\n\n", "\nfrom django_pg_migration_tools import operations as safer\n\n\n", 1),
    "0004_rest": migration(
        """
        migrations.RemoveField("item", "maker"),
        migrations.DeleteModel("Maker"),
        migrations.AlterField("item", "amount", models.PositiveIntegerField()),
        """,
        "0003_apart",
    ),
    "0005_tidy": migration(
        'migrations.RunSQL("INSERT INTO shop_tag DEFAULT VALUES", migrations.RunSQL.noop)',
        "0004_rest",
        'phase = "contract"',
    ),
}
"""Migrations with several debts each, atomic and not, and one that is owed whole."""

OLD = (
    "INSERT INTO shop_item (name, colour, code, size, amount, maker_id)"
    " VALUES ('jug', 'blue', gen_random_uuid()::text::varchar(20), 1, 1, NULL)",
    "SELECT name, colour, code, size, amount, status, maker_id FROM shop_item",
    "UPDATE shop_item SET name = 'pot', colour = 'red' WHERE id = 1",
    "SELECT id FROM shop_maker",
    "SELECT item_id, tag_id FROM shop_item_tags",
)
NEW = (
    "INSERT INTO shop_item (name, code, amount, status, flag)"
    " VALUES ('jug', gen_random_uuid()::text::varchar(20), 1, 'new', true)",
    "SELECT name, code, amount, status, flag FROM shop_item",
    "UPDATE shop_item SET name = 'pot', flag = true WHERE id = 1",
)
OWED = (
    "SELECT migration, operation, kind, table_name, object, payment, details FROM migrator_debts WHERE state = 'owed'"
    " ORDER BY 1, 2, 3, 5"
)
LEDGER = (
    "SELECT app || '.' || name FROM migrator_attempts WHERE outcome = 'succeeded' AND direction = 'apply' ORDER BY name"
)
LEFT_OPEN = (
    "SELECT (SELECT count(*) FROM migrator_attempts WHERE finished_at IS NULL),"
    " (SELECT count(*) FROM migrator_runs WHERE finished_at IS NULL),"
    " (SELECT count(*) FROM migrator_debts WHERE state <> 'owed')"
)


def send(url: str, statements: tuple[str, ...]) -> None:
    """What a code sends; none fails."""
    for statement in statements:
        query(url, statement)


@dataclass(frozen=True)
class Owed:
    """A release that leaves debts, the database before it, and how it all stands after a run that nobody disturbed."""

    release: Release
    server_url: str
    template: str
    told: Path
    steps: list[str]
    debts: list[tuple[object, ...]]
    schema: catalog.Catalog

    def before(self) -> AbstractContextManager[str]:
        """A database in which the release before serves."""
        return new_database(self.server_url, template=self.template)

    def killed(self, url: str, after: int) -> bool:
        """Whether a run was killed after so many steps; the release before goes on, wherever that was."""
        ended = self.release.killed(url, after, self.told)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stdout + ended.stderr
        send(url, OLD)
        return ended.returncode != 0

    def check(self, url: str) -> None:
        """History, ledger, debts and schema say the same, and both codes work."""
        assert applied(url) == [f"shop.{name}" for name in V2]
        assert [name for (name,) in query(url, LEDGER)] == applied(url)
        assert query(url, OWED) == self.debts
        assert query(url, LEFT_OPEN) == [(0, 0, 0)]
        assert differences(self.schema, catalog_of(url)) == []
        send(url, OLD + NEW + OLD)


@pytest.fixture
def owed(database_url: str, server_url: str, tmp_path: Path) -> Owed:
    """Both releases, and the second one's run up."""
    assert Release(tmp_path, "v1", V1).run(database_url).returncode == 0
    send(database_url, OLD)
    release, told = Release(tmp_path, "v2", V2), tmp_path / "told"
    template = urlsplit(database_url).path.strip("/")
    with new_database(server_url, template=template) as url:
        whole = release.killed(url, 0, told)
        assert whole.returncode == 0, whole.stderr
        found = Owed(
            release, server_url, template, told, told.read_text().splitlines(), query(url, OWED), catalog_of(url)
        )
        found.check(url)
    assert len(found.debts) > 12
    assert found.steps.count("COMMIT") >= len(V2) - 1
    return found


def test_killed_after_any_step_of_owing_the_next_run_finishes_it(owed: Owed) -> None:
    for number, step in enumerate(owed.steps, start=1):
        with owed.before() as url:
            assert owed.killed(url, number), step

            again = owed.release.run(url)

            assert again.returncode == 0, f"killed after {step}:\n{again.stdout}{again.stderr}"
            owed.check(url)


def test_killed_again_and_again_it_comes_to_its_end_and_what_it_owes_is_paid(owed: Owed) -> None:
    with owed.before() as url:
        kills = list(takewhile(partial(owed.killed, url), count(3)))
        assert len(kills) > len(V2)
        owed.check(url)

        paid = owed.release.run(url, "migrate", "--contract")

        assert paid.returncode == 0, paid.stdout + paid.stderr
        assert query(url, OWED) == []
        send(url, NEW)
        assert owed.release.run(url, "schemadiff").returncode == 0
