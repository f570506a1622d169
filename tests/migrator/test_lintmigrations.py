"""`lintmigrations`: what is unsafe is refused by the name of its rule, and what was not looked at is said."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from rupaya.migrator.analysis.gate.findings import RULES
from tests.processes import PROJECT
from tests.warm import python

FIXTURES = Path(__file__).parent / "fixtures"

BAD = {
    "0002_creates_index_without_concurrently": {"scan"},
    "0002_sql_without_a_phase": {"undeclared-phase"},
    "0002_cannot_be_run_again": {"not-repeatable", "writes"},
    "0002_backfills_in_one_transaction": {"fails"},
    "0002_imports_the_model": {"imports-model", "fails"},
    "0002_auto_20261122_1507": {"automatic-name"},
    "0002_payment_note_and_more": {"automatic-name"},
}


@dataclass
class Repository:
    """A git repository with one fixture app, whose first migration alone is committed."""

    path: Path
    app: str
    database_url: str

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True)

    def lint(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "RUPAYA_ENV": "test",
            "DATABASE_URL": self.database_url,
            "DJANGO_SETTINGS_MODULE": "tests.migrator.fixtures.settings",
            "RUPAYA_FIXTURE_APPS": self.app,
            "PYTHONPATH": str(self.path),
        }
        return python(f"{PROJECT}/manage.py", "lintmigrations", *arguments, cwd=self.path, **environ)

    def write(self, name: str, operations: str, attributes: str = "", after: str = "0001_initial") -> None:
        """Write a migration and make it the last."""
        migrations = self.path / self.app / "migrations"
        (migrations / f"{name}.py").write_text(
            "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
            f"    {attributes}\n    dependencies = [({self.app!r}, {after!r})]\n    operations = [{operations}]\n"
        )
        (migrations / "max_migration.txt").write_text(f"{name}\n")


def make_repository(path: Path, app: str, database_url: str) -> Repository:
    repository = Repository(path, app, database_url)
    shutil.copytree(FIXTURES / app, path / app, ignore=shutil.ignore_patterns("__pycache__"))
    repository.git("init", "--quiet")
    first = [f"{app}/__init__.py", f"{app}/migrations/__init__.py", f"{app}/migrations/0001_initial.py"]
    repository.git("add", *first)
    repository.git("commit", "--quiet", "-m", "Release 1")
    return repository


def findings(completed: subprocess.CompletedProcess[str]) -> dict[str, set[str]]:
    """The rules that were broken, by migration."""
    found: dict[str, set[str]] = {}
    for name, rule in re.findall(r"^\w+\.(\w+): ([\w.-]+): ", completed.stderr, re.MULTILINE):
        found.setdefault(name, set()).add(rule)
    return found


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> subprocess.CompletedProcess[str]:
    repository = make_repository(tmp_path_factory.mktemp("bad"), "bad_migrations", server_url)
    repository.git("tag", "deployed")
    return repository.lint()


def make_small(path: Path, database_url: str) -> Repository:
    """A repository of one migration, with its max_migration.txt, and nothing new."""
    repository = make_repository(path, "bad_migrations", database_url)
    for migration in (path / "bad_migrations" / "migrations").glob("0002_*"):
        migration.unlink()
    (path / "bad_migrations" / "migrations" / "max_migration.txt").write_text("0001_initial\n")
    return repository


@pytest.fixture
def small(tmp_path: Path, server_url: str) -> Repository:
    return make_small(tmp_path, server_url)


def test_every_bad_migration_has_an_expectation() -> None:
    assert {path.stem for path in (FIXTURES / "bad_migrations" / "migrations").glob("0002_*.py")} == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_migration_is_refused_by_rule(linted: subprocess.CompletedProcess[str], name: str) -> None:
    assert linted.returncode == 1
    assert findings(linted).get(name, set()) == BAD[name]


def test_conflicting_migrations_are_refused(linted: subprocess.CompletedProcess[str]) -> None:
    assert "dlm.E005: Conflicting migrations detected" in linted.stderr


def test_what_is_deployed_is_not_linted_again(linted: subprocess.CompletedProcess[str]) -> None:
    assert "0001_initial:" not in linted.stderr


def test_a_finding_names_file_operation_statement_table_measure_and_recipe(
    linted: subprocess.CompletedProcess[str],
) -> None:
    lines = linted.stderr.splitlines()
    first = next(number for number, line in enumerate(lines) if "creates_index_without_concurrently: scan" in line)

    assert lines[first] == (
        "bad_migrations.0002_creates_index_without_concurrently: scan: It reads all 12,000 made-up rows of payments "
        "while Share is held on payments: writes wait so long."
    )
    assert [line.split(": ", 1)[0].strip() for line in lines[first + 1 : first + 6]] == [
        "file",
        "operation 1",
        "statement",
        "table",
        "instead",
    ]
    assert lines[first + 1].endswith("bad_migrations/migrations/0002_creates_index_without_concurrently.py")
    assert 'CREATE INDEX "payments_note_idx" ON "payments" ("note")' in lines[first + 3]
    assert "'Add an index'" in lines[first + 5]
    assert "docs/writing-migrations.md" in lines[first + 5]


def test_a_recipe_that_is_named_is_in_the_document() -> None:
    headings = set(re.findall(r"^## (.*?)$", (PROJECT / "docs" / "writing-migrations.md").read_text(), re.MULTILINE))
    named = {name for advice in RULES.values() for name in re.findall(r"'([A-Z][^']+)'", advice)}

    assert named
    assert named <= headings


def test_the_recipes_pass(tmp_path: Path, server_url: str) -> None:
    """What docs/writing-migrations.md shows is what the gate lets through."""
    repository = make_repository(tmp_path, "recipes", server_url)
    repository.git("tag", "deployed")
    completed = repository.lint()
    assert completed.returncode == 0, completed.stderr
    assert "migrations since deployed" in completed.stdout


INDEX = "migrations.AddIndex({model!r}, models.Index({column!r}, name={name!r}))"
CREATE_ORDERS = (
    "migrations.CreateModel('Order', [('id', models.BigAutoField(primary_key=True)), ('note', models.TextField())], "
    "options={'db_table': 'orders'})"
)
REFER = "migrations.AddField('Order', 'payment', models.ForeignKey('Payment', models.PROTECT, null=True))"
VALIDATE = (
    'migrations.RunSQL("ALTER TABLE payments ADD CONSTRAINT few CHECK (quantity < 3) NOT VALID"), '
    "migrations.RunSQL('ALTER TABLE payments VALIDATE CONSTRAINT few')"
)
TAKEN_OVER = (
    "migrations.SeparateDatabaseAndState([migrations.RunSQL('CREATE TABLE bad_migrations_part (id bigint)', '')], "
    "[migrations.CreateModel('Part', [('id', models.BigAutoField(primary_key=True))])]), "
    "migrations.AddField('Part', 'x', models.BooleanField(default=False))"
)


@dataclass(frozen=True)
class Case:
    """A migration of one release: what it does, the rules that it breaks, and what is said of it."""

    name: str
    operations: str
    refused: frozenset[str] = frozenset()
    attributes: str = ""
    said: str = ""


def assert_safe(name: str, operations: str, attributes: str = "", said: str = "") -> Case:
    """A migration that the gate lets through."""
    return Case(name, operations, frozenset(), attributes, said)


def assert_refused(name: str, operations: str, *rules: str, attributes: str = "", said: str = "") -> Case:
    """A migration that breaks these rules, and no other."""
    return Case(name, operations, frozenset(rules), attributes, said)


# One release, tried once; each migration comes after the one before.
CASES = [
    # The index on the old table is refused; the one on the new table, and its foreign key, are not.
    assert_safe("0002_create_orders", CREATE_ORDERS),
    assert_safe("0003_index_orders", f"{INDEX.format(model='Order', column='note', name='orders_note_idx')}, {REFER}"),
    assert_refused(
        "0004_index_payments",
        INDEX.format(model="Payment", column="note", name="payments_note_idx"),
        "scan",
        said='CREATE INDEX "payments_note_idx"',
    ),
    assert_safe(
        "0005_index_notes",
        INDEX.format(model="Payment", column="note", name="payments_note_again"),
        "excused = {'scan': 'a hundred rows, for ever'}",
        "0005_index_notes: scan is excused: a hundred rows, for ever (It reads all 12,000",
    ),
    assert_safe(
        "0006_validate",
        VALIDATE,
        "atomic = False; idempotent = True; phase = 'contract'",
        "bad_migrations.0006_validate presumes something of the rows; made-up ones were refused: ",
    ),
    # Only the state is told of the model.
    assert_safe("0007_through", TAKEN_OVER, "phase = 'expand'"),
    assert_refused(
        "0008_wrong", "migrations.RunSQL('ALTER TABLE nobody ADD COLUMN x int')", "fails", attributes="phase = 'expand'"
    ),
    # It depends on one that fails, so it is not tried.
    assert_refused("0009_more", "migrations.AddField('Payment', 'x', models.TextField(null=True))", "not-looked-at"),
]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> subprocess.CompletedProcess[str]:
    repository = make_small(tmp_path_factory.mktemp("cases"), server_url)
    repository.git("tag", "deployed")
    after = "0001_initial"
    for case in CASES:
        repository.write(case.name, case.operations, case.attributes, after)
        after = case.name
    return repository.lint()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_rule_is_about_its_own_migrations(tried: subprocess.CompletedProcess[str], case: Case) -> None:
    assert frozenset(findings(tried).get(case.name, ())) == case.refused, tried.stderr
    assert case.said in tried.stdout + tried.stderr


def test_what_is_excused_or_noted_is_not_counted(tried: subprocess.CompletedProcess[str]) -> None:
    refused = sum(len(case.refused) for case in CASES)

    assert f"{refused} findings in {len(CASES)} migrations since deployed" in tried.stderr


def test_an_outdated_max_migration_is_refused(small: Repository) -> None:
    small.git("tag", "deployed")
    (small.path / "bad_migrations" / "migrations" / "max_migration.txt").write_text("0001_first\n")
    assert "max_migration.txt: dlm.E003: " in small.lint().stderr


def test_an_empty_comparison_is_said(small: Repository) -> None:
    small.git("tag", "deployed")
    completed = small.lint()
    assert (completed.returncode, completed.stderr) == (0, "")
    assert "\nMigrations are fine: no migrations since deployed (" in completed.stdout


def test_a_squashed_migration_of_deployed_ones_is_nothing_new(small: Repository) -> None:
    small.write("0002_add_x", "migrations.AddField('Payment', 'x', models.TextField(null=True))")
    small.git("add", ".")
    small.git("commit", "--quiet", "-m", "Release 2")
    small.git("tag", "deployed")
    both = f"[({small.app!r}, '0001_initial'), ({small.app!r}, '0002_add_x')]"
    table = "migrations.CreateModel('Payment', [('id', models.BigAutoField(primary_key=True))])"
    small.write("0001_squashed_0002_add_x", table, f"replaces = {both}")
    path = small.path / small.app / "migrations" / "0001_squashed_0002_add_x.py"
    path.write_text(path.read_text().replace(f"dependencies = [({small.app!r}, '0001_initial')]", "dependencies = []"))
    small.write("0003_index", "migrations.AddIndex('Payment', models.Index('x', name='x_idx'))", after=path.stem)
    path.write_text(
        path.read_text().replace(
            "BigAutoField(primary_key=True))]", "BigAutoField(primary_key=True)), ('x', models.TextField(null=True))]"
        )
    )

    completed = small.lint()

    assert findings(completed) == {"0003_index": {"scan"}}, completed.stderr
    assert "in 1 migration since deployed" in completed.stderr


def test_a_missing_base_is_an_error_that_says_how_to_set_it(small: Repository) -> None:
    completed = small.lint()
    assert completed.returncode == 1
    assert "There is no git ref 'deployed' here" in completed.stderr
    assert "git tag --force deployed COMMIT" in completed.stderr


def test_another_base_can_be_named(small: Repository) -> None:
    assert "no migrations since HEAD (" in small.lint("--base", "HEAD").stdout


def test_before_the_first_deployment_only_names_and_order_are_checked_and_that_is_said(small: Repository) -> None:
    completed = small.lint("--base", "none")
    assert completed.returncode == 0
    assert "none of them deployed yet" in completed.stdout
    assert "they were not tried" in completed.stdout


def test_nothing_deployed_is_not_believed_once_the_tag_exists(small: Repository) -> None:
    small.git("tag", "deployed")
    completed = small.lint("--base", "none")
    assert completed.returncode == 1
    assert "there is a tag 'deployed'" in completed.stderr
