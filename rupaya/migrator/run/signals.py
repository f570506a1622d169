"""Django's migration signals, sent by Django; bounded, interruptible, and their failures explained."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from itertools import count
from typing import Any

from django.db.migrations.state import StateApps

from rupaya.migrator import django
from rupaya.migrator.errors import (
    MigrationFailed,
    MigratorError,
    TableLocked,
    driver_text,
    is_lost,
    python_text,
    sqlstate,
)
from rupaya.migrator.plan.plan import Plan
from rupaya.migrator.run import backoff
from rupaya.migrator.run.context import RunContext
from rupaya.migrator.run.outcome import how_far
from rupaya.migrator.run.transactions import Depth, TransactionLeftOpen
from rupaya.migrator.sessionsettings import read_settings, restore_settings, session_settings
from rupaya.migrator.sqlstates import RETRYABLE

POST_MIGRATE_RETRIES = 9


class Signals:
    """The two functions that Django's command sends its signals by, in the place of its own."""

    def __init__(self, context: RunContext, plan: Plan) -> None:
        self.context = context
        self.plan = plan
        self.apps: StateApps | None = None
        """The models after the run, as the receivers of post_migrate get them."""

    def send_pre_migrate(self, *arguments: Any, **options: Any) -> None:
        """Send pre_migrate once: what its handlers did need not bear being done again.

        Raises:
            MigratorError: if a handler fails.
        """
        self._send("pre_migrate", lambda: django.send_pre_migrate(*arguments, **options), retries=0)

    def send_post_migrate(self, *arguments: Any, **options: Any) -> None:
        """Send post_migrate; again when a table is locked, because Django itself sends it after every run.

        Raises:
            MigratorError: if a handler fails.
        """
        self.apps = options.get("apps")
        retries = min(POST_MIGRATE_RETRIES, self.context.conf.retries)
        self._send("post_migrate", lambda: django.send_post_migrate(*arguments, **options), retries=retries)

    def _send(self, signal: str, send: Callable[[], None], *, retries: int) -> None:
        context = self.context
        for tries in count(1):
            context.stop.check()
            context.lock.verify()
            context.connection.ensure_connection()
            session, settings = context.connection.connection, read_settings(context.connection)
            try:
                with (
                    context.stop.interrupting(),
                    # A handler may take long; what it must not is wait for ever, for a replica say.
                    session_settings(
                        context.connection,
                        lock_timeout=context.conf.lock_timeout_ms,
                        statement_timeout=context.left_ms,
                    ),
                ):
                    depth = Depth.of(context.connection)
                    try:
                        send()
                    finally:
                        was_left_open = depth.come_back(context.connection)
                if was_left_open:
                    raise TransactionLeftOpen
                if context.connection.connection is session and not session.closed:  # another begins as all do
                    self._set_back(signal, settings)
            except (Exception, SystemExit) as error:
                if context.stop.requested:
                    raise context.stop.error(f"{how_far(context, self.plan)} The next start does the rest.") from None
                if sqlstate(error) in RETRYABLE and tries <= retries:
                    pause_s = backoff.pause_s(tries)
                    context.output.say(
                        f"A handler of {signal} was interrupted: {driver_text(error)}. "
                        f"Try {tries + 1} of {retries + 1} in {pause_s:.1f} s",
                        warning=True,
                    )
                    context.stop.wait(pause_s)
                    continue
                if is_lost(error) or (isinstance(error, MigratorError) and not isinstance(error, TransactionLeftOpen)):
                    raise
                raise _handler_failed(signal, error, tries, how_far(context, self.plan)) from error
            else:
                return

    def _set_back(self, signal: str, settings: dict[str, str]) -> None:
        """Give the session the settings that it had: none of a handler's may govern a migration."""
        if changed := restore_settings(self.context.connection, settings):
            self.context.output.say(
                f"A handler of {signal} changed settings of the session and left them: {', '.join(sorted(changed))}. "
                "They were set back",
                warning=True,
            )


def _handler_failed(signal: str, error: BaseException, tries: int, state: str) -> MigratorError:
    """What a handler did wrong, and its place in the code: it is in no migration."""
    if sqlstate(error) in RETRYABLE:
        return TableLocked(f"A handler of {signal}", error, tries, state)
    if isinstance(error, TransactionLeftOpen):
        return MigrationFailed(
            f"A handler of {signal} failed: {error.happened}.", f"{error.meaning} {state}", error.remedy
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    at = f"{frame.filename}:{frame.lineno}"
    return MigrationFailed(
        f"A handler of {signal} failed: {type(error).__name__}: {python_text(error)} at {at}",
        f"{state} The server was not started; the running release is not affected.",
        "Fix the handler and release again; the next run calls it again.",
    )
