"""Changes to the shop, each as one migration, and what the gate must say of it: the rule that it breaks, or nothing."""

from tests.migrator.gate.cases import further, rarer
from tests.migrator.gate.cases.ordinary import CASES, Case

__all__ = ["CASES", "Case", "further", "rarer"]
