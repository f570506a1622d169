"""The gate's judgement of changes: each kind once here, all of them with `make gate-test`."""

from __future__ import annotations

import pytest

from tests.migrator.gate.__main__ import judged, start
from tests.migrator.gate.cases import CASES, Case

# One of each rule and of each way to be safe; the others take minutes.
HERE = """
    add_column add_column_with_python_default add_required_column
    add_column_whose_default_asks add_uuid_of_python add_uuid_of_database add_json
    add_positive_integer add_foreign_key_safely add_check_not_valid set_not_null narrower_text add_wide_index
    remove_index rename_index drop_index_by_sql
    text_to_integer wider_text drop_default_by_sql rename_field rename_field_in_code rename_model_with_many_to_many
    remove_bill_memo forget_required_field drop_column drop_column_too_early use_a_name_again set_role
    python_updates_all_rows
    python_asks_for_each_row
    python_in_batches insert insert_one_way schema_and_a_little_python backfill long_name replace_trigger_function
    revoke own_operation own_operation_that_is_quiet take_over_a_table drop_primary_key excused
    excused_without_a_reason excused_from_no_rule behind_a_comment do_drop_column contract_that_new_code_needs
""".split()


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]

    assert len(set(names)) == len(names)
    assert set(HERE) <= set(names)


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_is_unsafe_is_refused_by_its_rule_and_what_is_safe_passes(server_url: str, half: int) -> None:
    cases = [case for case in CASES if case.name in HERE][half::2]

    results = judged(start([case.name for case in cases], server_url))

    wrong = [wrongly(case, results[case.name]) for case in cases]
    assert [told for told in wrong if told] == []


def wrongly(case: Case, result: dict[str, list[str]]) -> str:
    if not case.rules and result["rules"]:
        return f"{case.name} was refused: {result['told']}"
    if case.rules and set(case.rules).isdisjoint(result["rules"]):
        return f"{case.name} was not refused for {case.rules}: {result['rules']}"
    return ""
