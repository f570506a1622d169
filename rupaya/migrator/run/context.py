"""What one run works with, from the moment it has the lock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.migration import Migration

from rupaya.migrator.conf import Conf
from rupaya.migrator.debts.owing import Owing
from rupaya.migrator.foresight.progress import Progress
from rupaya.migrator.ledger.ledger import Done, Ledger
from rupaya.migrator.output import Output
from rupaya.migrator.run.drift import Drift
from rupaya.migrator.session.lock import MigrationLock
from rupaya.migrator.session.stop import Stop
from rupaya.migrator.session.watch import Watch

if TYPE_CHECKING:
    from rupaya.migrator.run.rowsahead import RowsAhead


@dataclass
class RunContext:
    """The connections, the lock, the ledger and the means to speak and to stop; and how far the run has come."""

    conf: Conf
    connection: BaseDatabaseWrapper
    lock: MigrationLock
    ledger: Ledger
    watch: Watch
    stop: Stop
    output: Output
    drift: Drift
    deadline: float
    """When, by `time.monotonic`, no further attempt is made."""
    progress: Progress
    is_live: bool
    """Whether the database had a history before this run, and so may have traffic."""
    phases: Mapping[tuple[str, str], str]
    """The phase of each migration of the plan."""
    rows: RowsAhead | None = None
    """What the plan presumes of live rows, for a migration that has to be looked at again; None: nothing."""
    owing: Owing | None = None
    """Lets migrations run by halves, where an older release may be serving; None: they run whole."""
    batch: int = 0
    one_transaction: bool = False
    done: list[Migration] = field(default_factory=list)
    """What this run has carried through so far, in order; committed, unless the batch is one transaction."""
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """What to say, and with which fields, once the batch, being one transaction, is committed."""
    open_attempts: list[Done] = field(default_factory=list)
    """Attempts of a batch in one transaction that is not committed yet."""
    unclosed: list[Done] = field(default_factory=list)
    """Those of them whose rows in the ledger are still to be closed, in that transaction."""

    @property
    def left_ms(self) -> int:
        """Milliseconds to the deadline, and a second at least."""
        return max(1000, int((self.deadline - time.monotonic()) * 1000))
