"""What "all rows" means for rows that are marked as deleted and kept."""

from __future__ import annotations

from typing import TypeVar

from django.db import models

M = TypeVar("M", bound=models.Model)


class NotDeletedManager(models.Manager[M]):
    """Leaves out the rows with `is_deleted`.

    Declared first, it is also what ``user.transactions`` and other related managers use. Django follows a foreign key,
    cascades and refreshes with a plain manager of its own, so a transaction still finds the account that was deleted.
    """

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(is_deleted=False)
