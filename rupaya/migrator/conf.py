"""The MIGRATE_* settings: what each is for. The only reader of them; `options` says what they may hold."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from rupaya.migrator import options
from rupaya.migrator.errors import EnvironmentUnfit


@dataclass(frozen=True)
class Conf:
    """How `migrate` behaves; each field is the setting of the same name, in capitals, after ``MIGRATE_``."""

    db_wait_s: float
    """How long to wait for the server to accept connections at start-up."""
    lock_wait_s: float
    """How long to wait for another migrator; longer than its deadline, or a waiter gives up on a healthy one."""
    lock_timeout_ms: int
    """How long one statement may wait for a table lock, and so how long traffic may queue behind it."""
    statement_timeout_ms: int
    """How long one statement of an atomic migration may run on a live database. 0: no limit."""
    retries: int
    """How often a migration that found its table locked is tried again."""
    deadline_s: float
    """How long all the work after getting the migrator's lock may take before no further attempt is made."""
    look_s: float
    """How long live rows may be asked, all questions together, whether they are as a plan presumes. 0: not at all."""
    failed_hold_s: float
    """How long a migration that failed deterministically is not tried again."""
    batch: str
    """``each``: a transaction a migration. ``all``: one for all. ``auto``: all on an empty history, else each."""
    phase: str
    """``expand``: hold back migrations that break the release still running, until ``migrate --contract``."""
    contract_after_h: float
    """How long what a release owes is not paid after it was complete, so that the one before it can serve again."""
    on_edited: str
    """What to do about an applied migration whose code has changed since: ``error`` or ``warn``."""
    on_drift: str
    """What to do where somebody changed the schema by hand since the last run: ``error`` or ``warn``."""
    on_use: str
    """What `--contract` does about what is still used, or may be: ``refuse`` or ``warn``."""
    use_watch_h: float
    """For how many hours nobody may have used what is to go; less than a day sees no nightly job."""
    heartbeat_file: str
    """A file to touch while `migrate` works or waits, for the container's health check; empty: none."""


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
    given = {name: getattr(settings, name) for name in dir(settings) if name.startswith(options.PREFIX)}
    values, problems = options.read(given)
    return Conf(**values), [Problem(*problem) for problem in problems]  # type: ignore[arg-type]  # each is its field's own


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
