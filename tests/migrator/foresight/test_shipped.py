"""The file that is shipped with this code says what its migrations presume, as they are now."""

from __future__ import annotations

from pathlib import Path

from tests.server.service import PROJECT, manage


def test_the_file_is_what_the_migrations_presume(migrated_url: str, tmp_path: Path) -> None:
    ran = manage(PROJECT, "presumptions", "--write", str(tmp_path / "now.json"), DATABASE_URL=migrated_url)

    assert ran.returncode == 0, ran.stderr
    committed = (PROJECT / "rupaya" / "presumptions.json").read_text()
    assert (tmp_path / "now.json").read_text() == committed, "run 'make schema' and commit rupaya/presumptions.json"
