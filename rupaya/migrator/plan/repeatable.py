"""Whether a migration may be run again after it was interrupted, whatever it had done by then."""

from __future__ import annotations

from django.db.migrations.migration import Migration
from django_pg_migration_tools import operations as safer

from rupaya.migrator.operations import AddIndexConcurrently, AlterFieldIndexConcurrently, Backfill, WidenField

IDEMPOTENT_OPERATIONS = (
    AddIndexConcurrently,
    AlterFieldIndexConcurrently,
    Backfill,
    WidenField,
    safer.SaferAddIndexConcurrently,
    safer.SaferRemoveIndexConcurrently,
    safer.SaferAddUniqueConstraint,
    safer.SaferRemoveUniqueConstraint,
    safer.SaferAlterFieldSetNotNull,
    safer.SaferAddFieldForeignKey,
    safer.SaferRemoveFieldForeignKey,
    safer.SaferAddFieldOneToOne,
    safer.SaferAddCheckConstraint,
    safer.SaferRemoveCheckConstraint,
)
"""Operations that may be run again after they were interrupted anywhere."""


def may_run_again(migration: Migration) -> bool:
    """Whether a migration can be run again after an interruption that left any part of it behind.

    An atomic one leaves nothing. Another one must consist of idempotent operations, or declare ``idempotent = True``.
    """
    return (
        migration.atomic
        or getattr(migration, "idempotent", False)
        or all(
            # SaferAddUniqueConstraint looks before it acts only if it was told to.
            isinstance(operation, IDEMPOTENT_OPERATIONS) and not getattr(operation, "raise_if_exists", False)
            for operation in migration.operations
        )
    )
