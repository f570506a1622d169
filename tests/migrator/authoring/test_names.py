"""Tables, columns and models of unusual names and kinds: what is written for them, and its life without traffic."""

from __future__ import annotations

import pytest

from tests.conftest import new_database
from tests.migrator.authoring.project import Project

pytestmark = pytest.mark.authoring

LONG = "a_name_of_as_many_letters_as_the_server_has_place_for_in_names"

MODELS = f"""
class Port(models.Model):
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        db_table = 'A Port'


class Ship(models.Model):
    name = models.CharField(max_length=50)
    load = models.IntegerField(db_column='Load In T', default=0)
    order = models.CharField(max_length=9, null=True)
    home = models.ForeignKey(Port, models.CASCADE, null=True, db_column='Home Port')
    {LONG} = models.IntegerField(null=True)

    class Meta:
        db_table = '"Fleet"'


class Base(models.Model):
    rank = models.IntegerField(default=0)

    class Meta:
        abstract = True


class Person(Base):
    name = models.CharField(max_length=50)


class Captain(Person):
    ship = models.ForeignKey(Ship, models.CASCADE, null=True)
    years = models.IntegerField(default=1)
"""


@pytest.fixture(scope="module")
def _deployed(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> Project:
    return Project.make(tmp_path_factory.mktemp("fleet"), server_url, MODELS, crates="")


CHANGES = {
    "an index": MODELS.replace("db_column='Load In T'", "db_column='Load In T', db_index=True").replace(
        "db_table = '\"Fleet\"'",
        "db_table = '\"Fleet\"'\n        indexes = [models.Index(fields=['name'], name='By Name')]",
    ),
    "a larger number": MODELS.replace("models.IntegerField(", "models.BigIntegerField("),
    "renamed": MODELS.replace("    order =", "    sequence =")
    .replace(LONG, LONG[:-1] + "z")
    .replace("rank =", "grade ="),
    "required": MODELS.replace("max_length=9, null=True", "max_length=9, default=''").replace(
        "null=True, db_col", "default=1, db_col"
    ),
    "unique": MODELS.replace("max_length=9, null=True", "max_length=9, null=True, unique=True").replace(
        LONG, f"extra = models.SlugField(null=True, unique=True)\n    {LONG}", 1
    ),
    "new": MODELS.replace(
        "    years",
        "    token = models.UUIDField('Token', default=uuid.uuid4, unique=True, db_column='The Token')\n    years",
    ).replace(
        "    load",
        "    flag = models.ForeignKey(Port, models.CASCADE, default=1, related_name='+', db_column='A Flag')\n    load",
    ),
    "a child, renamed in code": MODELS.replace("Captain", "Skipper").replace(
        "    ship =", "    class Meta:\n        db_table = 'shop_captain'\n\n    ship ="
    ),
    "a key, renamed in code": MODELS.replace("    ship =", "    vessel =").replace(
        "(Ship, models.CASCADE, null=True)", "(Ship, models.CASCADE, null=True, db_column='ship_id')"
    ),
    "gone": MODELS.replace("    order = models.CharField(max_length=9, null=True)\n", "").replace(
        "    years = models.IntegerField(default=1)\n", ""
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_its_life(project: Project, server_url: str, name: str) -> None:
    project.write_models(CHANGES[name])
    renames = ("Ship.order=sequence", f"Ship.{LONG}={LONG[:-1]}z", "Person.rank=grade")
    project.succeed("makemigrations", "--noinput", "--explain", *(f"--rename=shop.{one}" for one in renames))
    assert "No changes" in project.succeed("makemigrations", "--check")
    assert "Migrations are fine" in project.succeed("lintmigrations")
    with new_database(server_url) as url:
        project.succeed("migrate", "shop", "0001", "--noinput", url=url, RELEASE="v1")
        fill(url)
        project.succeed("migrate", "--noinput", url=url, RELEASE="v2")
        fill(url)
        project.succeed("migrate", "--contract", "--noinput", url=url, RELEASE="v2")
        project.succeed("schemadiff", url=url, RELEASE="v2")
        project.succeed("migrate", "shop", "0001", "--noinput", url=url, RELEASE="v2")
        fill(url)
    project.succeed("squashmigrations", "shop", "0001", max(project.written()), "--noinput")
    with new_database(server_url) as url:
        project.succeed("migrate", "--noinput", url=url)
        project.succeed("schemadiff", url=url)


def fill(url: str) -> None:
    """What old code writes."""
    Project.execute(
        url,
        'INSERT INTO "A Port" (name) VALUES (gen_random_uuid())',
        'INSERT INTO "Fleet" (name, "Load In T", "order", "Home Port", '
        + LONG
        + ") SELECT 'a', 1, NULL, max(id), 5 FROM \"A Port\"",
        'UPDATE "Fleet" SET "order" = id, ' + LONG + " = 7",
        "INSERT INTO shop_person (rank, name) VALUES (3, 'b')",
        "INSERT INTO shop_captain (person_ptr_id, ship_id, years) SELECT max(p.id), max(s.id), 4 "
        'FROM shop_person p, "Fleet" s',
    )
