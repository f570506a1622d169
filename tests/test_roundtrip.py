"""`make migrate-test`: its command passes, shows every migration's times, and leaves no database behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rupaya.environment import BASE_DIR
from tests.faults.migrator import query
from tests.patience import HANGING_S


@pytest.mark.slow
def test_there_back_and_there_again(database_url: str) -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "tests.roundtrip"],
        cwd=BASE_DIR,
        env=os.environ | {"DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "rupaya.settings"},
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=False,
    )

    assert (completed.returncode, completed.stderr) == (0, "")
    header, *rows, total, verdict = completed.stdout.splitlines()
    assert header.split() == ["migration", "forward", "back", "forward"]
    assert [row.split()[2::2] for row in rows] == [["ms", "ms", "ms"]] * len(rows)
    assert "transactions.0005_summary_views" in {row.split()[0] for row in rows}
    assert total.startswith("all")
    assert verdict.startswith("The schema is the same both times: ")
    assert query(database_url, "SELECT count(*) FROM pg_class WHERE relname = 'django_migrations'") == [(0,)]
