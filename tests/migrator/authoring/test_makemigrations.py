"""`makemigrations` writes the steps that two codes survive, says why, and stops where it knows no safe way."""

from __future__ import annotations

import shutil
import subprocess
import sys

import psycopg2
import pytest

from tests.conftest import new_database
from tests.migrator.authoring.changes import CHANGES, REFUSED, added
from tests.migrator.authoring.project import CRATES, MODELS, Project


def steps(project: Project, app: str = "shop") -> tuple[str, ...]:
    return tuple(name[5:] for name in project.written(app))


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        rows = list(cursor.fetchall())
    connection.close()
    return rows


def ruff(project: Project, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "shop/migrations"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "several at once" else pytest.mark.authoring) for name in CHANGES]
)
def test_the_gate_finds_nothing_in_what_is_written(project: Project, name: str) -> None:
    change = CHANGES[name]
    project.write_models(change.models)
    project.write_models(change.crates, "crates")
    project.succeed(*change.makemigrations)
    assert steps(project) == change.steps
    assert steps(project, "crates") == change.crates_steps
    assert (project.migrations / "max_migration.txt").read_text().strip() == list(project.written())[-1]
    assert "No changes" in project.succeed("makemigrations", "--check")
    assert "Migrations are fine" in project.succeed("lintmigrations")
    ruff(project, "check")
    ruff(project, "format", "--check")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "rewrites" in name else pytest.mark.authoring) for name in REFUSED]
)
def test_what_cannot_be_done_safely_is_refused_with_what_to_write(project: Project, name: str) -> None:
    models, advice = REFUSED[name]
    project.write_models(models)
    project.write_models(CRATES.replace("Item", "Article" if "class Article" in models else "Item"), "crates")
    renames = [f"--rename=shop.{one}" for one in ("Maker.name=title", "Maker.city=town", "Item=Article")]
    ran = project.manage("makemigrations", *renames, "--noinput")
    assert ran.returncode == 1
    assert advice in ran.stderr
    assert "Nothing was written" in ran.stderr
    assert not project.written()


@pytest.mark.parametrize("option", ["--noinput", pytest.param("--dry-run", marks=pytest.mark.authoring)])
def test_a_rename_is_never_guessed_where_nobody_can_be_asked(project: Project, option: str) -> None:
    project.write_models(CHANGES["a renamed field that keeps its column"].models.replace("db_column='colour', ", ""))
    ran = project.manage("makemigrations", option)
    assert ran.returncode == 1
    assert "--rename shop.item.colour=color" in ran.stderr
    assert "--no-renames" in ran.stderr
    assert not project.written()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "colour = models.CharField(max_length=20,",
            "color = models.CharField(max_length=30,",
            "shop.Item.color is new",
        ),
        ("class Part(", "class Piece(", "has the table of a model that is gone"),
    ],
)
def test_a_rename_that_django_does_not_see_is_not_one_removed_and_one_added(
    project: Project, old: str, new: str, told: str
) -> None:
    models = MODELS.replace(old, new).replace("unique_together", "db_table = 'shop_part'\n        unique_together", 1)
    project.write_models(models.replace("weight = models.P", "mass = models.P"))
    project.write_models(CRATES.replace("shop.Part", "shop.Piece" if "Piece" in new else "shop.Part"), "crates")
    ran = project.manage("makemigrations", answer="y\ny\n")
    assert ran.returncode == 1
    assert told in ran.stderr
    assert not project.written()


def test_a_rename_that_is_answered_with_yes_is_written_and_explained(project: Project) -> None:
    change = CHANGES["a renamed field"]
    project.write_models(change.models)
    ran = project.manage("makemigrations", "--explain", answer="y\n")
    assert ran.returncode == 0, ran.stderr
    assert steps(project) == change.steps
    lines = {line.split()[0]: line for line in ran.stdout.splitlines() if line.startswith("shop.")}
    assert "the old column" in lines["shop.0002_rename_colour_item_color:"]
    assert "fill" in lines["shop.0003_fill_item_color:"].lower()
    text = project.written()["0002_rename_colour_item_color"]
    assert "RenameFieldInStep(" in text
    assert "# Triggers keep both columns in step" in text


def test_a_rename_that_is_answered_with_no_is_one_removed_and_one_added(project: Project) -> None:
    project.write_models(CHANGES["a renamed field"].models)
    ran = project.manage("makemigrations", answer="n\n")
    assert ran.returncode == 0, ran.stderr
    (written,) = project.written().values()
    assert "migrations.RemoveField(" in written
    assert "migrations.AddField(" in written


@pytest.mark.authoring
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_shown_before_it_is_written_and_what_is_checked_is_not_there(
    project: Project, name: str
) -> None:
    change = CHANGES[name]
    project.write_models(change.models)
    project.write_models(change.crates, "crates")
    shown = project.succeed(*change.makemigrations, "--dry-run", "--explain", "--verbosity=3")
    assert not project.written()
    assert project.manage(*change.makemigrations, "--check").returncode == 1
    lines = [line for line in shown.splitlines() if line.startswith(("shop.", "crates."))]
    assert lines
    assert not any(" ? " in line for line in lines)
    for number, step in enumerate(change.steps, start=2):
        assert any(line.startswith(f"shop.{number:04}_{step}:") for line in lines)


@pytest.mark.authoring
def test_a_wider_type_is_explained(project: Project) -> None:
    project.write_models(CHANGES["a larger number"].models)
    assert "the wider column" in project.succeed("makemigrations", "--noinput", "--explain")
    assert project.written()["0002_widen_item_amount"].count("atomic = False") == 1


def test_removing_and_adding_can_be_said(project: Project) -> None:
    project.write_models(CHANGES["a renamed field"].models)
    project.succeed("makemigrations", "--noinput", "--no-renames")
    assert steps(project) == ("remove_item_colour_item_color",)


def test_plain_is_django(project: Project) -> None:
    project.write_models(CHANGES["several at once"].models)
    project.succeed("makemigrations", "--noinput", "--plain", "--name=all_of_it")
    assert steps(project) == ("all_of_it",)
    assert "atomic" not in project.written()["0002_all_of_it"]


def test_a_name_is_given_to_the_first_step_and_begins_the_others(project: Project) -> None:
    project.write_models(CHANGES["a foreign key"].models)
    printed = project.succeed("makemigrations", "--noinput", "--name=second", "--explain")
    assert steps(project) == ("second", "second_index_item_second")
    assert "old code sees" in printed
    assert "# Built without a lock" in project.written()["0003_second_index_item_second"]


def test_update_does_not_merge_steps(project: Project) -> None:
    project.write_models(CHANGES["a foreign key"].models)
    ran = project.manage("makemigrations", "--noinput", "--update")
    assert ran.returncode == 1
    assert "--update would merge them" in ran.stderr
    assert not project.written()


@pytest.mark.authoring
@pytest.mark.parametrize(
    ("last", "then", "told"),
    [
        (
            "code = models.CharField(max_length=9, null=True)",
            "code = models.CharField(max_length=9, null=True, unique=True)",
            "steps of its own",
        ),
        (
            "slug = models.SlugField(null=True)",
            "slug = models.SlugField(null=True)\n    more = models.TextField(null=True)",
            "says atomic",
        ),
        (
            "code = models.TextField(null=True)",
            "code = models.TextField(null=True)\n    more = models.TextField(null=True)",
            "",
        ),
    ],
)
def test_update_merges_only_what_stays_what_it_is(project: Project, last: str, then: str, told: str) -> None:
    project.write_models(added(last))
    project.succeed("makemigrations", "--noinput", "--name=last")
    before = project.written()
    project.write_models(added(then))
    ran = project.manage("makemigrations", "--noinput", "--update")
    assert ran.returncode == (1 if told else 0), ran.stderr
    assert told in ran.stderr
    if told:
        assert project.written() == before
    else:
        assert len(project.written()) == 1
        assert "No changes" in project.succeed("makemigrations", "--check")


@pytest.mark.authoring
@pytest.mark.parametrize(
    ("models", "answer"),
    [
        (added("count = models.PositiveIntegerField(db_index=True)"), "1\n5\n"),
        (added("second = models.ForeignKey(Maker, models.CASCADE, related_name='+')"), "1\n1\n"),
        (added("made = models.DateTimeField(auto_now_add=True, db_index=True)"), "1\ntimezone.now\n"),
        (MODELS.replace("max_length=20, null=True)", "max_length=20, db_index=True)"), "1\n'red'\n"),
        (MODELS.replace("max_length=20, null=True)", "max_length=20)"), "2\n"),
    ],
)
def test_what_is_answered_is_only_for_the_rows_that_are_there(project: Project, models: str, answer: str) -> None:
    project.write_models(models)
    ran = project.manage("makemigrations", answer=answer)
    assert ran.returncode == 0, ran.stderr
    assert "No changes" in project.succeed("makemigrations", "--check")
    assert "Migrations are fine" in project.succeed("lintmigrations")
    with new_database(project.url) as url:
        project.succeed("migrate", "shop", "0001", "--noinput", url=url, RELEASE="v1")
        maker = "INSERT INTO shop_maker (id, name) VALUES (1, 'one')"
        item = "INSERT INTO shop_item (name, colour, amount, maker_id) VALUES ('old', 'green', 3, 1)"
        project.execute(url, maker, item)
        project.succeed("migrate", "--noinput", url=url, RELEASE="v2")
        project.execute(url, item)
        project.succeed("migrate", "--contract", "--noinput", url=url, RELEASE="v2")
        project.succeed("schemadiff", url=url, RELEASE="v2")
    with new_database(project.url) as url:
        project.succeed("migrate", "--noinput", url=url, RELEASE="v2")


@pytest.mark.authoring
def test_an_app_without_migrations_gets_its_first(project: Project) -> None:
    shutil.rmtree(project.folder / "crates" / "migrations")
    project.write_models(CHANGES["a slug"].models)
    project.write_models(CRATES + "    more = models.SlugField()\n", "crates")
    project.succeed("makemigrations", "crates", "shop", "--noinput")
    assert steps(project) == CHANGES["a slug"].steps
    assert (project.folder / "crates" / "migrations" / "0001_initial.py").exists()


def test_an_empty_migration_and_a_dry_run(project: Project) -> None:
    project.succeed("makemigrations", "shop", "--empty", "--name=mine")
    assert steps(project) == ("mine",)
    project.write_models(CHANGES["a slug"].models)
    assert "index field slug" in project.succeed("makemigrations", "--noinput", "--dry-run", "--verbosity=3")
    assert steps(project) == ("mine",)


def test_two_branches_of_steps_are_merged(project: Project) -> None:
    project.write_models(CHANGES["a slug"].models)
    project.succeed("makemigrations", "--noinput")
    mine = project.written()
    for name in mine:
        (project.migrations / f"{name}.py").rename(project.folder / f"{name}.py")
    (project.migrations / "max_migration.txt").write_text("0001_initial\n")
    project.write_models(CHANGES["an index"].models)
    project.succeed("makemigrations", "--noinput")
    for name in mine:
        (project.folder / f"{name}.py").rename(project.migrations / f"{name}.py")

    project.succeed("makemigrations", "--merge", "--noinput", "--name=merge")

    merged = project.written()["0004_merge"]
    assert '("shop", "0003_index_item_slug")' in merged
    assert '("shop", "0002_index_by_colour")' in merged
    assert "operations = []" in merged
    with new_database(project.url) as url:
        project.succeed("migrate", "--noinput", url=url)


def test_what_another_app_depends_on_is_the_last_step(project: Project) -> None:
    change = CHANGES["two apps that refer to each other"]
    project.write_models(change.models)
    project.write_models(change.crates, "crates")

    project.succeed("makemigrations", "--noinput")

    assert f'("shop", "{list(project.written())[-1]}")' in project.written("crates")["0003_crate_box"]
    assert '("crates", "0002_bin")' in next(iter(project.written().values()))
    assert "No changes" in project.succeed("makemigrations", "--check")
    with new_database(project.url) as url:
        project.succeed("migrate", "--noinput", url=url)


NO_MAKER = (
    MODELS.partition("\n\nclass Item")[2]
    .replace("    maker = models.ForeignKey(Maker, models.CASCADE)\n", "")
    .replace("    maker = models.ForeignKey(Maker, models.CASCADE, null=True)\n", "")
)


def test_what_is_removed_is_removed_in_an_order_in_which_it_can_be(project: Project) -> None:
    project.write_models("\n\nclass Item" + NO_MAKER)

    project.succeed("makemigrations", "--noinput", "--no-renames")

    assert "No changes" in project.succeed("makemigrations", "--check")
    with new_database(project.url) as url:
        project.succeed("migrate", "shop", "0001", "--noinput", url=url, RELEASE="v1")
        project.succeed("migrate", "--noinput", url=url, RELEASE="v2")
        project.succeed("migrate", "--contract", "--noinput", url=url, RELEASE="v2")
        project.succeed("schemadiff", url=url, RELEASE="v2")


@pytest.mark.authoring
def test_the_content_type_follows_a_renamed_model_whose_table_is_pinned(project: Project, database_url: str) -> None:
    listed = "SELECT id, model FROM django_content_type WHERE app_label = 'shop' AND model IN ('item', 'article')"
    project.succeed("migrate", "--noinput", url=database_url)
    ((number, before),) = query(database_url, listed)
    project.write_models(CHANGES["a renamed model that keeps its table"].models)
    project.write_models(CHANGES["a renamed model that keeps its table"].crates, "crates")
    project.succeed("makemigrations", "--noinput")
    project.succeed("migrate", "--noinput", url=database_url)
    assert before == "item"
    assert query(database_url, listed) == [(number, "article")]
    project.succeed("migrate", "shop", "0001", "--noinput", url=database_url)
    assert query(database_url, listed) == [(number, "item")]


@pytest.mark.authoring
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "id = models.AutoField(primary_key=True)",
            "id = models.BigIntegerField(primary_key=True)",
            "another primary key",
        ),
        (
            "rank = models.DecimalField(max_digits=4, decimal_places=2, null=True, unique=True)",
            "rank = models.DecimalField(max_digits=8, decimal_places=4, null=True, unique=True)",
            "it is unique, and",
        ),
        *(
            (f"about = models.TextField({options})", f"about = models.JSONField({options})", "from text to jsonb")
            for options in ("blank=True", "default=''", "db_index=True", "db_default='x'")
        ),
    ],
)
def test_a_type_that_cannot_have_a_column_beside_it_is_refused(
    project: Project, before: str, after: str, told: str
) -> None:
    project.write_models(added(before))
    project.succeed("makemigrations", "--noinput", "--plain", "--name=before")
    project.deploy()
    project.write_models(added(after))
    ran = project.manage("makemigrations", "--noinput")
    assert ran.returncode == 1
    assert told in ran.stderr
    assert "'Change a type, when rows have to be rewritten'" in ran.stderr
    assert not project.written()
