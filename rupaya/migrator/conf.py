"""The MIGRATE_* settings: their defaults, their units and what is nonsense. The only reader of them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields

from django.conf import settings

from rupaya.migrator.errors import EnvironmentUnfit

CHOICES = {
    "batch": ("auto", "each", "all"),
    "phase": ("expand", "all"),
    "on_edited": ("error", "warn"),
    "on_drift": ("error", "warn"),
}


@dataclass(frozen=True)
class Conf:
    """How `migrate` behaves; each field is the setting of the same name, in capitals, after ``MIGRATE_``."""

    db_wait_s: float = 60
    """How long to wait for the server to accept connections at start-up."""
    lock_wait_s: float = 1860
    """How long to wait for another migrator; longer than its deadline, or a waiter gives up on a healthy one."""
    lock_timeout_ms: int = 1000
    """How long one statement may wait for a table lock, and so how long traffic may queue behind it."""
    statement_timeout_ms: int = 5000
    """How long one statement of an atomic migration may run on a live database. 0: no limit."""
    retries: int = 30
    """How often a migration that found its table locked is tried again."""
    deadline_s: float = 1800
    """How long all the work after getting the migrator's lock may take before no further attempt is made."""
    failed_hold_s: float = 900
    """How long a migration that failed deterministically is not tried again."""
    batch: str = "auto"
    """``each``: a transaction a migration. ``all``: one for all. ``auto``: all on an empty history, else each."""
    phase: str = "all"
    """``expand``: hold back migrations that break the release still running, until ``migrate --contract``."""
    on_edited: str = "warn"
    """What to do about an applied migration whose code has changed since: ``error`` or ``warn``."""
    on_drift: str = "warn"
    """What to do where somebody changed the schema by hand since the last run: ``error`` or ``warn``."""
    heartbeat_file: str = ""
    """A file to touch while `migrate` works or waits, for the container's health check; empty: none."""


NAMES = tuple(f"MIGRATE_{field.name.upper()}" for field in fields(Conf))

# Smallest and largest value that means something, by field.
_BOUNDS: dict[str, tuple[float, float]] = {
    "db_wait_s": (0, 86_400),
    "lock_wait_s": (0, 86_400),
    "lock_timeout_ms": (1, 3_600_000),
    "statement_timeout_ms": (0, 86_400_000),
    "retries": (0, 10_000),
    "deadline_s": (1, 86_400),
    "failed_hold_s": (0, 604_800),
}


@dataclass(frozen=True)
class Problem:
    """A setting that cannot be meant: the system check's id, the fact and the remedy."""

    id: str
    fact: str
    remedy: str

    @property
    def is_error(self) -> bool:
        """Whether `migrate` refuses to start with it."""
        return ".E" in self.id


def read() -> tuple[Conf, list[Problem]]:
    """The settings as a `Conf`, defaults standing in for the nonsensical ones, and what is wrong with those."""
    values: dict[str, float | int | str] = {}
    problems: list[Problem] = []
    for name in sorted(name for name in dir(settings) if name.startswith("MIGRATE_") and name not in NAMES):
        meant = difflib.get_close_matches(name, NAMES, 1)
        problems.append(
            Problem(
                "migrator.E004",
                f"{name} is not a setting of the migrator.",
                f"Did you mean {meant[0]}?" if meant else f"There are {', '.join(NAMES)}.",
            )
        )
    for field in fields(Conf):
        name = f"MIGRATE_{field.name.upper()}"
        given = getattr(settings, name, None)
        if given is None or given == "":
            continue
        if field.name == "heartbeat_file":
            values[field.name] = str(given)
            continue
        if choices := CHOICES.get(field.name):
            if given in choices:
                values[field.name] = given
            else:
                fact = f"{name}={given!r} is not one of {', '.join(choices)}."
                problems.append(Problem("migrator.E002", fact, f"Unset it for the default of {field.default}."))
            continue
        low, high = _BOUNDS[field.name]
        whole = isinstance(field.default, int) and not field.name.endswith("_s")
        try:
            number: float | int = int(str(given)) if whole else float(given)
            if not low <= number <= high:
                raise ValueError
        except (TypeError, ValueError):
            kind = "a whole number" if whole else "a number"
            problems.append(
                Problem(
                    "migrator.E001",
                    f"{name}={given!r} is not {kind} from {low:g} to {high:g}.",
                    f"Unset it for the default of {field.default}.",
                )
            )
        else:
            values[field.name] = number
    conf = Conf(**values)  # type: ignore[arg-type]  # each value was read for its own field
    if 0 < conf.statement_timeout_ms <= conf.lock_timeout_ms:
        problems.append(
            Problem(
                "migrator.E003",
                f"MIGRATE_STATEMENT_TIMEOUT_MS ({conf.statement_timeout_ms}) is not greater than "
                f"MIGRATE_LOCK_TIMEOUT_MS ({conf.lock_timeout_ms}).",
                "The statement timeout would always fail first, and a busy table would never be retried: raise it.",
            )
        )
    if conf.lock_wait_s and conf.lock_wait_s < conf.deadline_s:
        problems.append(
            Problem(
                "migrator.W001",
                f"MIGRATE_LOCK_WAIT_S ({conf.lock_wait_s:g}) is less than MIGRATE_DEADLINE_S ({conf.deadline_s:g}).",
                "A task that waits would give up on another one that is still allowed to work: raise the first.",
            )
        )
    return conf, problems


def require_configuration() -> Conf:
    """The MIGRATE_* settings.

    Raises:
        EnvironmentUnfit: if any is invalid.
    """
    conf, problems = read()
    if errors := [problem for problem in problems if problem.is_error]:
        raise EnvironmentUnfit(
            " ".join(f"{problem.fact} ({problem.id})" for problem in errors),
            "The migrator does not guess what was meant; nothing was changed.",
            " ".join(problem.remedy for problem in errors),
        )
    return conf
