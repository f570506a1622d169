"""What each MIGRATE_* setting may hold, declared once and without Django: the early exit asks it too."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "MIGRATE_"


class Option:
    """One setting: a number within bounds (in the unit of its name), one of some words, or any text.

    `production` is the default there, where it differs.
    """

    def __init__(
        self,
        default: float | int | str,
        *,
        production: float | int | str | None = None,
        bounds: tuple[float, float] | None = None,
        choices: tuple[str, ...] = (),
        whole: bool = False,
    ) -> None:
        self.default = default
        self.production = default if production is None else production
        self.bounds = bounds
        self.choices = choices
        self.whole = whole

    def read(self, given: object) -> float | int | str:
        """The value that is meant.

        Raises:
            ValueError: if it is none that this setting may hold; the text says what it may.
        """
        if self.choices:
            if given not in self.choices:
                raise ValueError(f"one of {', '.join(self.choices)}")
            return str(given)
        if self.bounds is None:
            return str(given)
        low, high = self.bounds
        try:
            number: float | int = int(str(given)) if self.whole else float(str(given))
            if low <= number <= high:
                return number
        except ValueError:
            pass
        raise ValueError(f"{'a whole number' if self.whole else 'a number'} from {low:g} to {high:g}")


# By the name of the field of `rupaya.migrator.conf.Conf`, which says what each is for.
OPTIONS = {
    "db_wait_s": Option(60, bounds=(0, 86_400)),
    "lock_wait_s": Option(1860, bounds=(0, 86_400)),
    # Shorter than the server's deadlock_timeout (1 s): in a deadlock with traffic it is the migration that gives way.
    "lock_timeout_ms": Option(750, bounds=(1, 3_600_000), whole=True),
    "statement_timeout_ms": Option(5000, bounds=(0, 86_400_000), whole=True),
    "retries": Option(30, bounds=(0, 10_000), whole=True),
    "deadline_s": Option(1800, bounds=(1, 86_400)),
    "look_s": Option(30, bounds=(0, 3600)),
    "failed_hold_s": Option(900, bounds=(0, 604_800)),
    "batch": Option("auto", choices=("auto", "each", "all")),
    "contract_after_h": Option(0, production=24, bounds=(0, 8_760)),  # a release is regretted within a day, if at all
    "phase": Option("all", production="expand", choices=("expand", "all")),  # the old release still serves there
    "on_edited": Option("warn", production="error", choices=("error", "warn")),
    "on_drift": Option("warn", choices=("error", "warn")),
    "on_use": Option("warn", production="refuse", choices=("refuse", "warn")),
    "use_watch_h": Option(24, bounds=(0, 8784)),
    # The container's health check looks at it. A container has no /tmp that it may write to.
    "heartbeat_file": Option("", production="/dev/shm/migrate.heartbeat"),  # noqa: S108 - in memory, opened without following links, holds nothing
}
NAMES = tuple(PREFIX + name.upper() for name in OPTIONS)


def production_defaults() -> dict[str, str]:
    """By setting, as the environment would have them, what is the default in production and not elsewhere."""
    return {
        PREFIX + name.upper(): str(option.production)
        for name, option in OPTIONS.items()
        if option.production != option.default
    }


def read(
    given: Mapping[str, object],
) -> tuple[dict[str, float | int | str], list[tuple[str, str, str]]]:
    """The values by field, a default for each invalid one; and of those the check's id, fact and remedy."""
    values = {name: option.default for name, option in OPTIONS.items()}
    problems: list[tuple[str, str, str]] = []
    for name in sorted(name for name in given if name.startswith(PREFIX) and name not in NAMES):
        from difflib import get_close_matches  # slow to import, and hardly ever needed

        meant = get_close_matches(name, NAMES, 1)
        remedy = f"Did you mean {meant[0]}?" if meant else f"Valid settings: {', '.join(NAMES)}."
        problems.append(("migrator.E004", f"{name} is not a setting of the migrator.", remedy))
    for field, option in OPTIONS.items():
        name = PREFIX + field.upper()
        text = given.get(name)
        if text is None or text == "":
            continue
        try:
            values[field] = option.read(text)
        except ValueError as wanted:
            problems.append(
                (
                    "migrator.E002" if option.choices else "migrator.E001",
                    f"{name}={text!r} is not {wanted}.",
                    f"Set {name} to {wanted}, or unset it.",
                )
            )
    statement, lock = float(values["statement_timeout_ms"]), float(values["lock_timeout_ms"])
    if 0 < statement <= lock:
        problems.append(
            (
                "migrator.E003",
                f"MIGRATE_STATEMENT_TIMEOUT_MS ({statement:.0f}) is not greater than "
                f"MIGRATE_LOCK_TIMEOUT_MS ({lock:.0f}).",
                "The statement timeout would always fail first, and a busy table would never be retried: raise it.",
            )
        )
    wait, deadline = float(values["lock_wait_s"]), float(values["deadline_s"])
    if wait and wait < deadline:
        problems.append(
            (
                "migrator.W001",
                f"MIGRATE_LOCK_WAIT_S ({wait:g}) is less than MIGRATE_DEADLINE_S ({deadline:g}).",
                "A task that waits would give up on another one that is still allowed to work: raise the first.",
            )
        )
    return values, problems


def refused(given: Mapping[str, object]) -> bool:
    """Whether `migrate` would refuse to start with these settings."""
    return any(".E" in problem for problem, _fact, _remedy in read(given)[1])
