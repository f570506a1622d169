"""A dependency's migrations, which nobody here wrote: django-axes 0008 to 0010, both releases signing people in.

The older release's django-axes is the installed one without what 0009 and 0010 brought.
"""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path
from typing import Any

import axes
import pytest

from tests.faults.migrator import wait_for
from tests.server.browser import Browser
from tests.server.releases import PRODUCTION
from tests.server.service import Service, manage
from tests.server.test_deployments import query

pytestmark = pytest.mark.debts

EMAIL, PASSWORD = "asha@example.com", "a-password-of-hers"
ROUNDS = 3
OWED = "SELECT migration, kind, object FROM migrator_debts WHERE state = 'owed'"


@pytest.fixture
def older(production_release: Path, tmp_path: Path) -> Path:
    """This release as it was when django-axes ended with 0008."""
    tree = tmp_path / "older"
    shutil.copytree(production_release, tree)
    package = tree / "axes"
    shutil.copytree(Path(axes.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for newer in ("0009_add_session_hash.py", "0010_accessattemptexpiration.py"):
        (package / "migrations" / newer).unlink()
    without(
        package / "models.py",
        r"class AccessAttemptExpiration\(.*?(?=class AccessLog\()",
        r" +session_hash = .*?\n    \)\n",
    )
    without(package / "handlers" / "database.py", r" +AccessAttemptExpiration,\n", r" +session_hash=.*?\n")
    return tree


def without(path: Path, *patterns: str) -> None:
    text = path.read_text()
    for pattern in patterns:
        assert re.search(pattern, text, re.DOTALL), pattern
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    path.write_text(text)


class People:
    """Somebody who signs in with a wrong password, then with the right one, and out, again and again."""

    def __init__(self, service: Service, address: str) -> None:
        self.service, self.address = service, address
        self.rounds = 0
        self.wrong: list[Any] = []
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            while not self._finished.is_set() and not self.wrong:
                browser = Browser(self.service, self.address)
                answers = (
                    browser.sign_in(EMAIL, "another"),
                    browser.sign_in(EMAIL, PASSWORD),
                    browser.request("/admin/second-factor/").status,
                    browser.post("/admin/logout/").status,
                )
                if answers[:3] != (200, 302, 200) or answers[3] not in (200, 302):
                    self.wrong.append(answers)
                self.rounds += 1
        except Exception as error:  # whatever it is, a request failed
            self.wrong.append(error)

    def go_on(self, rounds: int = ROUNDS) -> None:
        wanted = self.rounds + rounds
        wait_for(lambda: self.rounds >= wanted or self.wrong, "people signing in")

    def stop(self) -> None:
        self._finished.set()
        self._thread.join()


def test_both_releases_sign_people_in_all_the_while(older: Path, production_release: Path, database_url: str) -> None:
    before = PRODUCTION | {"DATABASE_URL": database_url, "RELEASE": "v6-0000000"}
    after = PRODUCTION | {"DATABASE_URL": database_url, "MIGRATE_CONTRACT_AFTER_H": "0"}
    assert manage(older, "migrate", "--noinput", **before).returncode == 0
    assert query(database_url, "SELECT max(name) FROM django_migrations WHERE app = 'axes'") == [
        ("0008_accessfailurelog",)
    ]
    made = manage(older, "shell", "-c", MAKE_HER, **before)
    assert made.returncode == 0, made.stderr
    people: list[People] = []
    try:
        with Service(older, **before) as old:
            old.wait_until_ready()
            people.append(People(old, "203.0.113.1"))
            people[0].go_on()
            with Service(production_release, **after) as new:
                new.wait_until_ready()
                assert query(database_url, OWED) == [("0009_add_session_hash", "default", "session_hash")]
                people.append(People(new, "203.0.113.2"))
                for person in people:
                    person.go_on()
                refused = manage(production_release, "migrate", "--contract", **after)
                assert (refused.returncode, "v6-0000000" in refused.stderr) == (14, True), refused.stderr
                people[0].stop()
                old.signal(15)
                assert old.process.wait(60) == 0

                paid = manage(production_release, "migrate", "--contract", **after)

                assert paid.returncode == 0, paid.stdout + paid.stderr
                assert query(database_url, OWED) == []
                people[1].go_on()
                people[1].stop()
    finally:
        for person in people:
            person.stop()
    assert [person.wrong for person in people] == [[], []]
    hashes = query(database_url, "SELECT count(*) FILTER (WHERE session_hash = ''), count(*) FROM axes_accesslog")
    assert 0 < hashes[0][0] < hashes[0][1]


MAKE_HER = f"""
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser(email="{EMAIL}", password="{PASSWORD}")
"""
