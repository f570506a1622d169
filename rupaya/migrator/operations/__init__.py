"""Operations for migrations; this import path is public.

An applied migration's import lines are part of its fingerprint, so ``from rupaya.migrator.operations import …`` must
work for ever: what moves inside this package goes on being exported here.
"""

from rupaya.migrator.operations.backfill import POSITIONS_TABLE, Backfill
from rupaya.migrator.operations.indexes import AddIndexConcurrently, AlterFieldIndexConcurrently
from rupaya.migrator.operations.renaming import FillRenamedField, RenameFieldInStep
from rupaya.migrator.operations.widening import WidenField

__all__ = [
    "POSITIONS_TABLE",
    "AddIndexConcurrently",
    "AlterFieldIndexConcurrently",
    "Backfill",
    "FillRenamedField",
    "RenameFieldInStep",
    "WidenField",
]

for _operation in (
    AddIndexConcurrently,
    AlterFieldIndexConcurrently,
    Backfill,
    FillRenamedField,
    RenameFieldInStep,
    WidenField,
):
    _operation.__module__ = __name__  # the path that makemigrations and squashmigrations write
