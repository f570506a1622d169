"""Keep the tables of short-lived things short: what has expired is of no use to anybody."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand
from tqdm import tqdm

from accounts.managers import ExpiringQuerySet
from accounts.models import PhoneOTP, RevokedToken


class Command(BaseCommand):
    help = "Deletes the revoked tokens and the phone one-time passwords that have expired."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--batch-size", type=_positive, default=5000, help="rows to delete in one transaction (5000)"
        )
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        tokens: ExpiringQuerySet[RevokedToken] = ExpiringQuerySet(RevokedToken)
        codes: ExpiringQuerySet[PhoneOTP] = ExpiringQuerySet(PhoneOTP)
        if options["dry_run"]:
            verb, token_count, code_count = "Would delete", tokens.expired().count(), codes.expired().count()
        else:
            verb, token_count, code_count = (
                "Deleted",
                _purge(tokens, options["batch_size"], "revoked tokens"),
                _purge(codes, options["batch_size"], "one-time passwords"),
            )
        self.stdout.write(f"{verb} {token_count} expired revoked tokens and {code_count} expired one-time passwords.")


def _purge(rows: ExpiringQuerySet[Any], batch_size: int, what: str) -> int:
    total = 0
    # disable=None: a bar on a terminal, nothing in a log.
    with tqdm(total=rows.expired().count(), desc=what, unit="row", disable=None) as bar:
        while deleted := rows.delete_expired_batch(batch_size):
            total += deleted
            bar.update(deleted)
    return total


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not a number of rows: give 1 or more.")
    return int(text)
