"""What the README tells to look in is there."""

from __future__ import annotations

import re

from tests.server.service import PROJECT


def test_each_path_of_the_readme_exists() -> None:
    text = (PROJECT / "README.md").read_text()
    paths = re.findall(r"`([\w.-]+/[\w./-]*)`", text)

    assert len(paths) > 15
    for path in paths:
        assert any((place / path).exists() for place in (PROJECT, PROJECT / "rupaya" / "migrator")), path
