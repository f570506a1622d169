"""One finding a fault: of several rules that a statement breaks the gravest, and a rule once of what Django wrote."""

from __future__ import annotations

from rupaya.migrator.analysis.gate.findings import Finding, worst


def finding(rule: str, statement: str, part: int = 1) -> Finding:
    return Finding("shop.0002_change", rule, "It does.", statement=statement, table="t", part=part)


def test_of_one_statement_the_gravest_is_told() -> None:
    assert [one.rule for one in worst([finding("scan", "a"), finding("rewrite", "a")])] == ["rewrite"]


def test_of_a_script_each_statement_is_told() -> None:
    assert len(worst([finding("scan", "a"), finding("scan", "b")])) == 2


def test_of_djangos_own_operation_a_rule_is_told_once() -> None:
    found = [finding("scan", "a"), finding("scan", "b"), finding("rewrite", "c"), finding("scan", "a", part=2)]

    told = worst(found, whole={1, 2})

    assert [(one.part, one.rule, one.statement) for one in told] == [
        (1, "rewrite", "c"),
        (1, "scan", "a"),
        (2, "scan", "a"),
    ]
    assert [one.text for one in told] == ["It does.", "It does. 1 more of its statements is no better.", "It does."]
