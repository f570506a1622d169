"""What is known of a plan's presumptions: the file that is shipped with the code, as far as it is of this code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db.migrations.migration import Migration

from rupaya.migrator.foresight.presumption import Presumed
from rupaya.migrator.plan.fingerprint import file_hash_of


@dataclass(frozen=True)
class KnownPresumptions:
    """The presumptions of a plan's migrations, in its order."""

    labels: tuple[str, ...]
    steps: tuple[Presumed, ...]
    """Of those that nothing is known of, an empty one that may write anywhere."""
    unknown: tuple[str, ...]
    """Migrations that the file does not have, or not as they are now."""


def of_plan(migrations: Iterable[Migration], found: Mapping[str, Presumed] | None = None) -> KnownPresumptions:
    """What these presume, one after the other; `found` instead of what the file says."""
    shipped = _file() if found is None else found
    labels, steps, unknown = [], [], []
    for migration in migrations:
        step = shipped.get(str(migration))
        if step is None or step.hash != file_hash_of(migration):
            unknown.append(str(migration))
            step = Presumed("", writes=["*"])
        labels.append(str(migration))
        steps.append(step)
    return KnownPresumptions(tuple(labels), tuple(steps), tuple(unknown))


def of_migration(app: str, name: str) -> Presumed | None:
    """What the file says of one migration that may be applied long since."""
    return _file().get(f"{app}.{name}")


def is_shipped() -> bool:
    """Whether this code has such a file at all."""
    return bool(getattr(settings, "MIGRATOR_PRESUMPTIONS", None))


def _file() -> Mapping[str, Presumed]:
    path = getattr(settings, "MIGRATOR_PRESUMPTIONS", None)
    return _read(Path(path)) if path else {}


@lru_cache(maxsize=4)
def _read(path: Path) -> Mapping[str, Presumed]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return {label: Presumed.from_dict(plain) for label, plain in document.items()}
