"""The attic is tried with the shop of the debts' tests."""

from __future__ import annotations

from tests.migrator.debts.conftest import shop

__all__ = ["shop"]
