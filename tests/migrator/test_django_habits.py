"""In somebody else's project `migrate` and `showmigrations` behave as Django's own do."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.conftest import new_database
from tests.faults.migrator import applied, query
from tests.processes import PROJECT
from tests.warm import python

MODELS = """
from django.db import models

class Thing(models.Model):
    name = models.CharField(max_length=20)
"""
INITIAL = """
from django.db import migrations, models

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")

class Migration(migrations.Migration):
    initial = True
    operations = [migrations.CreateModel("Thing", [("id", ID),
                                                   ("name", models.CharField(max_length=20))])]
"""
SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["rupaya.migrator", "django.contrib.contenttypes", {apps}]
def database(url):
    from urllib.parse import parse_qs, urlsplit
    parts = urlsplit(url)
    return {{"ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:].partition("?")[0],
             "USER": parts.username, "HOST": parse_qs(parts.query)["host"][0],
             "TEST": {{"NAME": os.environ.get("TEST_NAME")}}}}
DATABASES = {{"default": database(os.environ["URL"])}}
if os.environ.get("OTHER_URL"):
    DATABASES["other"] = database(os.environ["OTHER_URL"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
{extra}
"""


class Foreign:
    """A project that is not this one, with apps of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.apps: list[str] = []

    def app(self, name: str, entry: str = "", *, models: str = MODELS, **migrations: str) -> Path:
        package = self.folder / name
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "models.py").write_text(models)
        (package / "migrations").mkdir()
        (package / "migrations" / "__init__.py").touch()
        for migration, text in (migrations or {"m0001_initial": INITIAL}).items():
            (package / "migrations" / f"{migration[1:]}.py").write_text(text)
        self.apps.append(entry or name)
        return package

    def manage(self, *arguments: str, extra: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        apps = ", ".join(map(repr, self.apps))
        (self.folder / "foreign_settings.py").write_text(SETTINGS.format(apps=apps, extra=extra))
        return self.python("-m", "django", *arguments, **variables)

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {"URL": self.url, "DJANGO_SETTINGS_MODULE": "foreign_settings", "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"PYTHONPATH": f"{self.folder}:{PROJECT}"}
        return python(*arguments, cwd=self.folder, **(env | variables))


@pytest.fixture
def foreign(tmp_path: Path, database_url: str) -> Foreign:
    return Foreign(tmp_path, database_url)


def tables(url: str) -> set[str]:
    return {name for (name,) in query(url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")}


RELEASE = 'RELEASE = "v1"'


@pytest.mark.parametrize(
    ("entry", "extra"),
    [
        ("blog", ""),
        ("blog.apps.BlogConfig", ""),
        ("blog.apps.Labelled", ""),
        ("blog", 'MIGRATION_MODULES = {"blog": "moved"}'),
    ],
    ids=["a package", "an AppConfig", "another label", "MIGRATION_MODULES"],
)
def test_a_second_start_of_a_release_has_nothing_to_do_however_the_app_is_named(
    foreign: Foreign, entry: str, extra: str
) -> None:
    package = foreign.app("blog", entry)
    (package / "apps.py").write_text(
        "from django.apps import AppConfig\n"
        'class BlogConfig(AppConfig):\n    name = "blog"\n    default = True\n'
        'class Labelled(AppConfig):\n    name = "blog"\n    label = "diary"\n'
    )
    if extra:
        (package / "migrations").rename(foreign.folder / "moved")
    first = foreign.manage("migrate", "--noinput", extra=f"{RELEASE}\n{extra}")
    second = foreign.manage("migrate", "--noinput", extra=f"{RELEASE}\n{extra}")

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "Nothing to migrate: all 3 migrations are applied" in second.stdout
    assert "interrupted" not in second.stdout
    assert query(foreign.url, "SELECT count(*) FROM migrator_runs") == [(1,)]


@pytest.mark.parametrize("litter", [".#0001_initial.py", "._0001_initial.py", "~0001.py", "0001 copy.txt"])
def test_litter_beside_the_migrations_is_ignored(foreign: Foreign, litter: str) -> None:
    package = foreign.app("blog")
    (package / "migrations" / litter).symlink_to("/nowhere")

    first = foreign.manage("migrate", "--noinput", extra=RELEASE)
    second = foreign.manage("migrate", "--noinput", extra=RELEASE)

    assert first.returncode == second.returncode == 0, first.stderr
    assert query(foreign.url, "SELECT count(*) FROM migrator_runs") == [(1,)]
    assert "Nothing to migrate" in second.stdout


def test_compiled_migrations_are_enough(foreign: Foreign) -> None:
    import py_compile

    package = foreign.app("blog")
    source = package / "migrations" / "0001_initial.py"
    py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
    source.unlink()

    ran = foreign.manage("migrate", "--noinput", extra=RELEASE)

    assert ran.returncode == 0, ran.stderr
    assert "blog.0001_initial" in applied(foreign.url)
    assert "Nothing to migrate" in foreign.manage("migrate", "--noinput", extra=RELEASE).stdout


def test_run_syncdb_makes_the_tables_that_django_takes_for_unmigrated(foreign: Foreign) -> None:
    foreign.app("blog")
    foreign.app("diary")

    ran = foreign.manage("migrate", "--run-syncdb", extra='MIGRATION_MODULES = {"blog": None}')

    assert ran.returncode == 0, ran.stderr
    assert {"blog_thing", "diary_thing"} <= tables(foreign.url)


def test_the_callers_transaction_and_rows_are_left_alone(foreign: Foreign) -> None:
    foreign.app("blog")
    assert foreign.manage("migrate", extra=RELEASE).returncode == 0
    program = """
import django; django.setup()
from django.core.management import call_command
from django.db import transaction
from blog.models import Thing
with transaction.atomic():
    Thing.objects.create(name="kept")
    call_command("migrate", check_unapplied=True, verbosity=0)
    call_command("migrate", plan=True, verbosity=0)
    call_command("migrate", verbosity=0)
    call_command("showmigrations", format="plan", verbosity=0)
    assert Thing.objects.count() == 1
assert Thing.objects.count() == 1
"""
    ran = foreign.python("-c", program)

    assert ran.returncode == 0, ran.stderr
    assert "[X]  blog.0001_initial" in ran.stdout


RECEIVERS = """
from django.db.models.signals import post_migrate, pre_migrate

def heard(sender, verbosity, signal, **kwargs):
    if sender.label == "blog":
        print("heard", "pre" if signal is pre_migrate else "post", verbosity)

post_migrate.connect(heard)
pre_migrate.connect(heard)
"""


def test_the_first_start_of_each_release_sends_the_signals_and_later_ones_do_not(foreign: Foreign) -> None:
    package = foreign.app("blog")
    (package / "management").mkdir()
    (package / "management" / "__init__.py").write_text(RECEIVERS)
    starts = [foreign.manage("migrate", extra=f'RELEASE = "{release}"') for release in ("v1", "v2", "v2")]

    assert [start.returncode for start in starts] == [0, 0, 0], starts[0].stderr
    assert [start.stdout.count("heard pre 1\n") for start in starts] == [1, 1, 0]
    assert [start.stdout.count("heard post 1\n") for start in starts] == [1, 1, 0]
    assert "First start of release v2" in starts[1].stdout
    assert "Nothing to migrate" in starts[2].stdout
    assert not any("interrupted" in start.stdout or "last run" in start.stdout for start in starts)


def test_without_a_releases_name_every_start_sends_the_signals(foreign: Foreign) -> None:
    package = foreign.app("blog")
    (package / "management").mkdir()
    (package / "management" / "__init__.py").write_text(RECEIVERS)

    starts = [foreign.manage("migrate") for _ in range(3)]

    assert [start.stdout.count("heard post 1\n") for start in starts] == [1, 1, 1]
    assert query(foreign.url, "SELECT count(*) FROM migrator_runs") == [(1,)]


def test_models_without_a_migration_are_mentioned(foreign: Foreign) -> None:
    package = foreign.app("blog")
    assert foreign.manage("migrate").returncode == 0
    (package / "models.py").write_text(MODELS + "    size = models.IntegerField(null=True)\n")

    ran = foreign.manage("migrate")

    assert "have changes that are not yet reflected in a migration" in ran.stdout


def test_another_postgresql_database_is_migrated_with_a_ledger_of_its_own(foreign: Foreign, server_url: str) -> None:
    foreign.app("blog")

    with new_database(server_url) as other_url:
        ran = foreign.manage("migrate", "--database", "other", OTHER_URL=other_url)

        assert ran.returncode == 0, ran.stderr
        assert {"blog_thing", "migrator_runs"} <= tables(other_url)
        assert tables(foreign.url) == set()


def test_a_database_of_another_engine_is_left_to_djangos_command(foreign: Foreign) -> None:
    foreign.app("blog")
    extra = 'DATABASES["lite"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "lite.sqlite3"}'

    ran = foreign.manage("migrate", "--database", "lite", extra=extra)

    assert ran.returncode == 0, ran.stderr
    assert "Applying blog.0001_initial... OK" in ran.stdout


def test_fake_initial_is_said_and_recorded(foreign: Foreign) -> None:
    foreign.app("blog")
    query(foreign.url, "CREATE TABLE blog_thing (id bigserial PRIMARY KEY, name varchar(20))")

    ran = foreign.manage("migrate", "--fake-initial")

    assert ran.returncode == 0, ran.stderr
    assert query(foreign.url, "SELECT faked FROM migrator_attempts WHERE app = 'blog'") == [(True,)]
    assert "blog.0001_initial" in ran.stdout
    assert " faked" in ran.stdout


def test_tables_of_apps_that_a_router_refuses_are_nobodys_business(foreign: Foreign) -> None:
    foreign.app("blog")
    (foreign.folder / "routing.py").write_text(
        "class Router:\n    def allow_migrate(self, db, app_label, **hints):\n        return app_label != 'blog'\n"
    )
    query(foreign.url, "CREATE TABLE blog_thing (id bigserial PRIMARY KEY)")

    ran = foreign.manage("migrate", extra='DATABASE_ROUTERS = ["routing.Router"]')

    assert ran.returncode == 0, ran.stderr


def test_a_receiver_that_migrates_is_part_of_the_run(foreign: Foreign) -> None:
    package = foreign.app("blog")
    foreign.app("diary")
    (package / "management").mkdir()
    (package / "management" / "__init__.py").write_text(
        "from django.core.management import call_command\n"
        "from django.db.models.signals import post_migrate\n"
        "done = []\n"
        "def again(sender, **kwargs):\n"
        "    if sender.label == 'blog' and not done:\n"
        "        done.append(sender)\n"
        "        call_command('migrate', 'diary')\n"
        "post_migrate.connect(again)\n"
    )

    ran = foreign.manage("migrate", "blog", extra=RELEASE + "\nMIGRATE_LOCK_WAIT_S = 3\nMIGRATE_DEADLINE_S = 2")

    assert ran.returncode == 0, ran.stderr
    assert "diary.0001_initial" in applied(foreign.url)


SQUASHED = """
from django.db import migrations, models

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")

class Migration(migrations.Migration):
    {replaces}
    initial = True
    operations = [migrations.CreateModel("Thing", [("id", ID),
                                                   ("name", models.CharField(max_length=20)),
                                                   ("size", models.IntegerField(null=True))])]
"""
ADD_SIZE = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("blog", "0001_initial")]
    operations = [migrations.AddField("Thing", "size", models.IntegerField(null=True))]
"""
AFTER = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("diary", "0001_initial"), ("blog", "{name}")]
    operations = []
"""
SIZED = MODELS + "    size = models.IntegerField(null=True)\n"


def test_a_squash_goes_through_all_its_stages(foreign: Foreign) -> None:
    package = foreign.app("blog", models=SIZED, m0001_initial=INITIAL, m0002_add_size=ADD_SIZE)
    folder = package / "migrations"
    assert foreign.manage("migrate", extra='RELEASE = "v1"').returncode == 0
    replaces = 'replaces = [("blog", "0001_initial"), ("blog", "0002_add_size")]'
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=replaces))

    audited = foreign.manage("showmigrations", "--audit", "--check", extra='RELEASE = "v2"')
    recorded = foreign.manage("migrate", extra='RELEASE = "v2"')

    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert recorded.returncode == 0, recorded.stderr
    assert "blog.0001_squashed_0002_add_size" in applied(foreign.url)
    planned = foreign.manage("rollback", "--plan", extra='RELEASE = "v2"')
    assert planned.returncode == 0, planned.stderr
    assert "table blog_thing is put away with 0 rows" in planned.stdout
    assert foreign.manage("schemadiff", extra='RELEASE = "v2"').returncode == 0

    for name in ("0001_initial", "0002_add_size"):
        (folder / f"{name}.py").unlink()
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=""))
    cleaned = foreign.manage("migrate", extra='RELEASE = "v3"')

    assert cleaned.returncode == 0, cleaned.stderr
    assert "from before a squash was finished" in foreign.manage("migrate", "-v1", extra='RELEASE = "v3"').stdout
    audited = foreign.manage("showmigrations", "--audit", "--check", extra='RELEASE = "v3"')
    assert audited.returncode == 0, audited.stdout + audited.stderr


READINESS = """
import django; django.setup()
from django.db import connection
from rupaya.health.schema import read_schema_state
from rupaya.migrator.analysis.audit import audit, is_clean
from rupaya.migrator.ledger.ledger import Ledger
from django.db.migrations.loader import MigrationLoader
connection.ensure_connection()
state = read_schema_state(connection.connection)
entries = audit(MigrationLoader(connection), connection, Ledger(connection.connection))
print("pending", state.pending, "breaking", state.breaking, "clean", is_clean(entries), state.unready_reason)
"""
READY = "pending 0 breaking 0 clean True"
REPLACES = 'replaces = [("blog", "0001_initial"), ("blog", "0002_add_size")]'


def test_a_squash_of_which_only_a_part_is_applied_is_gone_on_with(foreign: Foreign) -> None:
    folder = foreign.app("blog", models=SIZED) / "migrations"
    assert foreign.manage("migrate", extra='RELEASE = "v1"').returncode == 0
    (folder / "0002_add_size.py").write_text(ADD_SIZE)
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=REPLACES))
    before = foreign.python("-c", READINESS)

    ran = foreign.manage("migrate", extra='RELEASE = "v2"')

    assert before.stdout.startswith("pending 1 "), before.stderr
    assert ran.returncode == 0, ran.stderr
    assert {"blog.0002_add_size", "blog.0001_squashed_0002_add_size"} <= set(applied(foreign.url))
    assert READY in foreign.python("-c", READINESS).stdout
    assert foreign.manage("schemadiff", extra='RELEASE = "v2"').returncode == 0
    before_rollback = applied(foreign.url)
    rolled_back = foreign.manage("rollback", extra='RELEASE = "v2"')
    assert rolled_back.returncode == 14, rolled_back.stdout + rolled_back.stderr
    assert (
        "blog.0001_squashed_0002_add_size stands for blog.0001_initial as well, which is not of the batch"
        in rolled_back.stderr
    )
    assert applied(foreign.url) == before_rollback


def test_a_dependency_that_squashes_is_nothing_to_worry_about(foreign: Foreign) -> None:
    """Another package brings the squash and keeps the replaced files; nobody here has done anything."""
    folder = foreign.app("blog", models=SIZED, m0001_initial=INITIAL, m0002_add_size=ADD_SIZE) / "migrations"
    later = ADD_SIZE.replace("0001_initial", "0001_squashed_0002_add_size").replace('"size"', '"weight"')
    assert foreign.manage("migrate", extra='RELEASE = "v1"').returncode == 0
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=REPLACES))
    (folder / "0003_add_weight.py").write_text(later)

    assert foreign.python("-c", READINESS).stdout.startswith("pending 1 ")
    ran = foreign.manage("migrate", extra='RELEASE = "v2"')

    assert ran.returncode == 0, ran.stderr
    assert "blog.0003_add_weight" in applied(foreign.url)
    assert READY in foreign.python("-c", READINESS).stdout


def test_a_new_database_is_built_by_the_squash_alone(foreign: Foreign) -> None:
    folder = foreign.app("blog", models=SIZED, m0001_initial=INITIAL, m0002_add_size=ADD_SIZE) / "migrations"
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=REPLACES))

    ran = foreign.manage("migrate", extra='RELEASE = "v1"')

    assert ran.returncode == 0, ran.stderr
    assert "✓ blog.0001_squashed_0002_add_size" in ran.stdout
    assert READY in foreign.python("-c", READINESS).stdout
    assert "Nothing to migrate" in foreign.manage("migrate", extra='RELEASE = "v1"').stdout


def test_a_squash_of_squashes_goes_through_all_its_stages(foreign: Foreign) -> None:
    """Since Django 6.0 a squash may replace another one that is still there; before, the first is finished by then."""
    folder = foreign.app("blog", models=SIZED, m0001_initial=INITIAL, m0002_add_size=ADD_SIZE) / "migrations"
    weighed = ADD_SIZE.replace('"size"', '"weight"').replace("IntegerField", "FloatField")
    other = foreign.app("diary", m0001_initial=INITIAL) / "migrations"
    assert foreign.manage("migrate", extra='RELEASE = "v1"').returncode == 0
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=REPLACES))
    assert foreign.manage("migrate", extra='RELEASE = "v2"').returncode == 0
    for name in ("0001_initial", "0002_add_size"):
        (folder / f"{name}.py").unlink()
    (folder / "0001_squashed_0002_add_size.py").write_text(SQUASHED.format(replaces=""))
    (folder / "0003_add_weight.py").write_text(weighed.replace("0001_initial", "0001_squashed_0002_add_size"))
    assert foreign.manage("migrate", extra='RELEASE = "v3"').returncode == 0

    again = 'replaces = [("blog", "0001_squashed_0002_add_size"), ("blog", "0003_add_weight")]'
    whole = SQUASHED.replace("null=True))])]", 'null=True)),\n ("weight", models.FloatField(null=True))])]')
    (folder / "0001_squashed_0003.py").write_text(whole.format(replaces=again))
    (folder.parent / "models.py").write_text(SIZED + "    weight = models.FloatField(null=True)\n")
    (other / "0002_after.py").write_text(AFTER.format(name="0003_add_weight"))
    before = foreign.python("-c", READINESS)
    recorded = foreign.manage("migrate", extra='RELEASE = "v4"')

    assert before.stdout.startswith("pending 1 "), before.stdout + before.stderr
    assert recorded.returncode == 0, recorded.stderr
    assert {"blog.0001_squashed_0003", "diary.0002_after"} <= set(applied(foreign.url))
    for name in ("0001_squashed_0002_add_size", "0003_add_weight"):
        (folder / f"{name}.py").unlink()
    (folder / "0001_squashed_0003.py").write_text(whole.format(replaces=""))
    (other / "0002_after.py").write_text(AFTER.format(name="0001_squashed_0003"))
    finished = foreign.manage("migrate", extra='RELEASE = "v5"')

    assert finished.returncode == 0, finished.stderr
    assert READY in foreign.python("-c", READINESS).stdout
    for command in (["schemadiff"], ["showmigrations", "--audit", "--check"], ["makemigrations", "--check"]):
        ran = foreign.manage(*command, extra='RELEASE = "v5"')
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    with new_database(foreign.url) as url:
        foreign.url = url
        assert foreign.manage("migrate", extra='RELEASE = "v5"').returncode == 0
        assert READY in foreign.python("-c", READINESS).stdout


def test_two_services_on_one_database_do_not_take_each_other_down(foreign: Foreign, tmp_path: Path) -> None:
    """Each sees in the history what the other applied, breaking or not, and knows that it is not its own."""
    breaking = INITIAL.replace("initial = True", 'initial = True\n    phase = "contract"')
    foreign.app("blog")
    (tmp_path / "second").mkdir()
    second = Foreign(tmp_path / "second", foreign.url)
    second.app("polls", m0001_initial=breaking)
    assert foreign.manage("migrate", extra='RELEASE = "blog-1"').returncode == 0

    for service, release, app in ((second, "polls-1", "polls"), (foreign, "blog-1", ""), (second, "polls-1", "")):
        ran = service.manage("migrate", extra=f'RELEASE = "{release}"')
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (f"{app}.0001_initial" in ran.stdout) if app else ("Nothing to migrate" in ran.stdout)
        assert READY in service.python("-c", READINESS).stdout
        audited = service.manage("showmigrations", "--audit", "--check", extra=f'RELEASE = "{release}"')
        assert audited.returncode == 0, audited.stdout + audited.stderr

    # The other's next release, which takes something away, is nobody's business here.
    folder = second.folder / "polls" / "migrations"
    (folder / "0002_drop_name.py").write_text(
        "from django.db import migrations\n\nclass Migration(migrations.Migration):\n"
        '    phase = "contract"\n    dependencies = [("polls", "0001_initial")]\n'
        '    operations = [migrations.RemoveField("Thing", "name")]\n'
    )
    assert second.manage("migrate", "--contract", extra='RELEASE = "polls-2"').returncode == 0
    for release in ("blog-1", "blog-2"):
        ran = foreign.manage("migrate", extra=f'RELEASE = "{release}"')
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "pending 0 breaking 0" in foreign.python("-c", READINESS).stdout


def test_the_role_that_django_assumes_owns_everything(foreign: Foreign) -> None:
    foreign.app("blog")
    role = f"Shop Owner {abs(hash(foreign.url)) % 10**8}"
    query(foreign.url, f'CREATE ROLE "{role}"; GRANT ALL ON SCHEMA public TO "{role}"')
    assumed = f'DATABASES["default"]["OPTIONS"] = {{"assume_role": "{role}"}}'
    try:
        for release in ("v1", "v1", "v2"):
            ran = foreign.manage("migrate", extra=f'RELEASE = "{release}"\n{assumed}')
            assert ran.returncode == 0, ran.stdout + ran.stderr
        audited = foreign.manage("showmigrations", "--audit", "--check", extra=f'RELEASE = "v2"\n{assumed}')
        assert audited.returncode == 0, audited.stdout + audited.stderr
        owners = query(foreign.url, "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'")
        assert owners == [(role,)]
    finally:
        query(foreign.url, f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_an_app_that_was_uninstalled_stops_nobody(foreign: Foreign) -> None:
    foreign.app("blog")
    foreign.app("polls", m0001_initial=INITIAL.replace("initial = True", 'initial = True\n    phase = "contract"'))
    assert foreign.manage("migrate", extra='RELEASE = "v1"').returncode == 0
    foreign.apps.remove("polls")

    ran = foreign.manage("migrate", extra='RELEASE = "v2"')

    assert ran.returncode == 0, ran.stderr
    assert "1 migration of apps that this release does not install: polls.0001_initial" in ran.stdout

    pruned = foreign.manage("migrate", "polls", "--prune", extra='RELEASE = "v2"')
    assert pruned.returncode == 0, pruned.stderr
    assert "✓ pruned polls.0001_initial" in pruned.stdout
    assert "polls.0001_initial" not in applied(foreign.url)
    unknown = foreign.manage("migrate", "nobody", "--prune", extra='RELEASE = "v2"')
    assert "No installed app with label 'nobody'" in unknown.stderr


@pytest.mark.parametrize("options", [[], ["--keepdb"]], ids=" ".join)
@pytest.mark.parametrize("migrate", [True, False])
def test_test_databases_are_made(foreign: Foreign, options: list[str], migrate: bool) -> None:
    package = foreign.app("blog")
    (package / "tests.py").write_text(
        "from django.test import TestCase\nfrom blog.models import Thing\n"
        "from django.core.management import call_command\n"
        "class T(TestCase):\n    def test(self):\n        Thing.objects.create(name='x')\n"
        f"        if {migrate}:\n            call_command('migrate', check_unapplied=True, verbosity=0)\n"
        "        assert Thing.objects.count() == 1\n"
    )
    extra = f'DATABASES["default"]["TEST"]["MIGRATE"] = {migrate}'
    name = f"test_{foreign.url.partition('?')[0].rpartition('/')[2]}"

    ran = foreign.manage("test", *options, extra=extra, TEST_NAME=name)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    query(foreign.url, f'DROP DATABASE IF EXISTS "{name}"')


def test_the_document_for_other_projects_works_literally(tmp_path: Path, database_url: str) -> None:
    document = (PROJECT / "docs" / "using-the-migrator.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    foreign = Foreign(tmp_path, database_url)
    assert foreign.python("-m", "django", "startproject", "site_of_others", ".").returncode == 0
    settings = tmp_path / "site_of_others" / "settings.py"
    ours = SETTINGS.format(apps="", extra="").partition("def database")[2].partition("if os.environ")[0]
    settings.write_text(f"import os\n{settings.read_text()}\ndef database{ours}\n{textwrap.dedent(block)}")
    variables = {"DJANGO_SETTINGS_MODULE": "site_of_others.settings", "RELEASE": "v1"}

    checked = foreign.python("manage.py", "check", **variables)
    first = foreign.python("manage.py", "migrate", "--noinput", **variables)
    second = foreign.python("manage.py", "migrate", "--noinput", **variables)

    assert checked.returncode == first.returncode == second.returncode == 0, checked.stderr + first.stderr
    assert "auth_user" in tables(database_url)
    assert query(database_url, "SELECT count(*) FROM migrator_runs") == [(1,)]


def test_an_app_that_brings_its_own_migrate_is_noticed(foreign: Foreign) -> None:
    package = foreign.app("blog")
    commands = package / "management" / "commands"
    commands.mkdir(parents=True)
    (commands / "migrate.py").write_text("from django.core.management.commands.migrate import Command\n")

    checked = foreign.manage("check", extra='INSTALLED_APPS = ["blog", "rupaya.migrator", *INSTALLED_APPS[1:-1]]')

    assert checked.returncode == 1
    assert "migrator.E005" in checked.stderr

    hidden = foreign.manage("check", extra='INSTALLED_APPS = ["rupaya.migrator", "blog", *INSTALLED_APPS[1:-1]]')

    assert hidden.returncode == 0
    assert "migrator.W002) The command migrate of blog is hidden by that of rupaya.migrator" in hidden.stderr
