"""`make migrate-test`: its command passes, shows every migration's times, and leaves no database behind."""

from __future__ import annotations

import pytest

from tests.faults.migrator import query
from tests.processes import python


@pytest.mark.slow
def test_there_back_and_there_again(database_url: str) -> None:
    variables = {"RUPAYA_ENV": "test", "DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "rupaya.settings"}
    completed = python("-m", "tests.roundtrip", **variables)

    assert (completed.returncode, completed.stderr) == (0, "")
    header, *rows, total, verdict = completed.stdout.splitlines()
    assert header.split() == ["migration", "forward", "back", "forward"]
    assert [row.split()[2::2] for row in rows] == [["ms", "ms", "ms"]] * len(rows)
    assert "transactions.0005_summary_views" in {row.split()[0] for row in rows}
    assert total.startswith("all")
    assert verdict.startswith("The schema is the same both times: ")
    assert query(database_url, "SELECT count(*) FROM pg_class WHERE relname = 'django_migrations'") == [(0,)]
